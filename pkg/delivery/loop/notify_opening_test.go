package loop

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// What was counted before an opening is published after it, also where the endpoint is in no configuration that is known.
func TestExhausted_IsOfItsEndpointAfterAnOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const name = "tenants/acme/endpoints/crm"
		sim := newSimulation(t, 1, name)
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Refused, time.Millisecond
		})
		r := sim.start()
		for _, id := range []string{"one", "two"} { // the second is counted, and published a minute later
			d := newDelivery(name, id, id)
			d.Tenant = "acme"
			sim.plan(d)
			time.Sleep(10 * time.Second)
		}
		r.kill()
		sim.configure(2, 64)
		sim.setStale(true)
		r = sim.start()
		time.Sleep(2 * time.Minute)
		var last *eventv1.DeliveryExhausted
		for _, e := range sim.events() {
			m, ok := e.Data.(*eventv1.DeliveryExhausted)
			if !ok || e.Subject != "endpoint/crm" || e.Tenant != "acme" || m.GetEndpoint() != name {
				t.Errorf("event of tenant %q about %q: %v", e.Tenant, e.Subject, e.Data)
			}
			last = m
		}
		if n := len(sim.events()); n != 2 || last.GetCount() != 1 {
			t.Errorf("%d events, the last %v", n, last)
		}
		r.drain()
	})
}
