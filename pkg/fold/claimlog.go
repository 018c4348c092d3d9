package fold

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
)

// claimLog is a claimed partition of Kafka as an owner's log. It reads one
// fetch ahead.
type claimLog struct {
	claim    *stream.Claim
	client   *stream.Client
	producer *stream.Producer
	reader   *stream.Reader
	next     int64
}

func (l *claimLog) Range(ctx context.Context) (start, end int64, err error) {
	return l.client.Offsets(ctx, l.claim.Topic, l.claim.Partition)
}

func (l *claimLog) Fetch(ctx context.Context, from int64, wait time.Duration, wake <-chan struct{}) (stream.Batch, error) {
	l.claim.Alive()
	l.claim.Worked(from)
	if l.reader == nil || l.next != from {
		l.close()
		l.reader, l.next = l.claim.Reader(ctx, from, stream.FetchOptions{}), from
	}
	b := stream.Batch{Next: from}
	var err error
	if wait > 0 {
		b, err = l.await(ctx, from, wait, wake)
	} else if got, ok, failed := l.reader.Poll(); ok || failed != nil {
		b, err = got, failed
	}
	if err != nil {
		l.close()
		return b, err
	}
	l.next = b.Next
	return b, nil
}

// await takes the next batch when it comes, or an empty one when woken, or when it has waited.
func (l *claimLog) await(ctx context.Context, from int64, wait time.Duration, wake <-chan struct{}) (b stream.Batch, err error) {
	late := time.NewTimer(wait)
	defer late.Stop()
	l.claim.Waiting(func() {
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

func (l *claimLog) At(ctx context.Context, offset int64) (stream.Record, bool, error) {
	b, err := l.client.FetchFrom(ctx, l.claim.Topic, l.claim.Partition, offset, 1)
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

func (l *claimLog) Append(ctx context.Context, e *event.Event) error {
	r, err := e.Record(l.claim.Topic)
	if err != nil {
		return err
	}
	r.Key, r.Partition = nil, l.claim.Partition
	return l.producer.Produce(ctx, r)
}

// AppendCalls implements Appender.
func (l *claimLog) AppendCalls(ctx context.Context, records ...stream.Record) []stream.ProduceResult {
	placed, _ := l.producer.ProduceResults(ctx, records...) // its error joins what placed says of each
	return placed
}

// waitStep is how long an owner that can do nothing is left alone.
const waitStep = time.Second

func (l *claimLog) Wait(ctx context.Context, wake <-chan struct{}) (err error) {
	l.claim.Waiting(func() {
		timer := time.NewTimer(waitStep)
		defer timer.Stop()
		select {
		case <-wake:
		case <-timer.C:
		case <-l.claim.Draining():
			err = stream.ErrRevoked
		case <-ctx.Done():
			err = ctx.Err()
		}
	})
	return err
}

func (l *claimLog) Progress() { l.claim.Progress() }

func (l *claimLog) Committed() int64 { return l.claim.Committed() }

func (l *claimLog) Commit(ctx context.Context, offset int64) error {
	return l.claim.Commit(ctx, offset)
}

func (l *claimLog) Incident(code string, offset int64, err error) {
	l.claim.Incident(code, offset, err)
}

func (l *claimLog) Report(code string, offset int64, err error) { l.claim.Report(code, offset, err) }

func (l *claimLog) Settle(code string) { l.claim.SettleIncident(code) }

func (l *claimLog) close() {
	if l.reader != nil {
		l.reader.Close()
		l.reader = nil
	}
}
