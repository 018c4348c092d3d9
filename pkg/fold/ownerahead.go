package fold

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/fold/internal/ahead"
	"github.com/tollgate/tollgate/pkg/state"
)

// An owner publishes what a batch makes, then goes on with the next from what it has in memory, while the store takes the
// commit. What is published follows from the log alone, so it may stand before its commit, by more than one batch too. What
// readers see and callers are answered is what the store has. A commit that fails ends the owner, and with it everything in
// memory.

// Flight is a commit on its way to the store.
type Flight = ahead.Flight

// passOver is how long records from which nothing follows may go without a commit: a service that needs one event
// in a thousand does not write for the others.
const passOver = 100 * time.Millisecond

// concluded moves the partition behind a batch whose outcomes are published.
func (o *Owner[B, C]) concluded(ctx context.Context, b *batch[B], c state.Commit) error {
	if !b.needsCommit(c) && !o.ahead.Collects() && (o.ahead.Any() || !elapsed(o.config.Clock(), o.storedAt, passOver)) {
		o.w = b.to
		return nil
	}
	var after []func()
	if decisions := b.decisions; len(decisions) > 0 {
		// Not before the commit: it alone proves that the partition is still ours, and that the decision stands whatever
		// dies from here on.
		after = append(after, func() { o.calls.Answer(decisions) })
	}
	if err := o.add(ctx, b.to, c, after...); err != nil {
		return err
	}
	if b.from.Status != state.Ready || b.watching {
		return o.flush(ctx)
	}
	return o.advance(ctx)
}

// add takes a commit over, behind all before it. What collects is begun where one commit can't hold both.
func (o *Owner[B, C]) add(ctx context.Context, to state.Watermark, c state.Commit, after ...func()) error {
	for !o.ahead.Add(to, c, len(after) > 0, after...) {
		if f := o.ahead.Flight(); f != nil {
			if err := o.land(f.Err()); err != nil {
				return err
			}
		}
		o.begin(ctx)
	}
	o.w = to
	return nil
}

// advance ends the commit on its way if its result is known, and begins the next when it is time.
func (o *Owner[B, C]) advance(ctx context.Context) error {
	if o.ahead.Flight() == nil && o.ahead.Collects() && o.ahead.Wait(o.config.Clock()) <= 0 {
		o.begin(ctx)
	}
	f := o.ahead.Flight()
	if f == nil {
		return nil
	}
	select {
	case <-f.Done():
		return o.land(f.Err())
	default:
		return nil
	}
}

// untilCommit shortens a wait for records: to where a commit is to be begun, or has a result.
func (o *Owner[B, C]) untilCommit(wait time.Duration) (time.Duration, <-chan struct{}) {
	switch f := o.ahead.Flight(); {
	case f != nil:
		return wait, f.Done()
	case o.ahead.Collects():
		return min(wait, max(o.ahead.Wait(o.config.Clock()), time.Millisecond)), o.changed
	}
	return wait, o.changed
}

// rest is a turn that has waited for records in vain while something is ahead of the store.
func (o *Owner[B, C]) rest(ctx context.Context) error {
	if o.ahead.Flight() == nil {
		o.begin(ctx)
	}
	return nil
}

// flush waits until the store has everything.
func (o *Owner[B, C]) flush(ctx context.Context) error {
	for o.ahead.Any() {
		f := o.ahead.Flight()
		if f == nil {
			o.begin(ctx)
			continue
		}
		if err := o.land(f.Err()); err != nil {
			return err
		}
	}
	return nil
}

// begin sends what was collected to the store. Nothing else is on its way.
func (o *Owner[B, C]) begin(ctx context.Context) {
	to, c := o.ahead.Next()
	now := o.config.Clock()
	to.At, to.Serial = now.UnixMilli(), o.stored.Serial+1
	store, p, from := o.config.Store, o.place.partition, o.stored
	o.ahead.Begin(o.config.Begin(func() error { return store.Commit(ctx, p, from, to, c) }), to, now)
}

// land takes the result of the commit on its way; afterwards readers see the new state.
func (o *Owner[B, C]) land(err error) error {
	if err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	to, c, after, begun := o.ahead.Landed()
	o.stored, o.storedAt = to, begun
	o.w.At, o.w.Serial = to.At, to.Serial
	o.config.Log.Progress()
	o.view.Commit(to, c)
	o.config.Metrics.Committed(o.config.Clock().Sub(begun))
	for _, f := range after {
		f()
	}
	return nil
}

// commit replaces the watermark, and returns once the store has it.
func (o *Owner[B, C]) commit(ctx context.Context, to state.Watermark, c state.Commit) error {
	if err := o.flush(ctx); err != nil {
		return err
	}
	if err := o.add(ctx, to, c); err != nil {
		return err
	}
	return o.flush(ctx)
}

// flight is a commit that a goroutine makes.
type flight struct {
	done chan struct{}
	err  error
}

// beside makes a commit in a goroutine of its own.
func beside(commit func() error) Flight {
	f := &flight{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.err = commit()
	}()
	return f
}

// begunAndDone makes a commit at once.
func begunAndDone(commit func() error) Flight {
	f := &flight{done: make(chan struct{}), err: commit()}
	close(f.done)
	return f
}

func (f *flight) Done() <-chan struct{} { return f.done }

func (f *flight) Err() error {
	<-f.done
	return f.err
}
