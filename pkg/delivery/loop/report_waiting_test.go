package loop

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
)

func TestReport_WaitingIncludesWhatIsReadAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.failFor("e1")
		r := sim.start(atMost(50, 1000))
		for i := range 120 {
			sim.plan(newDelivery("e1", fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(30 * time.Second)
		if h := sim.lastReport("e1"); h.Waiting != 120 || h.Behind != 70 {
			t.Errorf("%d wait, %d of them are read again later, want 120 and 70", h.Waiting, h.Behind)
		}
		r.drain()
	})
}

// The configuration may show what an owner reported whose store is lost, or what one reported late that stood still.
func TestReport_FirstResultOfAnOpeningAndWhatIsNotHealthyEveryFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		status := 200
		sim.replies(func(*delivery.Delivery, int) reply { return reply{status: status, takes: time.Millisecond} })
		reports := func() int {
			sim.mu.Lock()
			defer sim.mu.Unlock()
			return len(sim.reports)
		}
		r := sim.start()
		for i := range 3 {
			sim.plan(newDelivery("e1", "a", fmt.Sprint(i)))
			time.Sleep(time.Minute)
		}
		if n := reports(); n != 1 || sim.lastReport("e1").LastSuccess.IsZero() {
			t.Errorf("%d reports after three successes, want the first: %+v", n, sim.reports)
		}
		status = 410
		sim.plan(newDelivery("e1", "a", "gone"))
		time.Sleep(time.Second)
		before := reports()
		time.Sleep(31 * time.Minute)
		if n := reports() - before; n != 6 || sim.lastReport("e1").Suspended != "gone" {
			t.Errorf("%d reports of a suspended endpoint in half an hour", n)
		}
		r.drain()
	})
}
