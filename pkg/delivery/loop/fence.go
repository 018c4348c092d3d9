package loop

import (
	"context"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// confirmOwnership asks the store whether the partition is still at a watermark of this owner; it retries until the
// store answers or ctx ends.
func (o *owner) confirmOwnership(ctx context.Context, mark state.Watermark) error {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := o.checkWatermark(ctx, mark)
		if err == nil || errors.Is(err, state.ErrFenced) {
			return err
		}
		o.noteRetry(err)
		if !pause.For(ctx, wait) {
			return fmt.Errorf("ask for the fence: %w: %w", ctx.Err(), err)
		}
	}
}

// checkWatermark asks the store once whether the partition is at a watermark; state.ErrFenced where it is not.
func (o *owner) checkWatermark(ctx context.Context, mark state.Watermark) error {
	return o.within(ctx, func(ctx context.Context) error {
		_, err := o.Store.Load(ctx, o.part, mark, nil)
		return err
	})
}

// checkFence asks the store, after a pause, whether another owner has the partition. A commit under way performs the
// same check and moves the watermark, so it goes first.
func (o *owner) checkFence(ctx context.Context, now int64) {
	if !o.ownershipUnknown || o.checkingFence || o.recording || now < o.checkFenceAfter {
		return
	}
	o.checkingFence = true
	mark := o.mark
	o.workers.Go(func() { o.fence <- o.checkWatermark(ctx, mark) })
}

// fenceChecked resumes sending where the partition still belongs to this owner.
func (o *owner) fenceChecked(err error) error {
	o.checkingFence = false
	switch {
	case err == nil:
		o.ownershipUnknown = false
	case errors.Is(err, state.ErrFenced):
		o.Metrics.Fenced.Inc()
		return fmt.Errorf("%w: %w", stream.ErrRejoin, err)
	default:
		o.checkFenceAfter = o.now() + readAgain.Milliseconds()
	}
	return nil
}
