package foldtest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
)

// What an operator must see of events that count, but not as they were meant: each once, however often it is sent.
func TestMetrics_EventsOutOfTimeCountOnceEach(t *testing.T) {
	d := partition(t)
	registry := prometheus.NewRegistry()
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Metrics = fold.NewMetrics("partition", "counts", registry) }
	for range 2 {
		d.Accept(
			usage("on time", "44", 1, d.Now.Add(-time.Hour)),
			usage("a little ahead", "44", 1, d.Now.Add(5*time.Minute)),
			usage("ahead", "44", 1, d.Now.Add(5*time.Minute+time.Millisecond)),
			usage("far ahead", "45", 1, d.Now.Add(time.Hour)),
			usage("too old to be known again", "44", 1, d.Now.Add(-fold.WindowHours*time.Hour-time.Millisecond)),
		)
	}
	d.Work()
	const want = `
# HELP tollgate_partition_future_timestamp_total Events whose own time was more than five minutes in the future; they count as of now.
# TYPE tollgate_partition_future_timestamp_total counter
tollgate_partition_future_timestamp_total{domain="counts"} 2
# HELP tollgate_partition_duplicates_total Events that had been counted before, at another offset.
# TYPE tollgate_partition_duplicates_total counter
tollgate_partition_duplicates_total{domain="counts"} 5
# HELP tollgate_partition_too_late_to_deduplicate_total Events older than the window in which a repeat is known again; they were counted.
# TYPE tollgate_partition_too_late_to_deduplicate_total counter
tollgate_partition_too_late_to_deduplicate_total{domain="counts"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "tollgate_partition_future_timestamp_total", "tollgate_partition_duplicates_total", "tollgate_partition_too_late_to_deduplicate_total"); err != nil {
		t.Error(err)
	}
}

// A subject that has more ids than are remembered forgets the oldest, and counts it.
func TestMetrics_CountIDsThatWereEvicted(t *testing.T) {
	for _, row := range []struct{ events, least, most int }{{1000, 0, 0}, {1400, 1400 - 1024, 1400 - 1}} {
		d := partition(t)
		registry := prometheus.NewRegistry()
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Metrics = fold.NewMetrics("partition", "counts", registry) }
		for i := range row.events {
			d.Accept(usage(fmt.Sprint("u-", i), "44", 1, d.Now.Add(-time.Minute)))
		}
		d.Work()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "tollgate_partition_dedup_evicted_total" {
				continue
			}
			if n := int(f.GetMetric()[0].GetCounter().GetValue()); n < row.least || n > row.most {
				t.Errorf("%d events: %d ids were evicted", row.events, n)
			}
			registry = nil
		}
		if registry != nil {
			t.Error("no dedup_evicted_total")
		}
	}
}

// Producers make as many events that are rejected as they like.
func TestReject_LogIsBoundedWithACount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		d := partition(t)
		core, logs := observer.New(zap.InfoLevel)
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Logger = zap.New(core) }
		for i := range n {
			d.Accept(usage(fmt.Sprint(i), "44", amountRejected, d.Now))
		}
		d.Work()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		lines, omitted := logs.FilterMessage("event rejected").Len(), logs.FilterMessage("lines omitted").All()
		if len(d.Published()) != n || lines > n/10 || len(omitted) != 1 || omitted[0].ContextMap()["omitted"] != int64(n-lines) {
			t.Errorf("%d rejections, %d lines, %v", len(d.Published()), lines, omitted)
		}
	})
}

// gathering reads metrics whenever the owner asks for records.
type gathering struct {
	fold.Log
	registry *prometheus.Registry
	most     map[string]float64
}

func (w *gathering) Fetch(ctx context.Context, from int64, wait time.Duration, changed <-chan struct{}) (stream.Batch, error) {
	w.gather()
	return w.Log.Fetch(ctx, from, wait, changed)
}

func (w *gathering) gather() {
	families, err := w.registry.Gather()
	must(err)
	for _, f := range families {
		if name := strings.TrimPrefix(f.GetName(), "tollgate_partition_"); f.GetType() == dto.MetricType_GAUGE {
			w.most[name] = max(w.most[name], f.GetMetric()[0].GetGauge().GetValue())
		}
	}
}

// An operator sees how many timers wait, and for how long the first has been due, as long as the partition is owned here.
func TestMetrics_TimersPendingAndOverdue(t *testing.T) {
	d := partition(t)
	w := &gathering{registry: prometheus.NewRegistry(), most: map[string]float64{}}
	metrics := fold.NewMetrics("partition", "counts", w.registry)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.SnapshotEvents, c.Metrics = 2, metrics
		w.Log, c.Log = c.Log, w
	}
	d.Accept(usage("1", "44", 150, d.Now), usage("2", "45", 150, d.Now)) // a reminder in 95 s and a renewal, of each
	for i := range 40 {                                                  // so many that the engine has a timer of its own for their ids
		d.Accept(usage(fmt.Sprint("more-", i), "44", 1, d.Now))
	}
	d.Work()
	d.Work()
	if w.most["timers_pending"] != 4 || w.most["timers_overdue_seconds"] != 0 {
		t.Errorf("before any is due: %v", w.most)
	}
	d.Now = noon.Add(105 * time.Second)
	d.Work()
	if w.most["timers_overdue_seconds"] != 10 {
		t.Errorf("ten seconds after two were due: %v", w.most)
	}
	clear(w.most)
	if w.gather(); w.most["timers_pending"] != 0 || w.most["timers_overdue_seconds"] != 0 {
		t.Errorf("of no partition: %v", w.most)
	}
}
