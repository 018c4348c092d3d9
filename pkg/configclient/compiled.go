package configclient

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/state"
)

// Compiled are revisions in the form in which a service folds by them. One goroutine reads, compiles and keeps; whoever
// asks takes what is at hand and never waits for the configuration service, the store or a compiler. It is the
// state.Revisions of a service's engines.
type Compiled[C any] struct {
	source  *Source
	compile func(s *Snapshot, before C) C
	wake    chan struct{} // holds a signal when there is something to do

	mu      sync.Mutex
	changed chan struct{}
	newest  state.Revision // at hand, and in the store
	cache   []compiled[C]  // the one used last is the last
	wishes  []*wish        // in the order in which they are worked
	inForce map[state.Partition]state.Revision
	untidy  bool // what lies in the store is to be looked after
	// interrupt ends the reading of the newest revision, for a wish: a log waits for that.
	interrupt context.CancelFunc

	// Of the goroutine alone: when the newest is tried again, and what was wrong with it.
	again  time.Time
	failed string
}

type compiled[C any] struct {
	at       state.Revision
	snapshot *Snapshot
	value    C
}

// wish is a revision that somebody asks for and that is not at hand.
type wish struct {
	at    state.Revision
	asked time.Time // last
	next  time.Time // not tried before
	err   error     // of the last try
}

const (
	// retryEvery is how soon what could not be read is tried again.
	retryEvery = 2 * time.Second
	// forgetAfter drops a wish that nobody repeats: an owner that waits asks each second.
	forgetAfter = 10 * time.Second
)

// Compile begins to compile what the Source hears of, and what is asked for, until ctx ends; the Source's Close waits for
// that. compile gets what it made before, the zero C at first, for what did not change.
func Compile[C any](ctx context.Context, s *Source, compile func(s *Snapshot, before C) C) *Compiled[C] {
	c := &Compiled[C]{
		source: s, compile: compile, wake: make(chan struct{}, 1),
		changed: make(chan struct{}), inForce: map[state.Partition]state.Revision{},
	}
	s.running.Go(func() { c.work(ctx) })
	return c
}

// Newest implements state.Revisions.
func (c *Compiled[C]) Newest() state.Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest
}

// Changed implements state.Revisions.
func (c *Compiled[C]) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// At implements state.Revisions.
func (c *Compiled[C]) At(r state.Revision) (C, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.recall(r); ok {
		return found.value, nil
	}
	var none C
	now := time.Now()
	for _, w := range c.wishes {
		if w.at != r {
			continue
		}
		w.asked = now
		switch {
		case w.err == nil:
			return none, state.ErrNotReady
		case fault.KindOf(w.err) == fault.NotFound:
			return none, w.err
		}
		return none, fmt.Errorf("%w: %w", state.ErrNotReady, w.err)
	}
	c.wishes = append(c.wishes, &wish{at: r, asked: now})
	if c.interrupt != nil {
		c.interrupt()
	}
	c.signal()
	return none, state.ErrNotReady
}

// InForce implements state.Revisions.
func (c *Compiled[C]) InForce(p state.Partition, r state.Revision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case r == c.inForce[p]:
		return
	case r == state.Revision{}:
		delete(c.inForce, p)
		return
	}
	c.inForce[p] = r
	c.source.note(r)
	c.untidy = true
	c.signal()
}

// Latest is the highest revision at hand, for those who ask for none in particular; false while there is none.
func (c *Compiled[C]) Latest() (value C, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	highest := int64(-1)
	for i := range c.cache {
		if n := c.cache[i].at.Number; n > highest {
			value, ok, highest = c.cache[i].value, true, n
		}
	}
	return value, ok
}

func (c *Compiled[C]) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// recall and take hold mu.

func (c *Compiled[C]) recall(r state.Revision) (found compiled[C], ok bool) {
	i := slices.IndexFunc(c.cache, func(k compiled[C]) bool { return k.at == r })
	if i < 0 {
		return found, false
	}
	found = c.cache[i]
	c.cache = append(append(c.cache[:i:i], c.cache[i+1:]...), found)
	return found, true
}

// take adds what was compiled; what no partition here is at goes first.
func (c *Compiled[C]) take(made compiled[C]) {
	c.cache = append(c.cache, made)
	for i := 0; len(c.cache) > remembered && i < len(c.cache)-1; {
		if at := c.cache[i].at; at == c.newest || c.used(at) {
			i++
			continue
		}
		c.cache = append(c.cache[:i:i], c.cache[i+1:]...)
	}
	c.wishes = slices.DeleteFunc(c.wishes, func(w *wish) bool { return w.at == made.at })
	c.announce()
}

func (c *Compiled[C]) used(r state.Revision) bool {
	for _, at := range c.inForce {
		if at == r {
			return true
		}
	}
	return false
}

func (c *Compiled[C]) announce() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// work is the goroutine.
func (c *Compiled[C]) work(ctx context.Context) {
	tidy := time.NewTicker(keepEvery)
	defer tidy.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for ctx.Err() == nil {
		heard := c.source.Changed()
		if c.turn(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-heard:
			c.again = time.Time{}
		case <-c.wake:
		case <-retry.C:
		case <-tidy.C:
			c.mu.Lock()
			c.untidy = true
			c.mu.Unlock()
		}
	}
}

// turn does one thing, if there is one: what a log waits for comes first.
func (c *Compiled[C]) turn(ctx context.Context) bool {
	now := time.Now()
	c.mu.Lock()
	c.wishes = slices.DeleteFunc(c.wishes, func(w *wish) bool { return now.Sub(w.asked) > forgetAfter })
	i := slices.IndexFunc(c.wishes, func(w *wish) bool { return !now.Before(w.next) })
	var wished state.Revision
	if i >= 0 {
		wished = c.wishes[i].at
	}
	newest, untidy := c.newest, c.untidy
	c.mu.Unlock()
	if i >= 0 {
		c.fulfil(ctx, wished)
		return true
	}
	if r := c.source.newestApplied(); r.Number > 0 && r != newest && !now.Before(c.again) {
		c.advance(ctx, r)
		return true
	}
	if untidy {
		c.tidy(ctx)
		return true
	}
	return false
}

// fulfil makes a revision that was asked for.
func (c *Compiled[C]) fulfil(ctx context.Context, r state.Revision) {
	err := c.make(ctx, r)
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.wishes {
		if w.at != r {
			continue
		}
		if w.err == nil || w.err.Error() != err.Error() {
			c.source.log.Warn("revision that a log names not at hand, trying again", zap.Stringer("revision", r), zap.Error(err))
		}
		w.err, w.next = err, time.Now().Add(retryEvery)
	}
	c.announce()
}

// advance makes the newest revision, puts it into the store and lets it be announced.
func (c *Compiled[C]) advance(ctx context.Context, r state.Revision) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	wished := slices.ContainsFunc(c.wishes, func(w *wish) bool { return w.err == nil })
	c.interrupt = cancel
	c.mu.Unlock()
	if wished {
		return
	}
	err := c.make(reading, r)
	if err == nil {
		err = c.keep(reading, r)
	}
	interrupted := reading.Err() != nil
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupt = nil
	switch {
	case err == nil:
		c.newest, c.untidy, c.failed = r, true, ""
		c.announce()
	case !interrupted:
		c.again = time.Now().Add(retryEvery)
		if c.failed != err.Error() {
			c.failed = err.Error()
			c.source.log.Warn("newest revision not at hand, trying again", zap.Stringer("revision", r), zap.Error(err))
		}
	}
}

// make has a revision in memory, or says why it can't.
func (c *Compiled[C]) make(ctx context.Context, r state.Revision) error {
	c.mu.Lock()
	_, found := c.recall(r)
	var before C
	if n := len(c.cache); n > 0 {
		before = c.cache[n-1].value
	}
	c.mu.Unlock()
	if found {
		return nil
	}
	s, err := c.source.load(ctx, r)
	if err != nil {
		return err
	}
	value := c.compile(s, before)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take(compiled[C]{at: r, snapshot: s, value: value})
	return nil
}

var _ state.Revisions[int] = (*Compiled[int])(nil)
