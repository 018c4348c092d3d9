// Package ahead keeps what the batches of an owner have changed and the store does not hold yet: at most two commits, one
// that is on its way and one that collects the batches after it.
//
// An owner publishes what a batch makes, then goes on with the next from what it has in memory, while the store takes the
// commit. What is published follows from the log alone, so it may stand before its commit, by more than one batch too. What
// readers see and callers are answered is what the store has. A commit that fails ends the owner, and with it everything in
// memory.
package ahead

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/state"
)

// Config is what commits are made with.
type Config struct {
	Commit func(ctx context.Context, from, to state.Watermark, c state.Commit) error
	// Begin begins a commit; nil where each is made where it is begun.
	Begin func(commit func() error) Flight
	Clock func() time.Time
	// Landed runs once the store has a commit.
	Landed func(c state.Commit, took time.Duration)
}

// every is the least time between the begins of two commits, unless a caller waits for the answer.
const every = 10 * time.Millisecond

// Work is what stands between an owner and its store.
type Work struct {
	// Stored is the watermark that the store has, as far as is known, and StoredAt when its commit was begun.
	Stored   state.Watermark
	StoredAt time.Time

	config            Config
	collected, flying part
	flight            Flight
	begun             time.Time
}

// New is an owner's, before it has a watermark.
func New(c Config) *Work {
	if c.Begin == nil {
		c.Begin = AtOnce
	}
	return &Work{config: c}
}

// part is what one commit holds.
type part struct {
	any    bool
	to     state.Watermark
	commit state.Commit
	bytes  int
	// places of keys in commit.Puts, removed for those in commit.Deletes; appended are those in commit.Appends.
	places, appended map[string]int
	after            []func()
}

const removed = -1

// Add takes over the commit of one batch, behind those before it. after runs once the store has it: somebody waits for that.
func (w *Work) Add(ctx context.Context, to state.Watermark, c state.Commit, after ...func()) error {
	for p := &w.collected; p.any && !p.takes(c); {
		if err := w.End(); err != nil {
			return err
		}
		w.begin(ctx)
	}
	p := &w.collected
	p.any, p.to, p.after = true, to, append(p.after, after...)
	p.merge(c)
	return nil
}

// takes reports whether a commit is within the bounds of the store with another one added, and means the same: appends
// come before deletes there.
func (p *part) takes(c state.Commit) bool {
	if 1+p.keys()+keys(c) > state.MaxKeys || p.bytes+size(c) > state.MaxBytes {
		return false
	}
	for _, e := range c.Appends {
		if at, ok := p.places[e.Key]; ok && at == removed {
			return false
		}
	}
	return true
}

func (p *part) keys() int { return keys(p.commit) }

func keys(c state.Commit) int { return len(c.Puts) + len(c.Appends) + len(c.Deletes) }

func size(c state.Commit) (n int) {
	for _, e := range c.Puts {
		n += len(e.Key) + len(e.Value)
	}
	for _, e := range c.Appends {
		n += len(e.Key) + len(e.Value)
	}
	return n
}

func (p *part) merge(c state.Commit) {
	if p.places == nil {
		p.places, p.appended = make(map[string]int), make(map[string]int)
	}
	p.bytes += size(c)
	if p.keys() == 0 { // nearly always
		p.commit = c
		for i, e := range c.Puts {
			p.places[e.Key] = i
		}
		for i, e := range c.Appends {
			p.appended[e.Key] = i
		}
		for _, key := range c.Deletes {
			p.places[key] = removed
		}
		return
	}
	for _, e := range c.Puts {
		p.put(e)
	}
	for _, e := range c.Appends {
		p.append(e)
	}
	for _, key := range c.Deletes {
		p.remove(key)
	}
}

func (p *part) put(e state.Entry) {
	at, ok := p.places[e.Key]
	switch {
	case ok && at != removed:
		p.bytes -= len(e.Key) + len(p.commit.Puts[at].Value)
		p.commit.Puts[at].Value = e.Value
		return
	case ok:
		for i, key := range p.commit.Deletes {
			if key == e.Key {
				p.commit.Deletes = cut(p.commit.Deletes, i)
				break
			}
		}
	}
	p.places[e.Key] = len(p.commit.Puts)
	p.commit.Puts = append(p.commit.Puts, e)
}

func (p *part) append(e state.Entry) {
	at, ok := p.appended[e.Key]
	if !ok {
		p.appended[e.Key] = len(p.commit.Appends)
		p.commit.Appends = append(p.commit.Appends, e)
		return
	}
	p.bytes -= len(e.Key)
	before := p.commit.Appends[at].Value
	p.commit.Appends[at].Value = append(before[:len(before):len(before)], e.Value...)
}

func (p *part) remove(key string) {
	at, ok := p.places[key]
	if ok && at == removed {
		return
	}
	if ok {
		p.take(&p.commit.Puts, p.places, at)
	}
	if at, ok := p.appended[key]; ok {
		p.take(&p.commit.Appends, p.appended, at)
		delete(p.appended, key)
	}
	p.places[key] = removed
	p.commit.Deletes = append(p.commit.Deletes, key)
}

// take takes an entry out of a list whose places are known.
func (p *part) take(list *[]state.Entry, places map[string]int, at int) {
	e := (*list)[at]
	p.bytes -= len(e.Key) + len(e.Value)
	*list = cut(*list, at)
	if at < len(*list) {
		places[(*list)[at].Key] = at
	}
}

// cut takes one out; the last takes its place.
func cut[E any](list []E, at int) []E {
	last := len(list) - 1
	list[at] = list[last]
	return list[:last]
}

// Get is the value of a key as the batches so far leave it, nil where they delete it; false where none of them changes it.
func (w *Work) Get(key []byte) ([]byte, bool) {
	if v, ok := w.collected.get(key); ok {
		return v, true
	}
	return w.flying.get(key)
}

func (p *part) get(key []byte) ([]byte, bool) {
	if len(p.places) == 0 {
		return nil, false
	}
	at, ok := p.places[string(key)]
	if !ok || at == removed {
		return nil, ok
	}
	return p.commit.Puts[at].Value, true
}

// Any reports whether there is something that the store does not hold yet, or that is not known of.
func (w *Work) Any() bool { return w.collected.any || w.flight != nil }

// Collects reports whether something was not begun yet.
func (w *Work) Collects() bool { return w.collected.any }

// wait is how long what was collected may wait still.
func (w *Work) wait() time.Duration {
	since := w.config.Clock().Sub(w.begun)
	if len(w.collected.after) > 0 || since < 0 {
		return 0
	}
	return every - since
}

// Advance ends the commit on its way if its result is known, and begins the next when it is time.
func (w *Work) Advance(ctx context.Context) error {
	if w.flight == nil && w.collected.any && w.wait() <= 0 {
		w.begin(ctx)
	}
	if w.flight == nil {
		return nil
	}
	select {
	case <-w.flight.Done():
		return w.End()
	default:
		return nil
	}
}

// Until shortens a wait that is ended by wake: to where a commit is to be begun, or has a result.
func (w *Work) Until(wait time.Duration, wake <-chan struct{}) (time.Duration, <-chan struct{}) {
	switch {
	case w.flight != nil:
		return wait, w.flight.Done()
	case w.collected.any:
		return min(wait, max(w.wait(), time.Millisecond)), wake
	}
	return wait, wake
}

// Rest is for a turn that has waited in vain: what was collected waits no longer.
func (w *Work) Rest(ctx context.Context) {
	if w.flight == nil && w.collected.any {
		w.begin(ctx)
	}
}

// Flush waits until the store has everything.
func (w *Work) Flush(ctx context.Context) error {
	for w.Any() {
		if w.flight == nil {
			w.begin(ctx)
		}
		if err := w.End(); err != nil {
			return err
		}
	}
	return nil
}

// begin sends what was collected to the store. Nothing else is on its way.
func (w *Work) begin(ctx context.Context) {
	from, to, c := w.Stored, w.collected.to, w.collected.commit
	w.begun = w.config.Clock()
	to.At, to.Serial = w.begun.UnixMilli(), from.Serial+1
	w.collected, w.flying = w.flying, w.collected
	w.flying.to = to
	w.flight = w.config.Begin(func() error { return w.config.Commit(ctx, from, to, c) })
}

// End waits for the result of the commit on its way. After an error nothing of what is in memory may be used.
func (w *Work) End() error {
	if w.flight == nil {
		return nil
	}
	if err := w.flight.Err(); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	p := w.flying
	clear(p.places)
	clear(p.appended)
	w.flying, w.flight = part{places: p.places, appended: p.appended}, nil
	w.Stored, w.StoredAt = p.to, w.begun
	w.config.Landed(p.commit, w.config.Clock().Sub(w.begun))
	for _, f := range p.after {
		f()
	}
	return nil
}
