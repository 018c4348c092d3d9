package loop

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/state"
)

// announce publishes a revision as service.Directory does: with what changed.
func (sim *simulation) announce(stale bool, edit func(all map[string]delivery.Target) (changed []string)) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	next := &delivery.Targets{
		Revision: sim.targets.Revision + 1, ByName: maps.Clone(sim.targets.ByName), Serial: sim.targets.Serial + 1, Since: sim.targets.Serial,
	}
	next.Changed = edit(next.ByName)
	sim.targets, sim.stale = next, stale
	close(sim.changed)
	sim.changed = make(chan struct{})
}

// activated edits the activation of a target.
func activated(name string, activation int64) func(map[string]delivery.Target) []string {
	return func(all map[string]delivery.Target) []string {
		to := all[name].(target)
		to.activation = activation
		all[name] = to
		return []string{name}
	}
}

// underAnOlderActivation is a replica whose configuration may not be the newest: it has a lower activation of e1 than the record,
// which has one failure.
func underAnOlderActivation(t *testing.T) (*simulation, *replica) {
	t.Helper()
	sim := newSimulation(t, 1, "e1")
	sim.change("e1", func(t *target) { t.activation = 3 })
	sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 500, takes: time.Millisecond} })
	r := sim.start()
	sim.plan(newDelivery("e1", "a", "1"))
	time.Sleep(time.Second) // the record of the first failure has activation 3
	r.kill()
	sim.setStale(true)
	sim.change("e1", func(t *target) { t.activation = 2 })
	return sim, sim.start()
}

func gone(*delivery.Delivery, int) reply { return reply{status: 410, takes: time.Millisecond} }
func fine(*delivery.Delivery, int) reply { return reply{status: 200, takes: time.Millisecond} }

// A lower activation counts once its revision is current: also where that is known with a revision that names other endpoints.
func TestActivation_ALowerOneCountsOnceTheConfigurationIsCurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		sim.change("e1", func(t *target) { t.activation = 3 })
		sim.replies(gone)
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "1"))
		time.Sleep(5 * time.Second)
		sim.replies(fine)
		sim.announce(true, activated("e1", 1))
		time.Sleep(time.Second)
		if h := sim.lastReport("e1"); h.Activation != 3 || h.Suspended == "" {
			t.Errorf("under a configuration that may not be the newest: %+v", h)
		}
		sim.announce(false, func(map[string]delivery.Target) []string { return []string{"e2"} })
		time.Sleep(time.Minute)
		if h := sim.lastReport("e1"); h.Activation != 1 || h.Suspended != "" || h.Waiting != 0 {
			t.Errorf("once it is the newest: %+v", h)
		}
		r.drain()
	})
}

// What is held since its endpoint was in no configuration waits for the endpoint once that is in one, paused or not.
func TestHeld_EndsWithAnEndpointThatIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		r := sim.start()
		time.Sleep(time.Second)
		var was target
		sim.announce(true, func(all map[string]delivery.Target) []string {
			was = all["e1"].(target)
			delete(all, "e1")
			return []string{"e1"}
		})
		time.Sleep(time.Second)
		sim.plan(newDelivery("e1", "a", "1"))
		time.Sleep(10 * time.Second)
		if text := sim.healthText(); !strings.Contains(text, "1 deliveries are held") {
			t.Fatalf("health is %q", text)
		}
		sim.announce(true, func(all map[string]delivery.Target) []string {
			was.paused, was.activation = true, 2
			all["e1"] = was
			return []string{"e1"}
		})
		time.Sleep(time.Second)
		sim.announce(false, func(map[string]delivery.Target) []string { return []string{} })
		time.Sleep(time.Minute)
		if text := sim.healthText(); strings.Contains(text, "held") {
			t.Errorf("health is %q", text)
		}
		r.drain()
	})
}

// What an opening recalls from the attempts is recalled again by the next one, where the first ends before all of it is in records.
func TestRecall_OutlivesAnOwnerThatEndsBeforeItsRecordsAreStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3 * maxRecords
		var names []string
		for i := range n {
			names = append(names, fmt.Sprint("e", i))
		}
		sim := newSimulation(t, 1, names...)
		sim.replies(gone)
		r := sim.start()
		time.Sleep(1500 * time.Millisecond)
		sim.broker.setFull(true)
		for _, e := range names {
			sim.plan(newDelivery(e, "a", e))
		}
		time.Sleep(800 * time.Millisecond)
		sim.onCommit(func(state.Watermark) bool { return len(sim.attempts()) > 2*maxRecords }, nil)
		sim.broker.setFull(false)
		<-r.over
		suspended := func() (n int) {
			keys := make([]string, 500)
			for i := range keys {
				keys[i] = recordKey(int32(i))
			}
			_, values, err := sim.store.Peek(t.Context(), simulated, keys)
			if err != nil {
				return 0
			}
			for _, v := range values {
				if e, err := health.Decode(v, 0); v != nil && err == nil && e.Suspended != health.NotSuspended {
					n++
				}
			}
			return n
		}
		had := suspended()
		sim.onCommit(nil, func(state.Watermark) bool { return suspended() > had })
		r = sim.start()
		<-r.over
		sim.onCommit(nil, nil)
		answered := map[string]bool{}
		for _, a := range sim.attempts() {
			answered[a.GetEndpoint()] = true
		}
		if stored := suspended(); len(answered) <= stored {
			t.Fatalf("%d endpoints have attempts, %d records show it", len(answered), stored)
		}
		before := len(sim.received())
		r = sim.start()
		time.Sleep(20 * time.Second)
		if got := len(sim.received()) - before; got > n-len(answered) {
			t.Errorf("%d of %d endpoints have answered 410, and %d requests follow", len(answered), n, got)
		}
		r.drain()
	})
}

// The log has the activation that an attempt counted for.
func TestRecall_CountsForTheActivationThatTheOwnerKnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, r := underAnOlderActivation(t)
		time.Sleep(1100 * time.Millisecond)
		sim.replies(gone)
		had := len(sim.attempts())
		sim.onCommit(func(state.Watermark) bool { return len(sim.attempts()) > had }, nil)
		sim.plan(newDelivery("e1", "b", "b"))
		<-r.over
		sim.onCommit(nil, nil)
		again := time.Now()
		r = sim.start()
		time.Sleep(20 * time.Second)
		if got := len(sim.requests("e1", again.Add(-1))); got > 0 {
			t.Errorf("the endpoint has answered 410, and got %d requests", got)
		}
		r.drain()
	})
}

// What is under way when its endpoint is disabled ends with its answer.
func TestCancelled_WhatIsUnderWayEndsWithItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 500, takes: 5 * time.Second} })
		r := sim.start()
		d := newDelivery("e1", "a", "1")
		sim.plan(d)
		time.Sleep(time.Minute) // it has failed, and is under way again
		for len(sim.requests("e1", time.Now().Add(-2*time.Second))) == 0 {
			time.Sleep(time.Second)
		}
		sim.announce(false, func(all map[string]delivery.Target) []string {
			delete(all, "e1")
			return []string{"e1"}
		})
		time.Sleep(20 * time.Second)
		all := sim.attempts()
		if last := all[len(all)-1]; !strings.HasSuffix(last.GetSettlement().String(), "CANCELLED") {
			t.Errorf("15 s after its answer: %v", last)
		}
		r.drain()
	})
}
