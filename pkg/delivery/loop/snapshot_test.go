package loop

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/state"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// simulated is the partition of these tests.
var simulated = state.Partition{Domain: "test", Count: 1}

// written counts the whole snapshots.
func (sim *simulation) written() int {
	n := 0
	for _, r := range sim.snapshots.Written() {
		if _, end := r.GetPart().(*statev1.SnapshotRecord_End_); end {
			n++
		}
	}
	return n
}

// withSnapshot is a partition of which some deliveries are settled, one waits, and a snapshot has all of it; retention has
// taken the attempts, so that nothing but the snapshot shows what is settled.
func withSnapshot(t *testing.T) (*simulation, *replica) {
	sim := newSimulation(t, 1, "e1")
	sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
		if d.Event.ID == "waits" {
			return delivery.Failed, time.Millisecond
		}
		return delivery.Accepted, time.Millisecond
	})
	r := sim.start()
	for i := range 200 {
		sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
	}
	sim.plan(newDelivery("e1", "w", "waits"))
	time.Sleep(2 * time.Minute)
	if n := sim.written(); n != 1 {
		t.Fatalf("%d snapshots after two minutes", n)
	}
	sim.broker.trim(topicAttempts, int64(len(sim.broker.all(topicAttempts))))
	return sim, r
}

// repeats are the receipts of deliveries that a receiver had accepted before.
func (sim *simulation) repeats() int {
	n := 0
	accepted := map[string]bool{}
	for _, r := range sim.received() {
		if accepted[r.id] {
			n++
		}
		accepted[r.id] = accepted[r.id] || r.accepted
	}
	return n
}

func TestSnapshot_LostStoreStartsFromIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, r := withSnapshot(t)
		r.kill()
		sim.store.Restore(empty())
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Accepted, time.Millisecond
		})
		r = sim.start()
		sim.plan(newDelivery("e1", "w", "next"))
		sim.pass(time.Hour)
		r.drain()
		if n := sim.repeats(); n != 0 {
			t.Errorf("%d settled deliveries were sent again", n)
		}
		if got := bodies(sim, r); !strings.HasSuffix(got, "waits next") {
			t.Errorf("received …%s", got[max(0, len(got)-40):])
		}
	})
}

func TestSnapshot_StoreSetBackStartsFromIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "first"))
		time.Sleep(2 * time.Second)
		dump := sim.store.Dump()
		for i := range 200 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(2 * time.Minute)
		r.kill()
		sim.broker.trim(topicAttempts, int64(len(sim.broker.all(topicAttempts))))
		sim.store.Restore(dump)
		r = sim.start()
		time.Sleep(time.Minute)
		r.drain()
		if n := sim.repeats(); n != 0 {
			t.Errorf("%d settled deliveries were sent again", n)
		}
	})
}

func TestSnapshot_KillAtAnyStepOfRestoringRepeatsNothing(t *testing.T) {
	for step := range 6 {
		for _, after := range []bool{false, true} {
			for _, then := range []string{"it is restored again", "the snapshots are gone too"} {
				synctest.Test(t, func(t *testing.T) { killedWhileRestoring(t, step, after, then == "the snapshots are gone too") })
			}
		}
	}
}

func killedWhileRestoring(t *testing.T, step int, after, gone bool) {
	sim := newSimulation(t, 1, "e1")
	sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
		if strings.HasPrefix(d.Event.ID, "waits") {
			return delivery.Failed, time.Millisecond
		}
		return delivery.Accepted, time.Millisecond
	})
	r := sim.start()
	for i := range 600 { // nine pages
		sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint("waits", i)))
	}
	time.Sleep(2 * time.Second)
	dump := sim.store.Dump()
	sim.configure(2, 64, "e1") // all of them are tried again, and all accepted but some of the first pages
	sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
		if strings.HasSuffix(d.Event.ID, "7") && len(d.Event.ID) <= len("waits97") {
			return delivery.Failed, time.Millisecond
		}
		return delivery.Accepted, time.Millisecond
	})
	sim.plan(newDelivery("e1", "last", "last"))
	time.Sleep(2 * time.Minute)
	r.kill()
	if !gone {
		sim.broker.trim(topicAttempts, int64(len(sim.broker.all(topicAttempts))))
	}
	sim.store.Restore(dump)
	n := 0
	kill := func(state.Watermark) bool { n++; return n == step+1 }
	if after {
		sim.onCommit(nil, kill)
	} else {
		sim.onCommit(kill, nil)
	}
	r = sim.start()
	time.Sleep(100 * time.Millisecond)
	sim.onCommit(nil, nil)
	r.kill()
	if gone {
		sim.snapshots.Drop()
	}
	sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
		return delivery.Accepted, time.Millisecond
	})
	r = sim.start()
	time.Sleep(10 * time.Minute)
	r.drain()
	if n := sim.repeats(); n != 0 {
		t.Errorf("killed at commit %d, after it %t, snapshots gone %t: %d settled deliveries were sent again", step+1, after, gone, n)
	}
	accepted := map[string]bool{}
	for _, got := range sim.received() {
		if got.accepted {
			accepted[got.id] = true
		}
	}
	if len(accepted) != 601 {
		t.Errorf("killed at commit %d, after it %t, snapshots gone %t: %d of 601 accepted", step+1, after, gone, len(accepted))
	}
	if text := sim.healthText(); text != "<nil>" {
		t.Errorf("health reports %s", text)
	}
}

func TestSnapshot_OneThatIsNotWholeIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, r := withSnapshot(t)
		r.kill()
		sim.broker.trim(topicAttempts, 0) // the attempts are back
		sim.snapshots.DropEntries()
		sim.store.Restore(empty())
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Accepted, time.Millisecond
		})
		before := len(sim.received())
		r = sim.start()
		sim.pass(time.Hour)
		r.drain()
		if n := sim.repeats(); n != 0 {
			t.Errorf("%d settled deliveries were sent again", n)
		}
		if len(sim.received()) != before+1 {
			t.Error("the waiting delivery was lost with the snapshot's entries")
		}
	})
}

func TestSnapshot_OfAnotherLogIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, r := withSnapshot(t)
		r.kill()
		sim.store.Restore(empty())
		sim.broker.replace(topicDeliveries)
		for i := range 300 {
			sim.plan(newDelivery("e1", "b", fmt.Sprint("new", i)))
		}
		before := len(sim.received())
		r = sim.start()
		time.Sleep(time.Minute)
		r.drain()
		if got := sim.received()[before:]; len(got) != 300 {
			t.Errorf("%d of 300 deliveries of the new log were received", len(got))
		}
	})
}

func TestSnapshot_NotBeforeAsManyBytesAsItTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Failed, time.Millisecond
		})
		r := sim.start()
		for i := range 5000 { // all of one ordering key: one attempt a step
			sim.plan(newDelivery("e1", "s", fmt.Sprint(i)))
		}
		time.Sleep(59 * time.Second)
		if n := sim.written(); n != 0 {
			t.Errorf("%d snapshots in the first minute", n)
		}
		sim.pass(12 * time.Hour)
		if n := sim.written(); n != 1 {
			t.Errorf("%d snapshots of 5,000 references while 9 attempts were written", n)
		}
		sim.pass(12 * time.Hour)
		if n := sim.written(); n != 2 {
			t.Errorf("%d snapshots after a day: one has to come before retention takes the last", n)
		}
		r.kill()
	})
}
