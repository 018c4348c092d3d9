package foldtest_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
)

// BenchmarkCall is one call after the other at an idle owner.
func BenchmarkCall(b *testing.B) {
	f := newFleet(b, 1)
	one := f.join("one:1", fold.DefaultLimits())
	f.ready(one)
	f.accept(usage("u", "44", 1, time.Now()))
	if _, err := call(b, charge("first", "44", 1), one); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if _, err := one.Call(b.Context(), charge(fmt.Sprint("c", i), "44", 1)); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	report(b, took)
}

// BenchmarkCallsBesideUsage makes 1,000 calls a second, by the clock and whatever becomes of those before, beside
// 20,000 usage events a second. The bare figures are of one record appended and one read of the store, one after the
// other, at the same time: what a call can't be without.
func BenchmarkCallsBesideUsage(b *testing.B) {
	const partitions, subjects, perSecond, usages = 8, 5000, 1000, 20_000
	f := newFleet(b, partitions)
	one := f.join("one:1", fold.DefaultLimits())
	f.ready(one)
	var first []*event.Event
	for i := range subjects {
		first = append(first, usage(fmt.Sprint("u", i), fmt.Sprint("44", i), 1, time.Now()))
	}
	f.accept(first...)
	for i := range 4 * partitions {
		if _, err := call(b, charge(fmt.Sprint("first", i), fmt.Sprint("44", i), 1), one); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		every(ctx, usages/100, func(n int) {
			events := make([]*event.Event, 100)
			for i := range events {
				id := 100*n + i
				events[i] = usage(fmt.Sprint("v", id), fmt.Sprint("44", id*7919%subjects), 1, time.Now())
			}
			f.accept(events...)
		})
	})
	var bare []time.Duration
	wait.Go(func() {
		every(ctx, 50, func(int) {
			begin := time.Now()
			if err := f.producer.Produce(b.Context(), stream.Record{Topic: f.client.Topic(stream.EventsRejected), Value: []byte("bare")}); err != nil {
				b.Error(err)
			}
			if _, err := one.ReadStored(b.Context(), "acme/440"); err != nil {
				b.Error(err)
			}
			bare = append(bare, time.Since(begin))
		})
	})
	var mu sync.Mutex
	var took []time.Duration
	failed := map[string]int{}
	n := 0
	b.ResetTimer()
	began := time.Now()
	calls, done := context.WithCancel(ctx)
	every(calls, perSecond, func(i int) {
		if n++; n > b.N {
			done()
			return
		}
		at := began.Add(time.Duration(i) * time.Second / perSecond) // when it was due
		wait.Go(func() {
			_, err := one.Call(b.Context(), charge(fmt.Sprint("c", i), fmt.Sprint("44", i*31%subjects), 1))
			mu.Lock()
			defer mu.Unlock()
			if took = append(took, time.Since(at)); err != nil {
				failed[err.Error()]++
			}
		})
	})
	b.StopTimer()
	cancel()
	wait.Wait()
	report(b, took)
	if len(bare) == 0 { // the trial run of one call
		return
	}
	slices.Sort(bare)
	b.ReportMetric(bare[len(bare)/2].Seconds()*1000, "bare-p50-ms")
	b.ReportMetric(bare[len(bare)*99/100].Seconds()*1000, "bare-p99-ms")
	for _, name := range []string{"commit_seconds", "publish_seconds", "batch_events"} {
		b.ReportMetric(mean(b, one.metrics, "tollgate_simulation_"+name), name)
	}
	for what, n := range failed {
		b.Errorf("%d calls: %s", n, what)
	}
}

// every does something so many times a second; what was late is made up for.
func every(ctx context.Context, perSecond int, do func(n int)) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for due := int(now.Sub(began).Seconds() * float64(perSecond)); n < due && ctx.Err() == nil; n++ {
				do(n)
			}
		}
	}
}

func mean(b *testing.B, metrics *prometheus.Registry, name string) float64 {
	b.Helper()
	families, err := metrics.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			h := family.GetMetric()[0].GetHistogram()
			return h.GetSampleSum() / float64(h.GetSampleCount())
		}
	}
	b.Fatalf("no metric %s", name)
	return 0
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(share float64) float64 { return took[int(float64(len(took)-1)*share)].Seconds() * 1000 }
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}
