package loop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tollgate/tollgate/pkg/delivery"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestExhausted_IsPublishedOncePerEndpointAndMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "tenants/acme/endpoints/e1", "tenants/acme/endpoints/e2")
		sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
			if d.Event.ID == "ok" { // so that the circuit stays closed
				return delivery.Accepted, time.Millisecond
			}
			return delivery.Refused, time.Millisecond
		})
		r := sim.start()
		var last *delivery.Delivery
		for i := range 100 {
			last = sim.plan(newDelivery("tenants/acme/endpoints/e1", fmt.Sprint(i), fmt.Sprint(i)))
			if i%5 == 0 {
				ok := newDelivery("tenants/acme/endpoints/e1", "ok", fmt.Sprint("ok", i))
				ok.Event.ID = "ok"
				sim.plan(ok)
			}
			time.Sleep(time.Second)
		}
		sim.plan(newDelivery("tenants/acme/endpoints/e2", "a", "a"))
		time.Sleep(10 * time.Second)
		r.kill() // what was counted and not published outlives it
		r = sim.start()
		time.Sleep(2 * time.Minute)
		r.drain()
		var counts []int64
		var at []time.Time
		ids := map[string]bool{}
		for _, e := range sim.events() {
			m, ok := e.Data.(*eventv1.DeliveryExhausted)
			if !ok || e.Tenant != "acme" || !strings.HasPrefix(e.Subject, "endpoint/e") || e.Source != "tollgate/test" || e.Type != "delivery.exhausted" {
				t.Fatalf("event %+v", e)
			}
			if m.Endpoint == "tenants/acme/endpoints/e2" || ids[e.ID] {
				continue
			}
			ids[e.ID] = true
			counts, at = append(counts, m.Count), append(at, e.Time)
			if m.Count > 1 && m.FirstDelivery == m.Delivery || m.EventTopic != "events.ordered" || m.Reason != "refused" || m.Attempts != 1 || m.LastStatus != 500 {
				t.Errorf("event %v", m)
			}
			if m.Delivery == last.ID && m.EventSubject != "99" {
				t.Errorf("the last is of %s", m.EventSubject)
			}
		}
		sum := int64(0)
		for i, n := range counts {
			if sum += n; i > 0 && at[i].Sub(at[i-1]) < time.Minute {
				t.Errorf("two events within %s", at[i].Sub(at[i-1]))
			}
		}
		if sum != 100 || len(counts) != 3 {
			t.Errorf("events speak of %v, want 100 in all", counts)
		}
	})
}

// Deliveries of Tollgate's own events cause none, whatever becomes of them: two endpoints that report each other would never
// come to rest.
func TestEvents_FailuresOfSystemEventsCauseNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.replies(func(d *delivery.Delivery, _ int) reply {
			if d.Event.ID == "gone" {
				return reply{status: 410, takes: time.Millisecond}
			}
			return reply{status: 500, takes: time.Millisecond}
		})
		r := sim.start(func(c *Channel) { c.MaxAge = 40 * time.Hour })
		for i, kind := range []string{eventFailing, eventSuspended, eventReactivated, eventExhausted, "hook.failed", "notification.failing"} {
			for j := range 20 {
				d := newDelivery("e1", fmt.Sprint(i, j), fmt.Sprint(i, "/", j))
				d.Event.Type = kind
				sim.plan(d)
			}
		}
		sim.pass(41 * time.Hour)
		if h := sim.lastReport("e1"); h.Suspended != "failing" {
			t.Errorf("%+v", h)
		}
		if got := sim.notices(); got != "" {
			t.Errorf("events %s", got)
		}
		if n := len(sim.broker.all(topicDead)); n != 120 {
			t.Errorf("%d of 120 dead letters", n)
		}
		r.drain()
	})
}

func TestReport_StateAtOnceAndNumbersEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 404, takes: time.Millisecond} })
		var metrics *Metrics
		r := sim.start(func(c *Channel) { metrics = c.Metrics })
		sim.plan(newDelivery("e1", "first", "first"))
		time.Sleep(100 * time.Millisecond)
		if h := sim.lastReport("e1"); h.Failures != 1 || h.LastStatus != 404 || h.Waiting != 1 || h.Activation != 1 || !h.Since.Equal(h.FailingSince) {
			t.Errorf("after the first failure %+v", h)
		}
		for i := range 60 { // a failure a second; the tenth opens the circuit
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
			time.Sleep(time.Second)
		}
		sim.mu.Lock()
		n := len(sim.reports)
		opened := slices.IndexFunc(sim.reports, func(h delivery.EndpointHealth) bool { return h.CircuitOpen })
		if tenth := sim.begun[9].at; opened < 0 || sim.reports[opened].At.Sub(tenth) > 100*time.Millisecond {
			t.Errorf("the open circuit is not reported at once: %+v", sim.reports)
		}
		sim.mu.Unlock()
		if n < 6 || n > 9 {
			t.Errorf("%d reports in a minute", n)
		}
		if got := testutil.ToFloat64(metrics.Endpoints.WithLabelValues("circuit_open")); got != 1 {
			t.Errorf("%v endpoints with an open circuit", got)
		}
		if got := testutil.ToFloat64(metrics.Waiting.WithLabelValues("0")); got != 61 {
			t.Errorf("%v wait", got)
		}
		if got := testutil.ToFloat64(metrics.Oldest.WithLabelValues("0")); got < 45 || got > 62 {
			t.Errorf("the oldest waits %v s", got)
		}
		if got := testutil.ToFloat64(metrics.Failures.WithLabelValues("receiver")); got < 10 {
			t.Errorf("%v failures of the receiver", got)
		}
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: 200, takes: time.Millisecond} })
		time.Sleep(time.Minute)
		if h := sim.lastReport("e1"); h.Failures != 0 || h.CircuitOpen || h.LastSuccess.IsZero() || h.LastError != "" {
			t.Errorf("in the end %+v", h)
		}
		if got := testutil.ToFloat64(metrics.Endpoints.WithLabelValues("circuit_open")); got != 0 {
			t.Errorf("%v endpoints with an open circuit in the end", got)
		}
		for _, h := range sim.reports {
			if h.Name == "e2" {
				t.Errorf("an endpoint of which nothing changed is reported: %+v", h)
			}
		}
		r.drain()
		if n := testutil.CollectAndCount(metrics.Waiting); n != 0 {
			t.Errorf("%d partitions in the metrics of a process that has none", n)
		}
	})
}

func TestReport_ThatFailedIsMadeAgainWithWhatIsThenTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.reportsFail = true
		status := 500
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: status, takes: time.Millisecond} })
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "a"))
		time.Sleep(4 * time.Second)
		sim.mu.Lock()
		status = 410
		sim.mu.Unlock()
		time.Sleep(time.Minute)
		sim.mu.Lock()
		sim.reportsFail = false
		sim.mu.Unlock()
		time.Sleep(10 * time.Second)
		if h := sim.lastReport("e1"); h.Suspended != "gone" || h.Failures != 2 || len(sim.reports) != 1 {
			t.Errorf("%+v", sim.reports)
		}
		r.drain()
	})
}
