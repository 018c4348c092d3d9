package loop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Field case 73.
func TestCircuit_TwelveRefusedBodiesHoldNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(d *delivery.Delivery, _ int) reply {
			if strings.HasPrefix(d.Event.ID, "refused") {
				return reply{status: 422, takes: time.Millisecond}
			}
			return reply{status: 200, takes: time.Millisecond}
		})
		r := sim.start()
		began := time.Now()
		for i := range 12 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint("refused", i)))
		}
		time.Sleep(20 * time.Second)
		sim.plan(newDelivery("e1", "13", "thirteen"))
		time.Sleep(40 * time.Second)
		var thirteen time.Duration
		var probes []int64
		for _, b := range sim.requests("e1", began.Add(500*time.Millisecond)) {
			if b.at.Sub(began) < 40*time.Second && !strings.HasPrefix(b.name, "thirteen") {
				probes = append(probes, b.at.Sub(began).Milliseconds()/1000)
			}
			if b.name == "thirteen" {
				thirteen = b.at.Sub(began).Round(time.Second)
			}
		}
		// All twelve were tried when the circuit opened: the first is due again after 4 s.
		if thirteen != 34*time.Second || !slices.Equal(probes[:4], []int64{4, 6, 10, 18}) {
			t.Errorf("the thirteenth was sent after %s; probes after %v s", thirteen, probes)
		}
		for i := range 300 { // another healthy one a minute
			sim.plan(newDelivery("e1", "h", fmt.Sprint("healthy", i)))
			time.Sleep(time.Minute)
		}
		r.drain()
		dead, first := 0, map[string]time.Time{}
		for _, a := range sim.attempts() {
			if _, ok := first[a.Delivery]; !ok {
				first[a.Delivery] = a.Started.AsTime()
			}
			if a.Settlement == deliveryv1.Settlement_SETTLEMENT_DEAD {
				dead++
				after := a.Started.AsTime().Sub(first[a.Delivery])
				if a.Reason != "ordering_key_horizon" || after < 55*time.Minute || after > 75*time.Minute {
					t.Errorf("dead after %s: %s", after, a.Reason)
				}
			}
		}
		if dead != 12 || len(sim.broker.all(topicDead)) != 12 {
			t.Errorf("%d of 12 are given up", dead)
		}
		for _, e := range sim.events() {
			if e.Type != eventExhausted {
				t.Errorf("event %s", e.Type)
			}
		}
		for _, h := range sim.reports {
			if h.Suspended != "" {
				t.Errorf("suspended: %+v", h)
			}
		}
	})
}

func TestCircuit_EndpointThatRefusesEverythingIsAskedOnceInTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		sim.replies(func(d *delivery.Delivery, _ int) reply {
			if d.Endpoint == "e1" {
				return reply{status: 422, takes: time.Millisecond}
			}
			return reply{status: 200, takes: time.Millisecond}
		})
		r := sim.start()
		for i := range 1000 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
			sim.plan(newDelivery("e2", fmt.Sprint(i), fmt.Sprint(i)))
		}
		sim.pass(time.Hour)
		from := time.Now()
		sim.pass(4 * time.Hour)
		all := sim.requests("e1", from)
		if len(all) < 23 || len(all) > 25 {
			t.Errorf("%d requests in four hours", len(all))
		}
		for _, b := range all {
			if b.n != 1 {
				t.Errorf("attempt %d is a probe while others were never tried", b.n)
			}
		}
		if n := len(sim.requests("e2", time.Time{})); n != 1000 {
			t.Errorf("%d of 1,000 requests to its neighbour", n)
		}
		r.kill() // the circuit outlives it
		r = sim.start()
		from = time.Now()
		sim.pass(time.Hour)
		if n := len(sim.requests("e1", from)); n < 5 || n > 7 {
			t.Errorf("%d requests in an hour after a kill", n)
		}
		from = time.Now().Add(-1)
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 200, takes: time.Millisecond} })
		sim.change("e1", func(t *target) { t.print = 99 }) // another URL
		time.Sleep(time.Minute)
		if n := len(sim.requests("e1", from)); n != 1000 {
			t.Errorf("%d of 1,000 within a minute of a change", n)
		}
		r.drain()
	})
}

// Field case 72.
func TestSuspension_ReactivatedEndpointIsNotSuspendedByTheNextFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.change("e1", func(t *target) { t.activation = 3 })
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 500, takes: time.Millisecond} })
		r := sim.start()
		var planned []*delivery.Delivery
		began := time.Now()
		for i := range 300 {
			planned = append(planned, sim.plan(newDelivery("e1", fmt.Sprint(i%30), fmt.Sprint(i))))
		}
		sim.pass(25 * time.Hour)
		if h := sim.lastReport("e1"); h.Suspended != "failing" || h.Failures < 50 || h.Activation != 3 {
			t.Fatalf("after 25 h %+v", h)
		}
		if got := sim.notices(); got != "failing 50, failing 70, failing 90, failing 100, suspended failing" {
			t.Errorf("events %s", got)
		}
		from := time.Now()
		sim.pass(10 * time.Hour)
		if n := len(sim.requests("e1", from)); n != 0 {
			t.Fatalf("%d requests while suspended", n)
		}
		r.kill()
		r = sim.start()
		sim.pass(20 * time.Hour)
		if n := len(sim.requests("e1", from)); n != 0 {
			t.Fatalf("%d requests while suspended, after a kill", n)
		}
		timeouts := 1
		sim.replies(func(*delivery.Delivery, int) reply {
			if timeouts > 0 {
				timeouts--
				return reply{takes: 15 * time.Second}
			}
			return reply{status: 200, takes: time.Millisecond}
		})
		from = time.Now()
		sim.change("e1", func(t *target) { t.activation = 4 })
		time.Sleep(15*time.Second + 500*time.Millisecond)
		if h := sim.lastReport("e1"); h.Suspended != "" || h.Failures != 1 || !h.CircuitOpen || h.NextProbe.Sub(from) != 16*time.Second {
			t.Errorf("after one timeout %+v", h)
		}
		if n := len(sim.requests("e1", from.Add(-1))); n != 1 {
			t.Errorf("%d requests where a probe goes first", n)
		}
		time.Sleep(10 * time.Second)
		all := sim.requests("e1", from.Add(15*time.Second))
		// The delivery whose probe timed out waits its own step, with those behind it.
		if len(all) != 290 || all[0].at.Sub(from) != 16*time.Second || all[1].at == all[0].at {
			t.Errorf("%d of 290 requests after the probe %+v", len(all), all[:2])
		}
		sim.pass(11 * time.Hour)
		if n := len(sim.requests("e1", from.Add(15*time.Second))); n != 300 {
			t.Errorf("%d of 300 requests, each once", n)
		}
		check(t, sim, planned)
		// Days later it fails for three hours.
		sim.pass(3 * 24 * time.Hour)
		failures := 49
		sim.replies(func(*delivery.Delivery, int) reply {
			if failures > 0 {
				failures--
				return reply{status: 500, takes: time.Millisecond}
			}
			return reply{status: 200, takes: time.Millisecond}
		})
		for i := range 49 {
			sim.plan(newDelivery("e1", fmt.Sprint("l", i), fmt.Sprint("l", i)))
			sim.pass(3 * time.Hour / 49)
		}
		if got, want := sim.notices(), "failing 50, failing 70, failing 90, failing 100, suspended failing, reactivated failing"; got != want {
			t.Errorf("events %s, want %s", got, want)
		}
		if h := sim.lastReport("e1"); h.Suspended != "" || h.Activation != 4 {
			t.Errorf("in the end %+v", h)
		}
		if last := sim.lastEvent(eventSuspended).Data.(*eventv1.EndpointChanged); last.FirstDelivery == "" || last.LastStatus != 500 ||
			last.EventTopic != "events.ordered" || last.Failures < 50 || last.Waiting != 300 || last.FailingSince.AsTime().Sub(began) > time.Second {
			t.Errorf("suspended: %v", last)
		}
		r.drain()
	})
}

func TestSuspension_WhatWaitsIsDueWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		gone := false
		sim.replies(func(d *delivery.Delivery, _ int) reply {
			switch {
			case gone:
				return reply{status: 410, takes: time.Millisecond}
			case strings.HasPrefix(d.Event.ID, "ok"): // so that the circuit stays closed
				return reply{status: 200, takes: time.Millisecond}
			}
			return reply{status: 404, takes: time.Millisecond}
		})
		r := sim.start()
		for i := range 8 {
			d := newDelivery("e1", "", fmt.Sprint(i))
			d.Ordered = false
			sim.plan(d)
		}
		for i := range 60 {
			time.Sleep(time.Minute)
			sim.plan(newDelivery("e1", "ok", fmt.Sprint("ok", i)))
		}
		time.Sleep(time.Second) // each waits two hours
		sim.mu.Lock()
		gone = true
		sim.mu.Unlock()
		sim.plan(newDelivery("e1", "gone", "gone"))
		time.Sleep(15 * time.Minute)
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 200, takes: time.Millisecond} })
		from := time.Now().Add(-1)
		sim.change("e1", func(t *target) { t.activation = 2 })
		time.Sleep(time.Second)
		if n := len(sim.requests("e1", from)); n != 9 {
			t.Errorf("%d of 9 sent within a second", n)
		}
		r.drain()
	})
}

func TestSuspension_GoneSuspendsAtOnceAndOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 410, takes: time.Millisecond} })
		r := sim.start()
		var planned []*delivery.Delivery
		for i := range 30 {
			planned = append(planned, sim.plan(newDelivery("e1", fmt.Sprint(i%10), fmt.Sprint(i))))
		}
		sim.pass(time.Hour)
		if n := len(sim.received()); n > 4 {
			t.Errorf("%d requests to one that is gone", n)
		}
		before := time.Now()
		sim.change("e1", func(t *target) { t.activation = 2 })
		sim.pass(time.Hour)
		if n := len(sim.requests("e1", before.Add(-1))); n != 1 {
			t.Errorf("%d requests after the activation, want the probe", n)
		}
		if got := sim.notices(); got != "suspended gone, reactivated gone, suspended gone" {
			t.Errorf("events %s", got)
		}
		for _, a := range sim.attempts() {
			if a.Fault != deliveryv1.Fault_FAULT_GONE || a.Settlement != 0 {
				t.Errorf("attempt %v", a)
			}
		}
		sim.change("e1", func(t *target) { t.activation = 3 })
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 200, takes: time.Millisecond} })
		time.Sleep(time.Minute)
		r.drain()
		check(t, sim, planned)
	})
}

// The request of the activation before is answered after the reactivation, which also an owner that opens later must not
// take for its own.
func TestSuspension_AnswerToARequestOfTheActivationBeforeSuspendsNothing(t *testing.T) {
	for _, killed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			sim := newSimulation(t, 1, "e1")
			status := 410
			sim.replies(func(*delivery.Delivery, int) reply { return reply{status: status, takes: 100 * time.Millisecond} })
			r := sim.start()
			planned := []*delivery.Delivery{sim.plan(newDelivery("e1", "a", "1")), sim.plan(newDelivery("e1", "b", "2"))}
			time.Sleep(50 * time.Millisecond)
			sim.change("e1", func(t *target) { t.activation = 2 })
			sim.mu.Lock()
			status = 200
			sim.mu.Unlock()
			time.Sleep(300 * time.Millisecond)
			if killed {
				r.kill()
				r = sim.start()
			}
			time.Sleep(time.Minute)
			if got := sim.notices(); got != "" {
				t.Errorf("events %s", got)
			}
			r.drain()
			check(t, sim, planned)
		})
	}
}

// A configuration that may not be the newest has a lower activation than the record: what fails waits as ever, and opens the
// circuit.
func TestSuspension_AnOlderActivationOfTheConfigurationBringsNothingForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, r := underAnOlderActivation(t)
		for i := range 20 {
			sim.plan(newDelivery("e1", fmt.Sprint("b", i), fmt.Sprint("b", i)))
		}
		time.Sleep(time.Second)
		if n := len(sim.attempts()); n > 25 {
			t.Errorf("%d attempts within two seconds", n)
		}
		from := time.Now()
		time.Sleep(time.Minute)
		if n := len(sim.requests("e1", from)); n > 10 {
			t.Errorf("%d requests within a minute to one whose circuit is open", n)
		}
		r.drain()
	})
}

// Requests to the URL before are answered after the change: the new URL is neither held nor suspended, its circuit stays
// closed, and what failed is sent to it at once.
func TestConfiguration_AnswersOfTheOneBeforeShowNothingOfTheNew(t *testing.T) {
	for _, old := range []reply{{status: 410}, {status: 429, retryAfter: time.Hour}, {status: 500}, {status: 200}} {
		synctest.Test(t, func(t *testing.T) {
			sim := newSimulation(t, 1, "e1")
			old.takes = 100 * time.Millisecond
			now := old
			sim.replies(func(*delivery.Delivery, int) reply { return now })
			r := sim.start()
			var planned []*delivery.Delivery
			for i := range 20 {
				planned = append(planned, sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i))))
			}
			time.Sleep(50 * time.Millisecond)
			sim.mu.Lock()
			now = reply{status: 200, takes: time.Millisecond}
			sim.mu.Unlock()
			sim.change("e1", func(t *target) { t.print = 99 })
			time.Sleep(time.Second)
			if !sim.finished(planned) {
				t.Errorf("%d: not all are settled within a second of the change", old.status)
			}
			if got := sim.notices(); got != "" {
				t.Errorf("%d: events %s", old.status, got)
			}
			r.drain()
			check(t, sim, planned)
		})
	}
}

// The owner dies once the attempt and its event are published, before its commit: the endpoint had no record.
func TestSuspension_GoneHoldsWhereTheOwnerDiesBeforeItsCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.change("e1", func(t *target) { t.activation = 3 })
		sim.replies(func(d *delivery.Delivery, _ int) reply {
			if d.Event.ID == "before" {
				return reply{status: 200, takes: time.Millisecond}
			}
			return reply{status: 410, takes: time.Millisecond}
		})
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "before"))
		time.Sleep(500 * time.Millisecond) // between two commits
		r.setStoreAway(true)
		sim.plan(newDelivery("e1", "a", "1"))
		time.Sleep(300 * time.Millisecond)
		if len(sim.attempts()) != 2 {
			t.Fatal("the attempt is not published")
		}
		r.kill()
		r = sim.start()
		sim.pass(time.Hour)
		if got := sim.notices(); got != "suspended gone" {
			t.Errorf("events %s", got)
		}
		if n := len(sim.received()); n != 2 {
			t.Errorf("%d requests", n)
		}
		r.drain()
	})
}

// What waits too long for a suspended endpoint is dead, never lost; what expires meanwhile is settled so.
func TestSuspension_HeldUpToMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 410, takes: time.Millisecond} })
		maxAge := func(c *Channel) { c.MaxAge = 36 * time.Hour }
		r := sim.start(maxAge)
		began := time.Now()
		sim.plan(newDelivery("e1", "a", "first"))
		time.Sleep(time.Minute)
		for i := range 100 {
			d := newDelivery("e1", fmt.Sprint(i%10), fmt.Sprint(i))
			if i%10 == 3 {
				d.ExpiresAt = time.Now().Add(2 * time.Hour)
			}
			sim.plan(d)
		}
		sim.pass(3 * time.Hour)
		count := func() map[string]int {
			n := map[string]int{}
			for _, a := range sim.attempts() {
				if a.Settlement != 0 {
					n[a.Settlement.String()+" "+a.Reason]++
				}
			}
			return n
		}
		if n := count(); n["SETTLEMENT_EXPIRED expired"] != 10 || len(n) != 1 {
			t.Errorf("after three hours %v", n)
		}
		r.kill()
		r = sim.start(maxAge)
		sim.pass(36*time.Hour - time.Since(began) + time.Hour)
		if n := count(); n["SETTLEMENT_EXPIRED expired"] != 10 || n["SETTLEMENT_DEAD too_old"] != 91 || len(n) != 2 {
			t.Errorf("after 36 hours %v", n)
		}
		if n := len(sim.received()); n != 1 {
			t.Errorf("%d requests", n)
		}
		if got := sim.notices(); !strings.Contains(got, "suspended gone, exhausted") {
			t.Errorf("events %s", got)
		}
		exhausted := int64(0)
		for _, e := range sim.events() {
			if m, ok := e.Data.(*eventv1.DeliveryExhausted); ok {
				exhausted += m.Count
			}
		}
		if exhausted != 91 {
			t.Errorf("events speak of %d of 91", exhausted)
		}
		r.drain()
	})
}

// lastReport is the newest report of an endpoint.
func (sim *simulation) lastReport(name string) (last delivery.EndpointHealth) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	for _, h := range sim.reports {
		if h.Name == name {
			last = h
		}
	}
	return last
}

func (sim *simulation) lastEvent(kind string) *event.Event {
	all := sim.events()
	for i := range all {
		if e := all[len(all)-1-i]; e.Type == kind {
			return e
		}
	}
	sim.t.Fatalf("no %s", kind)
	return nil
}

// notices are the events in short; repeats under one id count once.
func (sim *simulation) notices() string {
	var out []string
	known := map[string]bool{}
	for _, e := range sim.events() {
		if known[e.ID] {
			continue
		}
		known[e.ID] = true
		_, kind, _ := strings.Cut(e.Type, ".")
		switch m := e.Data.(type) {
		case *eventv1.EndpointChanged:
			if kind = kind + " " + m.Reason; e.Type == eventFailing {
				kind = fmt.Sprint("failing ", m.Percent)
			}
		}
		out = append(out, kind)
	}
	return strings.Join(out, ", ")
}

// Changes of the endpoint bring attempts forward. An opening that knows their number alone takes the delivery for hours old.
func TestOrder_AHeadWhoseAttemptsWereBroughtForwardIsNotGivenUpAfterAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(d *delivery.Delivery, _ int) reply {
			if d.Event.Subject == "bad" {
				return reply{status: 500, takes: time.Millisecond}
			}
			return reply{status: 200, takes: time.Millisecond}
		})
		r := sim.start()
		sim.plan(newDelivery("e1", "bad", "head"))
		for i := range 6 {
			time.Sleep(5 * time.Second)
			sim.change("e1", func(t *target) { t.print++ })
			sim.plan(newDelivery("e1", "good", fmt.Sprint(i)))
		}
		time.Sleep(2 * time.Second)
		r.kill()
		r = sim.start()
		time.Sleep(time.Second)
		sim.plan(newDelivery("e1", "good", "after"))
		time.Sleep(time.Second)
		sim.change("e1", func(t *target) { t.print++ })
		time.Sleep(5 * time.Second)
		for _, a := range sim.attempts() {
			if a.Settlement == deliveryv1.Settlement_SETTLEMENT_DEAD {
				t.Errorf("given up after %d attempts within a minute: %s", a.Number, a.Reason)
			}
		}
		r.drain()
	})
}

// The start of ordering_key_horizon is the first attempt, also for an owner that did not make it: not the planning, and not an
// estimate from the number of attempts, which changes of the endpoint bring forward.
func TestOrder_HorizonBeginsWithTheFirstAttemptWhoeverMadeIt(t *testing.T) {
	for name, lost := range map[string]bool{"references": false, "the store lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulation(t, 1, "e1")
				sim.replies(func(d *delivery.Delivery, _ int) reply {
					if d.Event.Subject == "bad" {
						return reply{status: 500, takes: time.Millisecond}
					}
					return reply{status: 200, takes: time.Millisecond}
				})
				sim.plan(newDelivery("e1", "bad", "head"))
				sim.pass(2 * time.Hour) // nobody owns the partition
				first := time.Now()
				r := sim.start(func(c *Channel) { c.SnapshotEvery = 0 })
				for i := range 5 {
					time.Sleep(20 * time.Second)
					sim.change("e1", func(t *target) { t.print++ })
					sim.plan(newDelivery("e1", "good", fmt.Sprint(i)))
				}
				time.Sleep(2 * time.Second)
				r.drain()
				if lost {
					sim.store.Restore(empty())
				}
				r = sim.start(func(c *Channel) { c.SnapshotEvery = 0 })
				sim.plan(newDelivery("e1", "good", "after"))
				sim.pass(3 * time.Hour)
				r.drain()
				var dead *deliveryv1.Attempt
				for _, a := range sim.attempts() {
					if a.Settlement == deliveryv1.Settlement_SETTLEMENT_DEAD {
						dead = a
					}
				}
				if dead == nil || dead.Reason != "ordering_key_horizon" {
					t.Fatalf("given up: %v", dead)
				}
				if after := dead.Started.AsTime().Sub(first); after < time.Hour || after > time.Hour+5*time.Second {
					t.Errorf("attempt %d gave it up %s after the first", dead.Number, after)
				}
			})
		})
	}
}
