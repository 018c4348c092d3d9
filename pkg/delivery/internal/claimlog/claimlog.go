package claimlog

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/snapshot"
	"github.com/tollgate/tollgate/pkg/stream"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

type ClaimLog struct {
	Client   *stream.Client
	Producer *stream.Producer
	Claim    *stream.Claim
	// Snapshots is the topic of snapshots.
	Snapshots *snapshot.Topic
}

func (l *ClaimLog) Read(ctx context.Context, from int64) (<-chan stream.Fetched, func()) {
	r := l.Claim.Reader(ctx, from, stream.FetchOptions{MaxBytes: 512 << 10})
	return r.C(), r.Close
}

func (l *ClaimLog) FetchFrom(ctx context.Context, topic string, partition int32, offset int64, maxBytes int) (stream.Batch, error) {
	var b stream.Batch
	var err error
	l.Claim.Waiting(func() { b, err = l.Client.FetchFrom(ctx, topic, partition, offset, maxBytes) })
	return b, err
}

func (l *ClaimLog) Offsets(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	l.Claim.Waiting(func() { start, end, err = l.Client.Offsets(ctx, topic, partition) })
	return start, end, err
}

func (l *ClaimLog) OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (offset int64, err error) {
	l.Claim.Waiting(func() { offset, err = l.Client.OffsetAt(ctx, topic, partition, at) })
	return offset, err
}

func (l *ClaimLog) Produce(ctx context.Context, recs ...stream.Record) ([]stream.ProduceResult, error) {
	return l.Producer.ProduceResults(ctx, recs...)
}

func (l *ClaimLog) Position(offset int64) { l.Claim.CommitSoon(offset) }

func (l *ClaimLog) Committed() int64 { return l.Claim.Committed() }

func (l *ClaimLog) Alive()              { l.Claim.Alive() }
func (l *ClaimLog) Worked(offset int64) { l.Claim.Worked(offset) }

func (l *ClaimLog) Incident(code string, offset int64, err error) {
	l.Claim.Incident(code, offset, err)
}

func (l *ClaimLog) Report(code string, offset int64, err error) {
	l.Claim.Report(code, offset, err)
}

// WriteSnapshot and Newest are snapshots as the claimed partition reaches them.
func (l *ClaimLog) WriteSnapshot(ctx context.Context, records ...*statev1.SnapshotRecord) error {
	return l.Snapshots.Write(ctx, records...)
}

func (l *ClaimLog) Newest(ctx context.Context, p state.Partition, accept func(*statev1.SnapshotRecord_Begin) (bool, error), each func(*statev1.SnapshotRecord) error) (bool, error) {
	return l.Snapshots.Newest(ctx, p, accept, each)
}
