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

// Compiled holds revisions of the configuration, compiled into the form that a service uses. One goroutine reads,
// compiles and stores them; callers take what is in memory and never wait for the configuration service, the store or a
// compiler. It implements state.Revisions.
type Compiled[C any] struct {
	source  *Source
	compile func(s *Snapshot, before C) C
	wake    chan struct{} // holds a signal when there is work

	mu         sync.Mutex
	changed    chan struct{}
	newest     state.Revision     // in memory and in the store
	cache      []compiled[C]      // the most recently used is the last
	pending    []*pendingRevision // in the order in which they are made
	inForce    map[state.Partition]state.Revision
	storeStale bool // the store needs maintenance
	// interrupt ends the reading of the newest revision in favour of a pending one: a log waits for that.
	interrupt context.CancelFunc

	// Only the goroutine uses these: when the newest is tried again, and its last error.
	again  time.Time
	failed string
}

type compiled[C any] struct {
	at       state.Revision
	snapshot *Snapshot
	value    C
}

// pendingRevision is a revision that a caller asked for and that is not in memory.
type pendingRevision struct {
	at    state.Revision
	asked time.Time // last
	next  time.Time // not tried before
	err   error     // of the last try
}

const (
	// retryEvery is the interval between tries to read a revision.
	retryEvery = 2 * time.Second
	// forgetAfter drops a pending revision that no caller asks for any more: an owner that waits asks each second.
	forgetAfter = 10 * time.Second
)

// Compile starts to compile the revisions that the Source learns of and those that callers ask for, until ctx ends;
// Close of the Source waits for that. compile receives the previous result, at first the zero C, to reuse what did not
// change.
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
	for _, w := range c.pending {
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
	c.pending = append(c.pending, &pendingRevision{at: r, asked: now})
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
	c.storeStale = true
	c.signal()
}

// Latest is the compiled revision with the highest number in memory; false while there is none.
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

// recall and take require mu.
func (c *Compiled[C]) recall(r state.Revision) (found compiled[C], ok bool) {
	i := slices.IndexFunc(c.cache, func(k compiled[C]) bool { return k.at == r })
	if i < 0 {
		return found, false
	}
	found = c.cache[i]
	c.cache = append(append(c.cache[:i:i], c.cache[i+1:]...), found)
	return found, true
}

// take adds a compiled revision; a revision that no partition of this process uses is dropped first.
func (c *Compiled[C]) take(made compiled[C]) {
	c.cache = append(c.cache, made)
	for i := 0; len(c.cache) > remembered && i < len(c.cache)-1; {
		if at := c.cache[i].at; at == c.newest || c.used(at) {
			i++
			continue
		}
		c.cache = append(c.cache[:i:i], c.cache[i+1:]...)
	}
	c.pending = slices.DeleteFunc(c.pending, func(w *pendingRevision) bool { return w.at == made.at })
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

// work runs until ctx ends.
func (c *Compiled[C]) work(ctx context.Context) {
	maintainStore := time.NewTicker(keepEvery)
	defer maintainStore.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for ctx.Err() == nil {
		changed := c.source.Changed()
		if c.turn(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
			c.again = time.Time{}
		case <-c.wake:
		case <-retry.C:
		case <-maintainStore.C:
			c.mu.Lock()
			c.storeStale = true
			c.mu.Unlock()
		}
	}
}

// turn does one piece of work, if there is one: revisions that a log waits for come first.
func (c *Compiled[C]) turn(ctx context.Context) bool {
	now := time.Now()
	c.mu.Lock()
	c.pending = slices.DeleteFunc(c.pending, func(w *pendingRevision) bool { return now.Sub(w.asked) > forgetAfter })
	i := slices.IndexFunc(c.pending, func(w *pendingRevision) bool { return !now.Before(w.next) })
	var wished state.Revision
	if i >= 0 {
		wished = c.pending[i].at
	}
	newest, storeStale := c.newest, c.storeStale
	c.mu.Unlock()
	if i >= 0 {
		c.makePending(ctx, wished)
		return true
	}
	if r := c.source.newestApplied(); r.Number > 0 && r != newest && !now.Before(c.again) {
		c.advance(ctx, r)
		return true
	}
	if storeStale {
		c.maintainStore(ctx)
		return true
	}
	return false
}

// make returns once a revision is in memory; the error is why it can't be read.
func (c *Compiled[C]) makePending(ctx context.Context, r state.Revision) {
	err := c.make(ctx, r)
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.pending {
		if w.at != r {
			continue
		}
		if w.err == nil || w.err.Error() != err.Error() {
			c.source.log.Warn("revision that a log names is not available, trying again", zap.Stringer("revision", r), zap.Error(err))
		}
		w.err, w.next = err, time.Now().Add(retryEvery)
	}
	c.announce()
}

// advance makes the newest revision, stores it and announces it.
func (c *Compiled[C]) advance(ctx context.Context, r state.Revision) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	wished := slices.ContainsFunc(c.pending, func(w *pendingRevision) bool { return w.err == nil })
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
		c.newest, c.storeStale, c.failed = r, true, ""
		c.announce()
	case !interrupted:
		c.again = time.Now().Add(retryEvery)
		if c.failed != err.Error() {
			c.failed = err.Error()
			c.source.log.Warn("newest revision is not available, trying again", zap.Stringer("revision", r), zap.Error(err))
		}
	}
}

// make has a revision in memory, or returns why it can't.
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
