package loop

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tollgate/tollgate/pkg/delivery"
)

func TestLocalFailure_UsesNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1", "e2")
		var failingLocally atomic.Bool
		var tries atomic.Int32
		failingLocally.Store(true)
		sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
			if d.Endpoint == "e1" && failingLocally.Load() {
				tries.Add(1)
				return delivery.LocalFailure, time.Millisecond
			}
			return delivery.Accepted, time.Millisecond
		})
		var metrics *Metrics
		r := sim.start(func(c *Channel) { metrics = c.Metrics })
		for i := range 300 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint("first", i)))
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint("second", i)))
		}
		sim.plan(newDelivery("e2", "a", "other"))
		time.Sleep(time.Minute)
		if n := len(sim.attempts()); n != 1 {
			t.Errorf("%d attempts recorded, want that of the other endpoint", n)
		}
		if !strings.Contains(sim.healthText(), "requests to 1 endpoints can't be made") || !strings.Contains(sim.healthText(), "too many open files") {
			t.Errorf("health reports %s", sim.healthText())
		}
		if n := tries.Load(); n > 64*7 || float64(n) != testutil.ToFloat64(metrics.NotMade) {
			t.Errorf("%d tries in a minute, %v counted", n, testutil.ToFloat64(metrics.NotMade))
		}
		failingLocally.Store(false)
		time.Sleep(time.Minute)
		if strings.Contains(sim.healthText(), "can't be made") {
			t.Errorf("health reports %s", sim.healthText())
		}
		r.drain()
		all := sim.attempts()
		for _, a := range all {
			if a.Number != 1 || a.Status != 204 {
				t.Errorf("attempt %v", a)
			}
		}
		if len(all) != 601 {
			t.Errorf("%d of 601 settled", len(all))
		}
	})
}

func TestLocalFailure_EndpointChangeEndsHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.LocalFailure, time.Millisecond
		})
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "one"))
		time.Sleep(20 * time.Second)
		sim.configure(2, 64) // deleted
		time.Sleep(time.Second)
		if n := len(sim.attempts()); n != 1 || strings.Contains(sim.healthText(), "can't be made") {
			t.Errorf("%d settled; health reports %s", n, sim.healthText())
		}
		r.drain()
	})
}

func TestSender_PanicIsReportedAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(_ *delivery.Delivery, n int) (delivery.Result, time.Duration) {
			if n == 1 {
				sim.mu.Unlock() // Send holds it, and unlocks nothing when this panics
				panic("unlucky")
			}
			return delivery.Accepted, time.Millisecond
		})
		r := sim.start()
		sim.plan(newDelivery("e1", "a", "one"))
		time.Sleep(10 * time.Second)
		sim.mu.Lock()
		reported := fmt.Sprint(sim.health["reported"])
		sim.mu.Unlock()
		if !strings.Contains(reported, "PANIC at 0: attempt of dlv_") || sim.healthText() != "<nil>" {
			t.Errorf("reported %s; health reports %s", reported, sim.healthText())
		}
		r.drain()
		if n := len(sim.attempts()); n != 2 {
			t.Errorf("%d attempts, want the one that panicked and the next", n)
		}
	})
}
