package delivery

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/pkg/state/snapshot"
	"github.com/tollgate/tollgate/pkg/stream"
)

type claimLog struct {
	client   *stream.Client
	producer *stream.Producer
	claim    *stream.Claim
	// snapshots is the topic of snapshots.
	snapshots *snapshot.Topic
}

func (l *claimLog) Read(ctx context.Context, from int64) (<-chan stream.Fetched, func()) {
	r := l.claim.Reader(ctx, from, stream.FetchOptions{MaxBytes: 512 << 10})
	return r.C(), r.Close
}

func (l *claimLog) FetchFrom(ctx context.Context, topic string, partition int32, offset int64, maxBytes int) (stream.Batch, error) {
	var b stream.Batch
	var err error
	l.claim.Waiting(func() { b, err = l.client.FetchFrom(ctx, topic, partition, offset, maxBytes) })
	return b, err
}

func (l *claimLog) Offsets(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	l.claim.Waiting(func() { start, end, err = l.client.Offsets(ctx, topic, partition) })
	return start, end, err
}

func (l *claimLog) OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (offset int64, err error) {
	l.claim.Waiting(func() { offset, err = l.client.OffsetAt(ctx, topic, partition, at) })
	return offset, err
}

func (l *claimLog) Produce(ctx context.Context, recs ...stream.Record) ([]stream.ProduceResult, error) {
	return l.producer.ProduceResults(ctx, recs...)
}

func (l *claimLog) Position(ctx context.Context, offset int64) error {
	if offset < l.claim.Committed() { // the store was set back, the group's offset was not
		return nil
	}
	return l.claim.Commit(ctx, offset)
}

func (l *claimLog) Committed() int64 { return l.claim.Committed() }

func (l *claimLog) Alive()              { l.claim.Alive() }
func (l *claimLog) Worked(offset int64) { l.claim.Worked(offset) }

func (l *claimLog) Incident(code string, offset int64, err error) {
	l.claim.Incident(code, offset, err)
}

func (l *claimLog) Report(code string, offset int64, err error) {
	l.claim.Report(code, offset, err)
}
