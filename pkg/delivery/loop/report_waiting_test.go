package loop

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
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
