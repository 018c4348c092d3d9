package loop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// atMost bounds references, of an endpoint and of the partition.
func atMost(endpoint, partition int) func(*Channel) {
	return func(c *Channel) { c.EndpointWaitingMax, c.WaitingMax = endpoint, partition }
}

// kept are the references and the endpoints that are behind, as the store has them.
func (sim *simulation) kept(t *testing.T) (references int, behind map[string]health.Behind) {
	behind = map[string]health.Behind{}
	for cursor := ""; ; {
		keys, next, err := sim.store.Scan(t.Context(), simulated, "", cursor, 1000)
		if err != nil {
			t.Fatal(err)
		}
		_, values, err := sim.store.Peek(t.Context(), simulated, keys)
		if err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			if !strings.HasPrefix(key, recordPrefix) {
				stored, err := pages.New(nil).Load(nil, values[i])
				if err != nil {
					t.Fatal(err)
				}
				references += len(stored)
				continue
			}
			e, err := health.Decode(values[i], 0)
			if err != nil {
				t.Fatal(err)
			}
			if e.Behind.Is {
				behind[e.Name] = e.Behind
			}
		}
		if cursor = next; cursor == "" {
			return references, behind
		}
	}
}

// failFor lets some endpoints fail and all others accept.
func (sim *simulation) failFor(endpoints ...string) {
	sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
		if slices.Contains(endpoints, d.Endpoint) {
			return delivery.Failed, time.Millisecond
		}
		return delivery.Accepted, time.Millisecond
	})
}

// acceptedOf counts the deliveries of an endpoint that were accepted.
func (sim *simulation) acceptedOf(endpoint string) int {
	ids := map[string]bool{}
	for _, r := range sim.received() {
		if r.accepted && strings.HasPrefix(r.orderingKey, endpoint+"|") {
			ids[r.id] = true
		}
	}
	return len(ids)
}

func TestBehind_DeadEndpointHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "dead", "good")
		sim.failFor("dead")
		r := sim.start(atMost(100, 1000))
		var planned []*delivery.Delivery
		for i := range 3_000 {
			planned = append(planned, sim.plan(newDelivery("dead", fmt.Sprint(i%7), fmt.Sprint(i))))
			if i%10 == 0 {
				planned = append(planned, sim.plan(newDelivery("good", "s", fmt.Sprint("g", i))))
			}
		}
		time.Sleep(10 * time.Second)
		if n := sim.acceptedOf("good"); n != 300 {
			t.Errorf("%d of 300 deliveries to the good endpoint were accepted", n)
		}
		references, behind := sim.kept(t)
		if b := behind["dead"]; references != 100 || b.Count < 2_000 || b.Count+int64(references) > 3_000 {
			t.Errorf("%d references, behind %+v", references, behind)
		}
		if text := sim.healthText(); text != "<nil>" {
			t.Errorf("health reports %s", text)
		}
		sim.configure(2, 64, "dead", "good")
		sim.failFor()
		time.Sleep(5 * time.Minute)
		r.drain()
		check(t, sim, planned)
		if n := sim.acceptedOf("dead"); n != 3_000 {
			t.Errorf("%d of 3,000 deliveries to the endpoint that was dead were accepted", n)
		}
		if n := sim.repeats(); n != 0 {
			t.Errorf("%d deliveries were sent again", n)
		}
		if references, behind := sim.kept(t); references != 0 || len(behind) != 0 {
			t.Errorf("%d references and %v are left", references, behind)
		}
	})
}

func TestBehind_ManyDeadEndpointsLeaveRoomForAGoodOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dead []string
		for i := range 50 {
			dead = append(dead, fmt.Sprint("dead", i))
		}
		sim := newSimulation(t, 1, append(dead, "good")...)
		sim.failFor(dead...)
		r := sim.start(atMost(100, 300))
		for i := range 5000 {
			sim.plan(newDelivery(dead[i%50], "s", fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Second)
		for i := range 100 {
			sim.plan(newDelivery("good", "s", fmt.Sprint("g", i)))
		}
		time.Sleep(10 * time.Second)
		if n := sim.acceptedOf("good"); n != 100 {
			t.Errorf("%d of 100 deliveries to the good endpoint were accepted", n)
		}
		if references, _ := sim.kept(t); references > 300 {
			t.Errorf("%d references", references)
		}
		r.kill()
	})
}

// pause configures one endpoint.
func (sim *simulation) pause(revision int64, endpoint string, paused bool) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.targets = &delivery.Targets{Revision: revision, ByName: map[string]delivery.Target{endpoint: target{concurrency: 64, print: 1, paused: paused}}}
	close(sim.changed)
	sim.changed = make(chan struct{})
}

func TestBehind_NothingIsReadForAPausedEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.pause(2, "e1", true)
		r := sim.start(atMost(10, 100))
		for i := range 1000 {
			sim.plan(newDelivery("e1", "s", fmt.Sprint(i)))
		}
		time.Sleep(time.Minute)
		r.drain()
		_, before := sim.kept(t)
		r = sim.start(atMost(100, 1000)) // room for more
		time.Sleep(time.Minute)
		reads := r.reads.Load()
		sim.pass(time.Hour)
		if n := r.reads.Load() - reads; n != 0 {
			t.Errorf("%d reads for a paused endpoint", n)
		}
		if references, behind := sim.kept(t); references != 10 || behind["e1"] != before["e1"] || behind["e1"].Count != 990 {
			t.Errorf("%d references, behind %+v, before %+v", references, behind, before)
		}
		sim.pause(3, "e1", false)
		time.Sleep(time.Minute)
		r.drain()
		if n := sim.acceptedOf("e1"); n != 1000 {
			t.Errorf("%d of 1,000 accepted once it goes on", n)
		}
	})
}

func TestBehind_WhatIsTooOldIsSettledDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.pause(2, "e1", true)
		r := sim.start(atMost(10, 100), func(c *Channel) { c.MaxAge = 6 * time.Hour })
		var planned []*delivery.Delivery
		for i := range 300 {
			planned = append(planned, sim.plan(newDelivery("e1", fmt.Sprint(i%4), fmt.Sprint(i))))
		}
		sim.pass(3 * time.Hour)
		for i := range 200 {
			planned = append(planned, sim.plan(newDelivery("e1", fmt.Sprint(i%4), fmt.Sprint("young", i))))
		}
		sim.pass(3*time.Hour + 10*time.Minute)
		sim.plan(newDelivery("other", "s", "now")) // the log confirms the time
		sim.pass(time.Hour)
		dead := 0
		for _, a := range sim.attempts() {
			if a.Settlement == deliveryv1.Settlement_SETTLEMENT_DEAD && a.Reason == "too_old" {
				dead++
			}
		}
		if _, behind := sim.kept(t); dead != 300 || len(sim.received()) != 0 || behind["e1"].Count == 0 {
			t.Errorf("%d of 300 settled as too old, %d received, behind %+v", dead, len(sim.received()), behind)
		}
		sim.pause(3, "e1", false)
		sim.pass(time.Hour)
		r.drain()
		if n := sim.acceptedOf("e1"); n != 200 {
			t.Errorf("%d of 200 that are not too old were accepted", n)
		}
		check(t, sim, planned)
	})
}

func TestBehind_LogStartAboveItsOffsetIsAnIncidentUntilAccepted(t *testing.T) {
	for _, running := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			sim := newSimulation(t, 1, "e1", "e2")
			sim.failFor("e1")
			r := sim.start(atMost(10, 100))
			for i := range 100 {
				sim.plan(newDelivery("e1", fmt.Sprint(i%4), fmt.Sprint(i)))
			}
			time.Sleep(time.Second)
			if running {
				sim.broker.trim(topicDeliveries, 50)
			} else {
				r.drain()
				sim.broker.trim(topicDeliveries, 50)
				r = sim.start(atMost(10, 100))
			}
			sim.failFor()
			sim.configure(2, 64, "e1", "e2")
			for i := range 10 {
				sim.plan(newDelivery("e2", "s", fmt.Sprint("other", i)))
			}
			sim.pass(time.Hour)
			if text := sim.healthText(); !strings.Contains(text, "have left the log") {
				t.Errorf("health reports %s", text)
			}
			if n := sim.acceptedOf("e2"); n != 10 {
				t.Errorf("%d of 10 deliveries to the other endpoint", n)
			}
			if n := sim.acceptedOf("e1"); n != 0 {
				t.Errorf("%d deliveries behind the loss were sent", n)
			}
			r.drain()
			r = sim.start(atMost(10, 100), func(c *Channel) { c.AcceptLostDeliveries = true })
			sim.pass(time.Hour)
			r.drain()
			if n := sim.acceptedOf("e1"); n != 50 {
				t.Errorf("%d of 50 deliveries that the log still has were accepted", n)
			}
			if _, behind := sim.kept(t); len(behind) != 0 {
				t.Errorf("behind %+v", behind)
			}
		})
	}
}

func TestBehind_RepeatsOfThePlannerAreDroppedByEitherReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.failFor("e1")
		r := sim.start(atMost(10, 100))
		var planned []*delivery.Delivery
		for i := range 60 {
			planned = append(planned, sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i))))
		}
		for _, d := range planned { // of those before it fell behind, and of those after
			sim.plan(d)
		}
		time.Sleep(time.Second)
		r.drain()
		r = sim.start(atMost(10, 100))
		sim.failFor()
		sim.configure(2, 64, "e1")
		time.Sleep(time.Minute)
		for _, d := range planned { // now it is level
			sim.plan(d)
		}
		time.Sleep(time.Minute)
		r.drain()
		if n := sim.repeats(); n != 0 {
			t.Errorf("%d repeats of the planner were sent", n)
		}
		check(t, sim, planned)
	})
}

func TestBehind_ATopicMadeAnewIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.failFor("e1")
		r := sim.start(atMost(10, 100))
		for i := range 100 {
			sim.plan(newDelivery("e1", "s", fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		before := len(sim.received())
		sim.broker.replace(topicDeliveries)
		for i := range 200 {
			sim.plan(newDelivery("e1", fmt.Sprint(i%20), fmt.Sprint("new", i)))
		}
		sim.failFor()
		sim.configure(2, 64, "e1")
		time.Sleep(time.Minute)
		if got := sim.received()[before:]; len(got) != 0 || !strings.Contains(fmt.Sprint(sim.health["incident"]), "DELIVERY_MISMATCH") && !strings.Contains(fmt.Sprint(sim.health["incident"]), IncidentRecreated) {
			t.Errorf("%d of another log were sent; incident %v", len(got), sim.health["incident"])
		}
		r.kill()
		r = sim.start(atMost(10, 100), func(c *Channel) { c.AcceptLostDeliveries = true })
		time.Sleep(time.Minute)
		r.drain()
		// Where the forward reader had read on, those of the new log below the first that was passed over are not read.
		first := map[string]int{}
		for _, got := range sim.received()[before:] {
			first[got.id]++
		}
		missing, low := 0, 0
		for i, rec := range sim.broker.all(topicDeliveries) {
			d, err := delivery.Decode(rec)
			switch {
			case err != nil:
				t.Fatal(err)
			case first[d.ID] > 1 || first[d.ID] == 0 && i >= 10:
				missing++
			case i < 10:
				low += first[d.ID]
			}
		}
		if missing > 0 || low != 0 && low != 10 {
			t.Errorf("of the new log, %d of the 190 deliveries from the first that was passed over on were not received once, and %d of the 10 before", missing, low)
		}
		if _, behind := sim.kept(t); len(behind) != 0 {
			t.Errorf("behind %+v", behind)
		}
	})
}
