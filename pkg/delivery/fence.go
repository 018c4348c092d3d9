package delivery

import (
	"context"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// owns asks the store whether the partition is still at a watermark of ours; it
// asks until the store answers or ctx ends.
func (o *owner) owns(ctx context.Context, mark state.Watermark) error {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := o.ask(ctx, mark)
		if err == nil || errors.Is(err, state.ErrFenced) {
			return err
		}
		o.unrecorded(err)
		if !pause(ctx, wait) {
			return fmt.Errorf("ask for the fence: %w: %w", ctx.Err(), err)
		}
	}
}

func (o *owner) ask(ctx context.Context, mark state.Watermark) error {
	return o.within(ctx, func(ctx context.Context) error {
		_, err := o.Store.Load(ctx, o.part, mark, nil)
		return err
	})
}

// askFence asks, after a pause, whether somebody else has the partition. A
// commit on its way asks as well, and moves the watermark: it goes first.
func (o *owner) askFence(ctx context.Context, now int64) {
	if !o.doubt || o.asking || o.recording || now < o.askAfter {
		return
	}
	o.asking = true
	mark := o.mark
	o.workers.Go(func() { o.fence <- o.ask(ctx, mark) })
}

// fenceAnswered goes on where the partition is ours.
func (o *owner) fenceAnswered(err error) error {
	o.asking = false
	switch {
	case err == nil:
		o.doubt = false
	case errors.Is(err, state.ErrFenced):
		o.Metrics.fenced.Inc()
		return fmt.Errorf("%w: %w", stream.ErrRejoin, err)
	default:
		o.askAfter = o.now() + readAgain.Milliseconds()
	}
	return nil
}
