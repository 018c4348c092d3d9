package api

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// fetched is how much one request for past events asks for, in bytes as they are stored.
const fetched = 4 << 20

// records is where past events are read.
type records interface {
	Partitions(ctx context.Context, topic string) (int, error)
	Offsets(ctx context.Context, topic string, partition int32) (start, end int64, err error)
	OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (int64, error)
	FetchFrom(ctx context.Context, topic string, partition int32, offset int64, maxBytes int) (stream.Batch, error)
}

// pastLog is a part of a partition as a trial reads it: only the records that its rule may concern, by their headers. Of the
// others remains that they moved the log's time. It ends with a tick.
type pastLog struct {
	from      records
	topic     string
	partition int32
	// until is the offset before which it ends, and end the log time that it ends with.
	until int64
	end   time.Time
	// concerns is asked for the tenant and the type in a record's headers.
	concerns func(tenant, kind []byte) bool
	// read receives the number of records, and of the offset behind them.
	read func(n int, next int64)
	tick []byte

	// next is the offset of the next record, where it is read in order; what lies between resume, which is behind the last
	// record that was kept, and next was left out. high is the log time there.
	next, resume int64
	high         time.Time
}

// tickValue is that of a record that only moves log time.
func tickValue() ([]byte, error) {
	return (&event.Event{Type: event.TypeTick, Data: &controlv1.Tick{}}).Encode(nil)
}

// Range implements replay.Log.
func (l *pastLog) Range(context.Context) (start, end int64, err error) { return 0, l.until + 1, nil }

// At implements replay.Log: nothing before the beginning is compared.
func (l *pastLog) At(context.Context, int64) (stream.Record, bool, error) {
	return stream.Record{}, false, nil
}

// Fetch implements replay.Log.
func (l *pastLog) Fetch(ctx context.Context, from int64) (stream.Batch, error) {
	if from == l.resume {
		from = l.next
	}
	if from >= l.until {
		last := stream.Record{Topic: l.topic, Partition: l.partition, Offset: l.until, Time: l.end, Value: l.tick}
		return stream.Batch{Records: []stream.Record{last}, Next: l.until + 1}, nil
	}
	inOrder := from == l.next
	b, err := l.from.FetchFrom(ctx, l.topic, l.partition, from, fetched)
	if err != nil {
		return b, err
	}
	high := time.Time{}
	if inOrder {
		high = l.high
	}
	n := 0
	kept := b.Records[:0]
	for i := range b.Records {
		r := &b.Records[i]
		if r.Offset >= l.until {
			break
		}
		n++
		if r.Time.After(high) {
			high = r.Time
		}
		if !l.wanted(r) {
			continue
		}
		k := *r
		k.Time = high
		kept = append(kept, k)
	}
	b.Records, b.Next = kept, min(b.Next, l.until)
	if inOrder {
		l.next, l.resume, l.high = b.Next, b.Next, high
		if n := len(kept); n > 0 {
			l.resume = kept[n-1].Offset + 1
		}
		l.read(n, b.Next)
	}
	return b, nil
}

// wanted reports whether the rule may concern a record. One without such headers is decoded.
func (l *pastLog) wanted(r *stream.Record) bool {
	tenant, kind := []byte(nil), []byte(nil)
	for i := range r.Headers {
		switch h := &r.Headers[i]; h.Key {
		case event.HeaderTenant:
			tenant = h.Value
		case event.HeaderType:
			kind = h.Value
		}
	}
	switch {
	case kind == nil:
		return true
	case event.IsControl(string(kind)):
		return false
	}
	return tenant == nil || l.concerns(tenant, kind)
}
