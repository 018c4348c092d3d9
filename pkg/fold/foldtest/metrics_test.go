package foldtest_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tollgate/tollgate/pkg/fold"
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
