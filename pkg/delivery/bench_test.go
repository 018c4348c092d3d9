package delivery

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// instant is a sender that costs nothing.
type instant struct{ *world }

func (instant) Send(context.Context, *Delivery, Target, int) Outcome {
	now := time.Now()
	return Outcome{Started: now, Finished: now, Result: Accepted, Status: 204}
}

// BenchmarkLoop is what the loop alone takes for a delivery: reading, lane,
// slot, hand-over, attempt, page, with broker, store and receiver for nothing.
func BenchmarkLoop(b *testing.B) {
	w := newWorld(b, 1, "e1", "e2", "e3", "e4")
	w.broker.mu.Lock()
	for i := range b.N {
		d := order(fmt.Sprint("e", i%4+1), fmt.Sprint(i%1000), fmt.Sprint(i))
		d.Body, d.PlannedAt, d.Tenant = make([]byte, 500), time.Now(), "acme"
		r, err := d.Record(topicDeliveries)
		if err != nil {
			b.Fatal(err)
		}
		l := w.broker.log(topicDeliveries)
		r.Offset = int64(len(l.records))
		l.records = append(l.records, r)
	}
	w.broker.mu.Unlock()
	b.ReportAllocs()
	b.ResetTimer()
	r := w.start(func(c *Channel) { c.Sender = instant{w} })
	for { // until every attempt is recorded
		w.broker.mu.Lock()
		n, grew := len(w.broker.log(topicAttempts).records), w.broker.grew
		w.broker.mu.Unlock()
		if n >= b.N {
			break
		}
		<-grew
	}
	b.StopTimer()
	r.drain()
}
