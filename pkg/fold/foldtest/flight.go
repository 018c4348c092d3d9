package foldtest

import (
	"errors"
	"sync/atomic"

	"github.com/tollgate/tollgate/pkg/fold"
)

// flight is a commit on its way from an owner to the store. It reaches the store at some moment between its begin and the
// moment that the owner waits for it: while the owner stands still as well, or long after it has died.
type flight[B, C any] struct {
	history *history[B, C]
	owner   *runningOwner
	commit  func() error
	over    bool // the result is known
	err     error
	span    [2]int64
}

// begin sends a commit on its way.
func (p *faulty[B, C]) begin(commit func() error) fold.Flight {
	f := &flight[B, C]{history: p.history, owner: p.runningOwner, commit: commit}
	p.history.flights = append(p.history.flights, f)
	return f
}

// reach lets the store have it, or lose it.
func (f *flight[B, C]) reach() {
	if f.over {
		return
	}
	f.over = true
	injected := goOn
	if f.history.faults && !f.history.quiet {
		injected = f.history.inject()
	}
	switch injected {
	case failBefore:
		f.err = errFault
	case failAfter:
		f.err = errors.Join(f.commit(), errFault)
	default:
		f.err = f.commit()
	}
	f.span = f.owner.span
}

// Done is now, or not yet.
func (f *flight[B, C]) Done() <-chan struct{} {
	if f.owner.dead {
		return nil
	}
	if f.history.quiet || f.history.random.IntN(3) == 0 {
		f.reach()
	}
	if !f.over {
		return nil
	}
	done := make(chan struct{})
	close(done)
	return done
}

// Err waits for it.
func (f *flight[B, C]) Err() error {
	if !f.over {
		err := f.owner.call("commit", func() error {
			f.reach()
			return nil
		})
		if err != nil {
			f.over = f.over || !f.owner.dead
			return err
		}
	}
	if f.err == nil {
		f.owner.commits = append(f.owner.commits, f.span)
		f.owner.ahead = 0
	}
	return f.err
}

// reachOne lets the store have one of the commits on their way, of an owner that is at work, stands still or has died.
func (w *history[B, C]) reachOne() {
	if len(w.flights) == 0 || w.random.IntN(12) > 0 {
		return
	}
	i := w.random.IntN(len(w.flights))
	w.flights[i].reach()
	w.flights[i] = w.flights[len(w.flights)-1]
	w.flights = w.flights[:len(w.flights)-1]
}

// commitOne moves the group's offset for one of the owners, at work, stopped or dead.
func (w *history[B, C]) commitOne() {
	if w.random.IntN(12) > 0 {
		return
	}
	owners := append([]*runningOwner{w.current}, w.zombies...)
	w.commitSoon(owners[w.random.IntN(len(owners))])
}

// commitSoon moves the group's offset to what an owner has asked for: not for one whose generation is over. The answer
// may be lost.
func (w *history[B, C]) commitSoon(a *runningOwner) {
	if a == nil || a.soon == 0 || a.generation < w.generation {
		return
	}
	w.committed = max(w.committed, a.soon)
	if !w.faults || w.quiet || w.random.IntN(8) > 0 {
		a.committed = max(a.committed, a.soon)
	}
	a.soon = 0
}

// MostAhead is how many batches an owner has published at most after another one had taken its partition, over all histories.
var MostAhead atomic.Int64

// ranAhead notes a batch that an owner publishes before its commit.
func (w *history[B, C]) ranAhead(a *runningOwner) {
	if a.generation == w.generation {
		return
	}
	a.ahead++
	MostAhead.Store(max(MostAhead.Load(), int64(a.ahead)))
}
