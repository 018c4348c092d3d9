// Package kafkalog is Kafka as the owner of a partition uses it: the log that it claimed.
package kafkalog

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
)

// ClaimLog is a claimed partition of Kafka as an owner's log. It reads one fetch ahead.
type ClaimLog struct {
	Claim    *stream.Claim
	Client   *stream.Client
	Producer *stream.Producer
	reader   *stream.Reader
	next     int64
}

func (l *ClaimLog) Range(ctx context.Context) (start, end int64, err error) {
	return l.Client.Offsets(ctx, l.Claim.Topic, l.Claim.Partition)
}

func (l *ClaimLog) Fetch(ctx context.Context, from int64, wait time.Duration, wake <-chan struct{}) (stream.Batch, error) {
	l.Claim.Alive()
	if l.reader == nil || l.next != from {
		l.Close()
		l.reader, l.next = l.Claim.Reader(ctx, from, stream.FetchOptions{}), from
	}
	b := stream.Batch{Next: from}
	var err error
	if wait > 0 {
		b, err = l.await(ctx, from, wait, wake)
	} else if got, ok, failed := l.reader.Poll(); ok || failed != nil {
		b, err = got, failed
	}
	if err != nil {
		l.Close()
		return b, err
	}
	l.next = b.Next
	return b, nil
}

// await takes the next batch when it comes, or an empty one when woken, or when it has waited.
func (l *ClaimLog) await(ctx context.Context, from int64, wait time.Duration, wake <-chan struct{}) (b stream.Batch, err error) {
	late := time.NewTimer(wait)
	defer late.Stop()
	l.Claim.Waiting(func() {
		select {
		case <-late.C:
			b.Next = from
		case f, ok := <-l.reader.C():
			if b, err = f.Batch, f.Err; !ok {
				err = stream.ErrRevoked
			}
		case <-wake:
			b.Next = from
		case <-ctx.Done():
			err = ctx.Err()
		}
	})
	return b, err
}

func (l *ClaimLog) At(ctx context.Context, offset int64) (stream.Record, bool, error) {
	b, err := l.Client.FetchFrom(ctx, l.Claim.Topic, l.Claim.Partition, offset, 1)
	if err != nil {
		return stream.Record{}, false, fmt.Errorf("read offset %d: %w", offset, err)
	}
	for _, r := range b.Records {
		if r.Offset == offset {
			return r, true, nil
		}
	}
	return stream.Record{}, false, nil
}

func (l *ClaimLog) Append(ctx context.Context, e *event.Event) error {
	r, err := e.Record(l.Claim.Topic)
	if err != nil {
		return err
	}
	r.Key, r.Partition = nil, l.Claim.Partition
	return l.Producer.Produce(ctx, r)
}

// AppendCalls implements Appender.
func (l *ClaimLog) AppendCalls(ctx context.Context, records ...stream.Record) []stream.ProduceResult {
	results, _ := l.Producer.ProduceResults(ctx, records...) // its error joins those of the results
	return results
}

// WaitStep is how long an owner that can do nothing is left alone.
const WaitStep = time.Second

func (l *ClaimLog) Wait(ctx context.Context, wake <-chan struct{}) (err error) {
	l.Claim.Waiting(func() {
		timer := time.NewTimer(WaitStep)
		defer timer.Stop()
		select {
		case <-wake:
		case <-timer.C:
		case <-l.Claim.Draining():
			err = stream.ErrRevoked
		case <-ctx.Done():
			err = ctx.Err()
		}
	})
	return err
}

func (l *ClaimLog) Progress() { l.Claim.Progress() }

func (l *ClaimLog) Worked(offset int64) { l.Claim.Worked(offset) }

func (l *ClaimLog) Committed() int64 { return l.Claim.Committed() }

func (l *ClaimLog) CommitSoon(offset int64) { l.Claim.CommitSoon(offset) }

func (l *ClaimLog) Commit(ctx context.Context, offset int64) error {
	return l.Claim.Commit(ctx, offset)
}

func (l *ClaimLog) Incident(code string, offset int64, err error) {
	l.Claim.Incident(code, offset, err)
}

func (l *ClaimLog) Report(code string, offset int64, err error) { l.Claim.Report(code, offset, err) }

func (l *ClaimLog) Settle(code string) { l.Claim.SettleIncident(code) }

func (l *ClaimLog) Close() {
	if l.reader != nil {
		l.reader.Close()
		l.reader = nil
	}
}
