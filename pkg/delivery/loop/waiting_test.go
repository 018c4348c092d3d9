package loop

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// waitingRefs is one of 24 partitions that a million references for 200 endpoints lie in.
const (
	waitingRefs      = 41_667
	waitingEndpoints = 9
	// mostHeap is how many bytes of heap a reference may take, mostOpening how long an opening with so many may.
	mostHeap    = 100
	mostOpening = 5 * time.Second
)

// manyWait begins a partition in which that many deliveries wait for paused endpoints, each with an ordering key of its own.
func manyWait(t testing.TB) *simulation {
	var names []string
	for i := range waitingEndpoints {
		names = append(names, fmt.Sprint("tenants/acme/endpoints/e", i))
	}
	sim := newSimulation(t, 1, names...)
	for _, name := range names {
		sim.change(name, func(t *target) { t.paused = true })
	}
	sim.broker.mu.Lock()
	defer sim.broker.mu.Unlock()
	l := sim.broker.log(topicDeliveries)
	for i := range waitingRefs {
		d := newDelivery(names[i%waitingEndpoints], fmt.Sprint(i), fmt.Sprint(i))
		d.Tenant, d.PlannedAt, d.Body = "acme", time.Now(), make([]byte, 300)
		r, err := d.Record(topicDeliveries)
		if err != nil {
			t.Fatal(err)
		}
		r.Offset = int64(i)
		l.records = append(l.records, r)
	}
	return sim
}

// open starts a replica and returns once all of it waits.
func (sim *simulation) open(until func(metrics *Metrics, worked int64) bool) (*replica, time.Duration) {
	var metrics *Metrics
	began := time.Now()
	r := sim.start(func(c *Channel) { metrics, c.SnapshotEvery = c.Metrics, 0 })
	for !until(metrics, r.worked.Load()) {
		time.Sleep(time.Millisecond)
	}
	return r, time.Since(began)
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools still held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// measureWaiting returns the bytes of heap that each reference takes, the window of ids and all indices included, and how long
// an owner needs to open the partition.
func measureWaiting(t testing.TB) (bytes float64, opening time.Duration) {
	sim := manyWait(t)
	all := func(m *Metrics, _ int64) bool {
		return testutil.ToFloat64(m.Waiting.WithLabelValues("0")) == waitingRefs
	}
	r, _ := sim.open(func(m *Metrics, worked int64) bool { return all(m, 0) && worked == waitingRefs })
	with := heap()
	r.drain()
	bytes = (with - heap()) / waitingRefs
	r, opening = sim.open(all)
	r.drain()
	return bytes, opening
}

// BenchmarkWaiting measures what deliveries that wait take, and an opening with them: of one partition, on a log and a store in
// memory.
func BenchmarkWaiting(b *testing.B) {
	var bytes float64
	var opening time.Duration
	for range b.N {
		more, took := measureWaiting(b)
		bytes, opening = bytes+more, opening+took
	}
	b.ReportMetric(bytes/float64(b.N), "heap_B/reference")
	b.ReportMetric(opening.Seconds()/float64(b.N), "s/opening")
	b.ReportMetric(0, "ns/op")
}

// A million references take less than 100 MB of heap, and their partitions are open at once.
func TestWaiting_HeapAndOpening(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads 41,667 deliveries three times")
	}
	var bytes float64
	var opening time.Duration
	for range 3 { // what earlier tests left may be freed meanwhile
		if bytes, opening = measureWaiting(t); bytes <= mostHeap && opening <= mostOpening {
			return
		}
	}
	t.Errorf("%.0f bytes of heap a reference, %s to open the partition", bytes, opening)
}
