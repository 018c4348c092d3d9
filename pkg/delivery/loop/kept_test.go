package loop

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery/internal/scan"
	"github.com/tollgate/tollgate/pkg/state"
)

// of starts a replica in the process of another channel.
func of(process *Channel) func(*Channel) {
	return func(c *Channel) { c.kept.partitions = process.kept.partitions }
}

func TestKept_APartitionThatComesBackIsNotReadAgain(t *testing.T) {
	for _, between := range []string{"nobody", "another owner", "another owner that changed nothing", "too long"} {
		synctest.Test(t, func(t *testing.T) {
			sim := newSimulation(t, 1, "e1")
			var process *Channel
			r := sim.start(func(c *Channel) { process = c })
			d := newDelivery("e1", "s", "0")
			sim.plan(d)
			for i := range 100 {
				sim.plan(newDelivery("e1", "s", fmt.Sprint(i+1)))
			}
			time.Sleep(2 * time.Second)
			r.drain()
			switch between {
			case "another owner":
				other := sim.start()
				sim.plan(newDelivery("e1", "s", "other"))
				time.Sleep(2 * time.Second)
				other.drain()
			case "another owner that changed nothing":
				if _, err := sim.store.Open(t.Context(), simulated, ""); err != nil {
					t.Fatal(err)
				}
			case "too long":
				time.Sleep(keepFor + time.Second)
				process.kept.prune()
			}
			synctest.Wait()
			r = sim.start(of(process))
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if len(process.kept.partitions) != 0 {
				t.Errorf("after %s: what an owner works with is kept too", between)
			}
			const comparison, window, forward = 1, 1, 1
			want := int32(comparison + window + forward)
			if between == "nobody" {
				want = comparison + forward
			}
			if n := r.reads.Load(); n != want {
				t.Errorf("after %s: %d reads of deliveries, want %d", between, n, want)
			}
			sim.plan(d) // a repeat by the planner
			time.Sleep(time.Second)
			r.drain()
			if n := sim.repeats(); n != 0 {
				t.Errorf("after %s: %d repeats", between, n)
			}
		})
	}
}

func TestKept_AnOwnerThatIsAheadOfItsCommitKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		var process *Channel
		r := sim.start(func(c *Channel) { process = c })
		sim.plan(newDelivery("e1", "s", "0"))
		time.Sleep(2 * time.Second)
		r.setStoreAway(true)
		sim.plan(newDelivery("e1", "s", "1")) // read, and not committed
		time.Sleep(2 * time.Second)
		r.kill()
		r = sim.start(of(process))
		time.Sleep(time.Minute)
		r.drain()
		attempts := map[string]bool{}
		for _, a := range sim.attempts() {
			attempts[a.Delivery] = true
		}
		if len(attempts) != 2 {
			t.Errorf("%d of 2 deliveries have attempts", len(attempts))
		}
		if _, ok := process.kept.partitions[0]; ok {
			t.Error("a window is kept that has deliveries which are read again")
		}
	})
}

// noLoad is a store whose next loads fail.
type noLoad struct {
	state.Store
	fails atomic.Int32
}

func (s *noLoad) Load(ctx context.Context, p state.Partition, mark state.Watermark, keys []string) ([][]byte, error) {
	if s.fails.Add(-1) >= 0 {
		return nil, errors.New("connection lost")
	}
	return s.Store.Load(ctx, p, mark, keys)
}

func TestKept_AnOpeningThatFailedKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		sim.failFor("e2")
		var process *Channel
		r := sim.start(func(c *Channel) { process = c })
		d := newDelivery("e1", "s", "0")
		sim.plan(d)
		sim.plan(newDelivery("e2", "s", "waits"))
		time.Sleep(2 * time.Second)
		r.kill()
		if _, err := sim.store.Open(t.Context(), simulated, ""); err != nil { // another owner: the window is read again
			t.Fatal(err)
		}
		store := &noLoad{}
		store.fails.Store(1)
		r = sim.start(of(process), func(c *Channel) { store.Store, c.Store = c.Store, store })
		time.Sleep(2 * time.Second)
		sim.plan(d) // a repeat by the planner
		time.Sleep(2 * time.Second)
		r.drain()
		if n := sim.repeats(); n != 0 || store.fails.Load() >= 0 {
			t.Errorf("%d repeats, after %d loads", n, 1-store.fails.Load())
		}
	})
}

// A process forgets the partitions that did not come back, though it works others.
func TestKept_WhatDoesNotComeBackIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		var process *Channel
		r := sim.start(func(c *Channel) { process = c })
		process.kept.put(7, state.Watermark{}, scan.NewWindow())
		has := func() int {
			process.kept.mu.Lock()
			defer process.kept.mu.Unlock()
			return len(process.kept.partitions)
		}
		time.Sleep(keepFor - 2*time.Second)
		before := has()
		time.Sleep(4 * time.Second)
		if after := has(); before != 1 || after != 0 {
			t.Errorf("%d kept for nearly %s, %d after it", before, keepFor, after)
		}
		r.kill()
	})
}

// A store that was set back to a moment of the same ownership has a position before the end of the window: what is read again
// is no repeat.
func TestKept_AStoreThatWasSetBackNeedsItsOwnWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.pause(2, "e1", true)
		var process *Channel
		r := sim.start(func(c *Channel) { process = c })
		sim.plan(newDelivery("e1", "s", "0"))
		time.Sleep(2 * time.Second)
		dump := sim.store.Dump()
		sim.plan(newDelivery("e1", "s", "1")) // a reference alone has it
		time.Sleep(2 * time.Second)
		r.drain()
		sim.store.Restore(dump)
		r = sim.start(of(process))
		time.Sleep(2 * time.Second)
		sim.pause(3, "e1", false)
		time.Sleep(time.Minute)
		r.drain()
		if n := sim.acceptedOf("e1"); n != 2 {
			t.Errorf("%d of 2 deliveries were accepted", n)
		}
	})
}
