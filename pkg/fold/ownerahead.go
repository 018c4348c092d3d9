package fold

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/pkg/fold/internal/ahead"
	"github.com/tollgate/tollgate/pkg/fold/internal/limits"
	"github.com/tollgate/tollgate/pkg/state"
)

// Flight is a commit on its way to the store.
type Flight = ahead.Flight

// passOver is how long records from which nothing follows may go without a commit: a service that needs one event
// in a thousand does not write for the others.
const passOver = 100 * time.Millisecond

// newAhead is what stands between an owner and its store.
func (o *Owner[B, C]) newAhead() *ahead.Work {
	return ahead.New(ahead.Config{
		Commit: func(ctx context.Context, from, to state.Watermark, c state.Commit) error {
			return o.config.Store.Commit(ctx, o.place.partition, from, to, c)
		},
		Begin: o.config.Begin, Clock: o.config.Clock,
		Landed: func(c state.Commit, took time.Duration) {
			o.w.At, o.w.Serial = o.ahead.Stored.At, o.ahead.Stored.Serial
			o.config.Log.Progress()
			o.view.Commit(o.ahead.Stored, c)
			o.config.Metrics.Committed(took)
		},
	})
}

// concluded moves the partition behind a batch whose outcomes are published.
func (o *Owner[B, C]) concluded(ctx context.Context, b *batch[B], c state.Commit) error {
	o.met.Store(b.to.Called)
	if !b.needsCommit(c) && !o.ahead.Collects() && (o.ahead.Any() || !limits.Elapsed(o.config.Clock(), o.ahead.StoredAt, passOver)) {
		o.w = b.to
		return nil
	}
	var after []func()
	if decisions := b.decisions; len(decisions) > 0 {
		// Not before the commit: it alone proves that the partition is still ours, and that the decision stands whatever
		// dies from here on.
		after = append(after, func() { o.calls.Answer(decisions) })
	}
	if err := o.ahead.Add(ctx, b.to, c, after...); err != nil {
		return err
	}
	o.w = b.to
	if b.from.Status != state.Ready || b.watching {
		return o.ahead.Flush(ctx)
	}
	return o.ahead.Advance(ctx)
}

// commit replaces the watermark, and returns once the store has it.
func (o *Owner[B, C]) commit(ctx context.Context, to state.Watermark, c state.Commit) error {
	if err := o.ahead.Flush(ctx); err != nil {
		return err
	}
	if err := o.ahead.Add(ctx, to, c); err != nil {
		return err
	}
	o.w = to
	return o.ahead.Flush(ctx)
}
