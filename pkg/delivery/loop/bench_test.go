package loop

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
)

// instantSender is a sender that costs nothing.
type instantSender struct{ *simulation }

func (instantSender) Send(context.Context, *delivery.Delivery, delivery.Target, int) delivery.Outcome {
	now := time.Now()
	return delivery.Outcome{Started: now, Finished: now, Result: delivery.Accepted, Status: 204}
}

// ahead is how many deliveries lie in the log that were not sent: fewer than an endpoint may have, so none is behind.
const ahead = 4096

// BenchmarkLoop measures the loop alone for one delivery: reading, order, slot, hand-over, attempt and page, without
// the cost of broker, store and receiver. Its processor time is what counts: the time of day has waits for commits in it.
func BenchmarkLoop(b *testing.B) {
	sim := newSimulation(b, 1, "e1", "e2", "e3", "e4")
	planned := make([]stream.Record, b.N)
	for i := range planned {
		d := newDelivery(fmt.Sprint("e", i%4+1), fmt.Sprint(i%1000), fmt.Sprint(i))
		d.Body, d.PlannedAt, d.Tenant = make([]byte, 500), time.Now(), "acme"
		r, err := d.Record(topicDeliveries)
		if err != nil {
			b.Fatal(err)
		}
		planned[i] = r
	}
	r := sim.start(func(c *Channel) { c.Sender = instantSender{sim} })
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	began := processorTime(b)
	for put := 0; ; { // until every attempt is recorded
		sim.broker.mu.Lock()
		n, grew := len(sim.broker.log(topicAttempts).records), sim.broker.grew
		sim.broker.mu.Unlock()
		if n >= b.N {
			break
		}
		if more := min(b.N, n+ahead); more-put >= min(ahead/4, b.N-put) && more > put {
			sim.broker.add(planned[put:more]...)
			put = more
			continue
		}
		<-grew
	}
	b.StopTimer()
	b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "processor-ns/op")
	r.drain()
}

// processorTime is what this process used of the processors until now.
func processorTime(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
