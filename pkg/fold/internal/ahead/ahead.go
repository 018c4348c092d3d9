// Package ahead keeps what the batches of an owner have changed and the store does not hold yet: at most two commits, one
// that is on its way and one that collects the batches after it.
package ahead

import (
	"time"

	"github.com/tollgate/tollgate/pkg/state"
)

// Flight is a commit on its way to the store.
type Flight interface {
	// Done is closed once the result is known; nil where that is not to be waited for.
	Done() <-chan struct{}
	// Err waits for the result.
	Err() error
}

// Every is the least time between the begins of two commits, unless a caller waits for the answer.
const Every = 10 * time.Millisecond

// Work is what stands between an owner and its store. Its zero value is nothing.
type Work struct {
	collected, flying part

	flight Flight
	begun  time.Time
}

// part is what one commit holds.
type part struct {
	any    bool
	urgent bool
	to     state.Watermark
	commit state.Commit
	bytes  int
	// places of keys in commit.Puts, removed for those in commit.Deletes; appended are those in commit.Appends.
	places, appended map[string]int
	after            []func()
}

const removed = -1

// Add takes over the commit of one batch, behind those before it. It is false, and nothing is taken, where one commit can't
// hold both: then the one that collects must be begun first. after runs once the store has it.
func (w *Work) Add(to state.Watermark, c state.Commit, urgent bool, after ...func()) bool {
	p := &w.collected
	if p.any && !p.takes(c) {
		return false
	}
	p.any, p.to, p.urgent = true, to, p.urgent || urgent
	p.after = append(p.after, after...)
	p.merge(c)
	return true
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

// Any reports whether there is something that the store does not hold yet.
func (w *Work) Any() bool { return w.collected.any || w.flight != nil }

// Collects reports whether something was not begun yet.
func (w *Work) Collects() bool { return w.collected.any }

// Flight is the commit on its way, nil where there is none.
func (w *Work) Flight() Flight { return w.flight }

// Wait is how long what was collected may wait; below 0 where it may not.
func (w *Work) Wait(now time.Time) time.Duration {
	since := now.Sub(w.begun)
	if w.collected.urgent || since < 0 {
		return 0
	}
	return Every - since
}

// Next is the watermark and the commit to begin with.
func (w *Work) Next() (state.Watermark, state.Commit) { return w.collected.to, w.collected.commit }

// Begin makes what was collected the commit on its way, from one watermark to another. There is none on its way.
func (w *Work) Begin(f Flight, to state.Watermark, now time.Time) {
	w.collected, w.flying = w.flying, w.collected
	w.flying.to = to
	w.flight, w.begun = f, now
}

// Landed ends the commit on its way, and returns what it was; after is to run now.
func (w *Work) Landed() (to state.Watermark, c state.Commit, after []func(), begun time.Time) {
	p := &w.flying
	to, c, after = p.to, p.commit, p.after
	clear(p.places)
	clear(p.appended)
	*p = part{places: p.places, appended: p.appended}
	w.flight = nil
	return to, c, after, w.begun
}
