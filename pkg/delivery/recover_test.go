package delivery

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
)

// empty is a store that was emptied.
func empty() memstate.Dump { return memstate.New().Dump() }

func TestWithAnEmptyStoreNothingSettledIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(d *Delivery, n int) (Result, time.Duration) {
			switch d.Event.ID {
			case "dead":
				return Refused, time.Millisecond
			case "waits":
				return Failed, time.Millisecond
			}
			return Accepted, time.Millisecond
		})
		r := w.start()
		w.plan(order("e1", "a", "one"))
		w.plan(order("e1", "b", "dead"))
		w.plan(order("e1", "b", "behind"))
		w.plan(order("gone", "b", "cancelled"))
		waits := w.plan(order("e1", "c", "waits"))
		w.plan(order("e1", "c", "next"))
		time.Sleep(10 * time.Second) // twice tried, due again half a minute after that
		r.drain()
		before := len(w.received())
		w.store.Restore(empty())
		w.configure(2, 64, "e1", "gone")
		w.answers(func(d *Delivery, n int) (Result, time.Duration) { return Accepted, time.Millisecond })
		r = w.start()
		time.Sleep(time.Second)
		if got := w.received()[before:]; len(got) != 0 {
			t.Errorf("sent again: %v", got)
		}
		time.Sleep(time.Minute)
		r.drain()
		after := w.received()[before:]
		if len(after) != 2 || after[0].id != waits.ID || after[0].n != 3 {
			t.Errorf("received %+v: want the third attempt of what waited, then the next of its lane", after)
		}
	})
}

func TestACrashWhileThePositionIsFoundAgainLosesNoKnowledge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		for i := range 10_000 {
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Second)
		r.drain()
		if n := len(w.received()); n != 10_000 {
			t.Fatalf("%d received", n)
		}
		w.plan(order("e1", "last", "last"))
		w.store.Restore(empty())
		w.onCommit(nil, func(to state.Watermark) bool { return to.Offset > 0 && to.Offset < to.Floor })
		// Slow reading, so that there is a commit on the way.
		w.broker.mu.Lock()
		w.broker.slow = 5 * time.Millisecond
		w.broker.mu.Unlock()
		r = w.start()
		<-r.over
		w.onCommit(nil, nil)
		mark, _, _ := w.store.Peek(t.Context(), state.Partition{Domain: "test", Count: 1}, nil)
		if mark.Status != state.Rebuilding || mark.Offset == 0 {
			t.Fatalf("killed at offset %d, %s: not on the way", mark.Offset, mark.Status)
		}
		r = w.start()
		time.Sleep(20 * time.Millisecond)
		if !strings.Contains(w.ill(), "nothing is sent yet") {
			t.Errorf("health says %s while it finds its position", w.ill())
		}
		time.Sleep(time.Minute)
		r.drain()
		if n := len(w.received()); n != 10_001 {
			t.Errorf("%d receipts of 10,001 deliveries", n)
		}
	})
}

func TestWhatACommitDidNotHoldIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.configure(2, 800, "e1")
		r := w.start()
		time.Sleep(100 * time.Millisecond)
		w.broker.setFull(true)
		w.plan(order("e1", "first", "first")) // its commit waits, and all the others come meanwhile
		time.Sleep(100 * time.Millisecond)
		for i := range 700 {
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Second)
		if n := len(w.received()); n != 701 {
			t.Fatalf("%d sent", n)
		}
		w.onCommit(nil, func(to state.Watermark) bool { return to.Offset == 701 })
		w.broker.setFull(false)
		<-r.over
		w.onCommit(nil, nil)
		if n := len(w.attempts()); n != 501 {
			t.Fatalf("killed with %d attempts published, not with a second commit of 500", n)
		}
		r = w.start()
		time.Sleep(10 * time.Second)
		r.drain()
		settled := map[string]bool{}
		for _, a := range w.attempts() {
			settled[a.Delivery] = true
		}
		if len(settled) != 701 {
			t.Errorf("%d of 701 settled", len(settled))
		}
	})
}

func TestAttemptsAreHeldUntilThePositionHasPassedThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(d *Delivery, n int) (Result, time.Duration) {
			if d.Event.ID == "waits" && n < 2 {
				return Failed, time.Millisecond
			}
			return Accepted, time.Millisecond
		})
		r := w.start()
		w.plan(order("e1", "w", "waits"))
		time.Sleep(2 * time.Second)
		dump := w.store.Dump()
		for i := range 5000 {
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(1500 * time.Millisecond)
		r.kill()
		if n := len(w.received()); n != 5001 {
			t.Fatalf("%d received", n)
		}
		w.store.Restore(dump)
		w.broker.mu.Lock()
		w.broker.slow = 50 * time.Millisecond
		w.broker.mu.Unlock()
		r = w.start()
		w.onCommit(nil, func(state.Watermark) bool { // the one that holds the second attempt of what waited
			all := w.attempts()
			return all[len(all)-1].Number == 2
		})
		<-r.over
		w.onCommit(nil, nil)
		mark, _, _ := w.store.Peek(t.Context(), state.Partition{Domain: "test", Count: 1}, nil)
		if mark.Offset < 10 || mark.Offset > 5000 {
			t.Fatalf("killed at %d: not on the way", mark.Offset)
		}
		w.broker.mu.Lock()
		w.broker.slow = 0
		w.broker.mu.Unlock()
		r = w.start()
		time.Sleep(time.Minute)
		r.drain()
		if n := len(w.received()); n != 5002 {
			t.Errorf("%d receipts: something recorded was sent again", n)
		}
	})
}

func TestALostAnswerOfTheStoreNeedsNoNewOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		time.Sleep(time.Second)
		r.setLossy(true)
		for i := range 100 {
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint(i)))
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		r.setLossy(false)
		time.Sleep(10 * time.Second)
		if n := w.opens.Load(); n != 1 {
			t.Errorf("opened %d times", n)
		}
		if n := len(w.received()); n != 100 {
			t.Errorf("%d receipts of 100 deliveries", n)
		}
		r.drain()
	})
}

func TestBodiesOfNeighboursAreReadBackTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
		r := w.start()
		for i := range 60 {
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		r.drain()
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond })
		r = w.start()
		time.Sleep(100 * time.Millisecond)
		before := r.reads.Load()
		w.configure(2, 64, "e1") // another URL: all are due at once
		time.Sleep(time.Second)
		reads := r.reads.Load() - before
		r.drain()
		if n := len(w.received()); n != 120 || reads > 3 {
			t.Errorf("%d receipts, %d reads", n, reads)
		}
	})
}

func TestDeliveriesOlderThanMaxAgeAreNotSearchedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.plan(order("e1", "a", "old"))
		time.Sleep(7 * 24 * time.Hour)
		for i := range 5 {
			w.plan(order("e1", "a", fmt.Sprint("young", i)))
		}
		r := w.start()
		time.Sleep(time.Second)
		r.drain()
		if got := bodies(w, r); got != "young0 young1 young2 young3 young4" {
			t.Errorf("received %s", got)
		}
	})
}

func TestAKillBetweenPublishingAndCommitRepeatsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(d *Delivery, n int) (Result, time.Duration) {
			if strings.HasPrefix(d.Event.ID, "bad") && n == 1 {
				return Failed, time.Millisecond
			}
			return Accepted, time.Millisecond
		})
		r := w.start()
		time.Sleep(1500 * time.Millisecond)
		w.onCommit(func(to state.Watermark) bool { return to.Offset == 10 }, nil)
		for i := range 5 {
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint("good", i)))
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint("bad", i)))
		}
		<-r.over
		w.onCommit(nil, nil)
		if n := len(w.attempts()); n == 0 {
			t.Fatal("killed before anything was published")
		}
		published := map[string]int{}
		for _, a := range w.attempts() {
			published[a.Delivery] = int(a.Number)
		}
		before := len(w.received())
		r = w.start()
		time.Sleep(time.Minute)
		r.drain()
		for _, got := range w.received()[before:] {
			if got.n <= published[got.id] {
				t.Errorf("%s was sent again as attempt %d, which was published", got.id, got.n)
			}
		}
	})
}

func TestADumpRestoredRepeatsNothingThatWasRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		w.plan(order("e1", "a", "one"))
		time.Sleep(2 * time.Second)
		dump := w.store.Dump()
		for i := range 100 {
			w.plan(order("e1", "a", fmt.Sprint("more", i)))
		}
		time.Sleep(2 * time.Second)
		w.store.Restore(dump)
		time.Sleep(5 * time.Second) // noticed within a second, opened again
		w.plan(order("e1", "a", "last"))
		time.Sleep(time.Second)
		r.drain()
		if n := len(w.received()); n != 102 {
			t.Errorf("%d receipts of 102 deliveries", n)
		}
		if w.opens.Load() < 2 {
			t.Error("the store set back was not noticed")
		}
	})
}
