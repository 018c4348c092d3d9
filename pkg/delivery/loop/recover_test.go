package loop

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
)

// empty is the dump of an empty store.
func empty() memstate.Dump { return memstate.New().Dump() }

func TestRecover_EmptyStoreSendsNothingSettledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(d *delivery.Delivery, n int) (delivery.Result, time.Duration) {
			switch d.Event.ID {
			case "dead":
				return delivery.Refused, time.Millisecond
			case "waits":
				return delivery.Failed, time.Millisecond
			}
			return delivery.Accepted, time.Millisecond
		})
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "one"))
		sim.plan(newDelivery("e1", "b", "dead"))
		sim.plan(newDelivery("e1", "b", "behind"))
		sim.plan(newDelivery("gone", "b", "cancelled"))
		waits := sim.plan(newDelivery("e1", "c", "waits"))
		sim.plan(newDelivery("e1", "c", "next"))
		time.Sleep(10 * time.Second) // tried twice, due again after 30 s
		r.drain()
		before := len(sim.received())
		sim.store.Restore(empty())
		sim.configure(2, 64, "e1", "gone")
		sim.answers(func(d *delivery.Delivery, n int) (delivery.Result, time.Duration) {
			return delivery.Accepted, time.Millisecond
		})
		r = sim.start()
		time.Sleep(time.Second)
		if got := sim.received()[before:]; len(got) != 0 {
			t.Errorf("sent again: %v", got)
		}
		time.Sleep(time.Minute)
		r.drain()
		after := sim.received()[before:]
		if len(after) != 2 || after[0].id != waits.ID || after[0].n != 3 {
			t.Errorf("received %+v: want the third attempt of the waiting delivery, then the next of its ordering key", after)
		}
	})
}

func TestRecover_CrashDuringRebuildLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		for i := range 10_000 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Second)
		r.drain()
		if n := len(sim.received()); n != 10_000 {
			t.Fatalf("%d received", n)
		}
		sim.plan(newDelivery("e1", "last", "last"))
		sim.store.Restore(empty())
		sim.onCommit(nil, func(to state.Watermark) bool { return to.Offset > 0 && to.Offset < to.PublishedOffset })
		// Slow reading makes a commit during the rebuild.
		sim.broker.mu.Lock()
		sim.broker.slow = 5 * time.Millisecond
		sim.broker.mu.Unlock()
		r = sim.start()
		<-r.over
		sim.onCommit(nil, nil)
		mark, _, _ := sim.store.Peek(t.Context(), state.Partition{Domain: "test", Count: 1}, nil)
		if mark.Status != state.Rebuilding || mark.Offset == 0 {
			t.Fatalf("killed at offset %d, %s: not on the way", mark.Offset, mark.Status)
		}
		r = sim.start()
		time.Sleep(20 * time.Millisecond)
		if !strings.Contains(sim.healthText(), "nothing is sent yet") {
			t.Errorf("health reports %s while it finds its position", sim.healthText())
		}
		time.Sleep(time.Minute)
		r.drain()
		if n := len(sim.received()); n != 10_001 {
			t.Errorf("%d receipts of 10,001 deliveries", n)
		}
	})
}

func TestRecover_ResultsBeyondACommitAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.configure(2, 800, "e1")
		r := sim.start()
		time.Sleep(100 * time.Millisecond)
		sim.broker.setFull(true)
		sim.plan(newDelivery("e1", "first", "first")) // its commit waits until all others are sent
		time.Sleep(100 * time.Millisecond)
		for i := range 700 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Second)
		if n := len(sim.received()); n != 701 {
			t.Fatalf("%d sent", n)
		}
		sim.onCommit(nil, func(to state.Watermark) bool { return to.Offset == 701 })
		sim.broker.setFull(false)
		<-r.over
		sim.onCommit(nil, nil)
		if n := len(sim.attempts()); n != 501 {
			t.Fatalf("killed with %d attempts published, not with a second commit of 500", n)
		}
		r = sim.start()
		time.Sleep(10 * time.Second)
		r.drain()
		settled := map[string]bool{}
		for _, a := range sim.attempts() {
			settled[a.Delivery] = true
		}
		if len(settled) != 701 {
			t.Errorf("%d of 701 settled", len(settled))
		}
	})
}

func TestRecover_AttemptsOffsetWaitsForPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(d *delivery.Delivery, n int) (delivery.Result, time.Duration) {
			if d.Event.ID == "waits" && n < 2 {
				return delivery.Failed, time.Millisecond
			}
			return delivery.Accepted, time.Millisecond
		})
		r := sim.start()
		sim.plan(newDelivery("e1", "w", "waits"))
		time.Sleep(2 * time.Second)
		dump := sim.store.Dump()
		for i := range 5000 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(1500 * time.Millisecond)
		r.kill()
		if n := len(sim.received()); n != 5001 {
			t.Fatalf("%d received", n)
		}
		sim.store.Restore(dump)
		sim.broker.mu.Lock()
		sim.broker.slow = 50 * time.Millisecond
		sim.broker.mu.Unlock()
		r = sim.start()
		sim.onCommit(nil, func(state.Watermark) bool { // the commit with the second attempt of the waiting delivery
			all := sim.attempts()
			return all[len(all)-1].Number == 2
		})
		<-r.over
		sim.onCommit(nil, nil)
		mark, _, _ := sim.store.Peek(t.Context(), state.Partition{Domain: "test", Count: 1}, nil)
		if mark.Offset < 10 || mark.Offset > 5000 {
			t.Fatalf("killed at %d: not on the way", mark.Offset)
		}
		sim.broker.mu.Lock()
		sim.broker.slow = 0
		sim.broker.mu.Unlock()
		r = sim.start()
		time.Sleep(time.Minute)
		r.drain()
		if n := len(sim.received()); n != 5002 {
			t.Errorf("%d receipts: something recorded was sent again", n)
		}
	})
}

func TestRecord_LostStoreAnswerNeedsNoNewOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		time.Sleep(time.Second)
		r.setLossy(true)
		for i := range 100 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		r.setLossy(false)
		time.Sleep(10 * time.Second)
		if n := sim.opens.Load(); n != 1 {
			t.Errorf("opened %d times", n)
		}
		if n := len(sim.received()); n != 100 {
			t.Errorf("%d receipts of 100 deliveries", n)
		}
		r.drain()
	})
}

func TestBodies_NeighboursAreFetchedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var endpoints []string
		for i := range 60 {
			endpoints = append(endpoints, fmt.Sprint("e", i))
		}
		sim := newSimulation(t, 1, endpoints...)
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Failed, time.Millisecond
		})
		r := sim.start()
		for i, e := range endpoints {
			sim.plan(newDelivery(e, "s", fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		r.drain()
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Accepted, time.Millisecond
		})
		r = sim.start()
		time.Sleep(100 * time.Millisecond)
		before := r.reads.Load()
		sim.configure(2, 64, endpoints...) // changed endpoints: all are due at once
		time.Sleep(time.Second)
		reads := r.reads.Load() - before
		r.drain()
		if n := len(sim.received()); n != 120 || reads > 3 {
			t.Errorf("%d receipts, %d reads", n, reads)
		}
	})
}

func TestRecover_IgnoresDeliveriesOlderThanMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.plan(newDelivery("e1", "a", "old"))
		sim.pass(7 * 24 * time.Hour)
		for i := range 5 {
			sim.plan(newDelivery("e1", "a", fmt.Sprint("young", i)))
		}
		r := sim.start()
		time.Sleep(time.Second)
		r.drain()
		if got := bodies(sim, r); got != "young0 young1 young2 young3 young4" {
			t.Errorf("received %s", got)
		}
	})
}

func TestRecover_KillBetweenPublishAndCommitRepeatsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(d *delivery.Delivery, n int) (delivery.Result, time.Duration) {
			if strings.HasPrefix(d.Event.ID, "bad") && n == 1 {
				return delivery.Failed, time.Millisecond
			}
			return delivery.Accepted, time.Millisecond
		})
		r := sim.start()
		time.Sleep(1500 * time.Millisecond)
		sim.onCommit(func(to state.Watermark) bool { return to.Offset == 10 }, nil)
		for i := range 5 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint("good", i)))
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint("bad", i)))
		}
		<-r.over
		sim.onCommit(nil, nil)
		if n := len(sim.attempts()); n == 0 {
			t.Fatal("killed before anything was published")
		}
		published := map[string]int{}
		for _, a := range sim.attempts() {
			published[a.Delivery] = int(a.Number)
		}
		before := len(sim.received())
		r = sim.start()
		time.Sleep(time.Minute)
		r.drain()
		for _, got := range sim.received()[before:] {
			if got.n <= published[got.id] {
				t.Errorf("%s was sent again as attempt %d, which was published", got.id, got.n)
			}
		}
	})
}

func TestRecover_RestoredDumpRepeatsNothingRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "one"))
		time.Sleep(2 * time.Second)
		dump := sim.store.Dump()
		for i := range 100 {
			sim.plan(newDelivery("e1", "a", fmt.Sprint("more", i)))
		}
		time.Sleep(2 * time.Second)
		sim.store.Restore(dump)
		time.Sleep(5 * time.Second) // noticed within a second; the partition is opened again
		sim.plan(newDelivery("e1", "a", "last"))
		time.Sleep(time.Second)
		r.drain()
		if n := len(sim.received()); n != 102 {
			t.Errorf("%d receipts of 102 deliveries", n)
		}
		if sim.opens.Load() < 2 {
			t.Error("the store set back was not noticed")
		}
	})
}
