package loop

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tollgate/tollgate/pkg/delivery"
)

// One endpoint that is taken away settles all that waits for it at once.
func TestLines_OfDeliveriesThatAreGivenUpAreBoundedWithACount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Failed, time.Millisecond
		})
		core, logs := observer.New(zap.InfoLevel)
		r := sim.start(func(c *Channel) { c.Log = zap.New(core) })
		for i := range n {
			sim.plan(newDelivery("e1", "a", fmt.Sprint(i)))
		}
		time.Sleep(time.Minute)
		sim.configure(2, 64)
		time.Sleep(time.Minute)
		r.drain()
		lines, omitted := logs.FilterMessage("delivery not delivered").Len(), int64(0)
		for _, line := range logs.FilterMessage("lines omitted").All() {
			omitted += line.ContextMap()["omitted"].(int64)
		}
		if dead := len(sim.broker.all(topicDead)); dead != n {
			t.Fatalf("%d of %d are settled", dead, n)
		}
		if lines == 0 || lines >= n/2 || int64(lines)+omitted != n {
			t.Errorf("%d deliveries given up, %d lines, %d omitted", n, lines, omitted)
		}
	})
}
