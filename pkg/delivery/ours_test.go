package delivery

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestWhatIsOursUsesNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1", "e2")
		var lacking atomic.Bool
		var tries atomic.Int32
		lacking.Store(true)
		w.answers(func(d *Delivery, _ int) (Result, time.Duration) {
			if d.Endpoint == "e1" && lacking.Load() {
				tries.Add(1)
				return Ours, time.Millisecond
			}
			return Accepted, time.Millisecond
		})
		var metrics *Metrics
		r := w.start(func(c *Channel) { metrics = c.Metrics })
		for i := range 300 {
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint("first", i)))
			w.plan(order("e1", fmt.Sprint(i), fmt.Sprint("second", i)))
		}
		w.plan(order("e2", "a", "other"))
		time.Sleep(time.Minute)
		if n := len(w.attempts()); n != 1 {
			t.Errorf("%d attempts recorded, want that of the other endpoint", n)
		}
		if !strings.Contains(w.ill(), "requests to 1 endpoints can't be made") || !strings.Contains(w.ill(), "too many open files") {
			t.Errorf("health says %s", w.ill())
		}
		if n := tries.Load(); n > 64*7 || float64(n) != testutil.ToFloat64(metrics.ours) {
			t.Errorf("%d tries in a minute, %v counted", n, testutil.ToFloat64(metrics.ours))
		}
		lacking.Store(false)
		time.Sleep(time.Minute)
		if strings.Contains(w.ill(), "can't be made") {
			t.Errorf("health says %s", w.ill())
		}
		r.drain()
		all := w.attempts()
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

func TestAChangedEndpointIsNoLongerHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(*Delivery, int) (Result, time.Duration) { return Ours, time.Millisecond })
		r := w.start()
		w.plan(order("e1", "a", "one"))
		time.Sleep(20 * time.Second)
		w.configure(2, 64) // deleted
		time.Sleep(time.Second)
		if n := len(w.attempts()); n != 1 || strings.Contains(w.ill(), "can't be made") {
			t.Errorf("%d settled; health says %s", n, w.ill())
		}
		r.drain()
	})
}

func TestAPanicOfTheChannelIsReportedAndKeepsNobodyFromBeingReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		w.answers(func(_ *Delivery, n int) (Result, time.Duration) {
			if n == 1 {
				w.mu.Unlock() // Send holds it, and unlocks nothing when this panics
				panic("unlucky")
			}
			return Accepted, time.Millisecond
		})
		r := w.start()
		w.plan(order("e1", "a", "one"))
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		reported := fmt.Sprint(w.health["reported"])
		w.mu.Unlock()
		if !strings.Contains(reported, "PANIC at 0: attempt of dlv_") || w.ill() != "<nil>" {
			t.Errorf("reported %s; health says %s", reported, w.ill())
		}
		r.drain()
		if n := len(w.attempts()); n != 2 {
			t.Errorf("%d attempts, want the one that panicked and the next", n)
		}
	})
}
