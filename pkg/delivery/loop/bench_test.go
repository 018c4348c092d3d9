package loop

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
)

// instantSender is a sender that costs nothing.
type instantSender struct{ *simulation }

func (instantSender) Send(context.Context, *delivery.Delivery, delivery.Target, int) delivery.Outcome {
	now := time.Now()
	return delivery.Outcome{Started: now, Finished: now, Result: delivery.Accepted, Status: 204}
}

// BenchmarkLoop measures the loop alone for one delivery: reading, order, slot, hand-over, attempt and page, without
// the cost of broker, store and receiver.
func BenchmarkLoop(b *testing.B) {
	sim := newSimulation(b, 1, "e1", "e2", "e3", "e4")
	sim.broker.mu.Lock()
	for i := range b.N {
		d := newDelivery(fmt.Sprint("e", i%4+1), fmt.Sprint(i%1000), fmt.Sprint(i))
		d.Body, d.PlannedAt, d.Tenant = make([]byte, 500), time.Now(), "acme"
		r, err := d.Record(topicDeliveries)
		if err != nil {
			b.Fatal(err)
		}
		l := sim.broker.log(topicDeliveries)
		r.Offset = int64(len(l.records))
		l.records = append(l.records, r)
	}
	sim.broker.mu.Unlock()
	b.ReportAllocs()
	b.ResetTimer()
	r := sim.start(func(c *Channel) { c.Sender = instantSender{sim} })
	for { // until every attempt is recorded
		sim.broker.mu.Lock()
		n, grew := len(sim.broker.log(topicAttempts).records), sim.broker.grew
		sim.broker.mu.Unlock()
		if n >= b.N {
			break
		}
		<-grew
	}
	b.StopTimer()
	r.drain()
}
