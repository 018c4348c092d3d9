package foldtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
)

// runningOwner is an owner and the goroutine it runs in.
type runningOwner struct {
	generation int
	committed  int64 // of the group, as the owner sees it
	soon       int64 // that its group commits some time
	arrive     chan string
	resume     chan injection
	done       chan error
	dead       bool
	ended      bool

	owner   caller
	next    *try // about to be appended
	pending *try // waits to be written to the log
	// commits are those that were answered: offsets before and after; span is of the one that reached the store last.
	commits [][2]int64
	span    [2]int64
	ahead   int // batches published since the last answered commit
}

// caller is an owner, for calls.
type caller interface {
	Call(ctx context.Context, e *event.Event) (fold.Answer, error)
}

type injection int

// call is a call out of an owner into the history.
func (a *runningOwner) call(what string, effect func() error) error {
	if a.dead {
		return errKilled
	}
	a.arrive <- what
	switch <-a.resume {
	case failBefore:
		return errFault
	case failAfter:
		return errors.Join(effect(), errFault)
	case dieBefore:
		a.dead = true
		return errKilled
	case dieAfter:
		a.dead = true
		return errors.Join(effect(), errKilled)
	default:
		return effect()
	}
}

// turn lets an runningOwner run to its next call, or its end.
func (a *runningOwner) turn(v injection) {
	if a.ended {
		return
	}
	a.resume <- v
	a.wait()
}

func (a *runningOwner) wait() {
	select {
	case <-a.arrive:
	case err := <-a.done:
		_ = err // why it ended is its own affair: another opens the partition
		a.ended = true
	}
}

// start lets a new owner open the partition, as after a rebalance.
func (w *history[B, C]) start() {
	w.generation++
	a := &runningOwner{generation: w.generation, committed: w.committed, arrive: make(chan string), resume: make(chan injection), done: make(chan error, 1)}
	if a.committed == 0 {
		a.committed = -1
	}
	p := &faulty[B, C]{history: w, runningOwner: a}
	o := fold.NewOwner(fold.OwnerConfig[B, C]{
		Service: "simulation", Partition: w.backend.Partition(), Address: fmt.Sprintf("owner-%d:1", w.generation), Topic: "log", Rejected: "rejected",
		Fold: w.simulation.NewFold(), Options: w.simulation.Options, Log: faultyLog[B, C]{p}, Appender: p, Store: faultyStore[B, C]{p}, Publisher: p, Revisions: p, Snapshots: faultySnapshots[B, C]{p, w.backend.Snapshots()}, Begin: p.begin,
		Clock: func() time.Time { return w.now }, Logger: zap.NewNop(),
		Metrics: fold.NewMetrics("simulation", "simulation", prometheus.NewRegistry()),
		Cache:   1 + w.random.IntN(8), Batch: 1 + w.random.IntN(12), DueStep: 1 + w.random.IntN(3),
		SnapshotEvery: time.Hour, SnapshotEvents: int64(20 + w.random.IntN(100)),
	})
	a.owner = o
	w.current = a
	go func() { a.done <- o.Run(w.t.Context()) }()
	a.wait()
}

// settle runs zombies to their end, then the owner until nothing is left.
func (w *history[B, C]) settle() {
	w.bury()
	w.idle = 0
	for range 100_000 {
		if w.idle >= idleTurns {
			w.stop()
			return
		}
		w.goOn()
	}
	w.t.Fatal("the owner never came to the end of the log")
}

// idleTurns at the end of the log show that an owner has nothing left to do.
const idleTurns = 12

// bury runs zombies as far as they come.
func (w *history[B, C]) bury() {
	for _, z := range w.zombies {
		for range 300 {
			z.turn(goOn)
		}
	}
	for _, z := range w.zombies {
		for !z.ended {
			z.turn(dieBefore)
		}
	}
	w.zombies = nil
}

func (w *history[B, C]) goOn() {
	if w.current.ended {
		w.start()
	}
	w.current.turn(goOn)
}

func (w *history[B, C]) stop() {
	for !w.current.ended {
		w.current.turn(dieBefore)
	}
}
