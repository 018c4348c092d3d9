package foldtest_test

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// BenchmarkOwner is one partition in memory: what the engine itself costs an event, decoding and a small fold included,
// without servers. The bare loop decodes the same events and counts them in a map, and nothing else. Sixty events a
// subject, as with -benchtime 600000x, are enough for id segments.
func BenchmarkOwner(b *testing.B) {
	const subjects = 10_000
	accept := func(b *testing.B) interface{ Work() } {
		d := partition(b)
		d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Batch, c.Cache = 1500, 100_000 }
		for i := range b.N {
			d.Accept(usage(fmt.Sprintf("e-%d", i), fmt.Sprintf("4915%08d", i*7919%subjects), 0, noon))
		}
		return d
	}
	b.Run("engine", func(b *testing.B) {
		d := accept(b)
		b.ReportAllocs()
		b.ResetTimer()
		defer processor(b)()
		d.Work()
	})
	b.Run("bare", func(b *testing.B) {
		values := make([][]byte, b.N)
		for i := range b.N {
			r, err := usage(fmt.Sprintf("e-%d", i), fmt.Sprintf("4915%08d", i*7919%subjects), 0, noon).Record("log")
			if err != nil {
				b.Fatal(err)
			}
			values[i] = r.Value
		}
		f, records := &counter{}, make(map[string][]byte)
		b.ReportAllocs()
		b.ResetTimer()
		defer processor(b)()
		for _, value := range values {
			e, err := event.Decode(value)
			if err != nil {
				b.Fatal(err)
			}
			var n count
			if raw, ok := records[e.Key()]; ok {
				if n, err = f.Decode(raw); err != nil {
					b.Fatal(err)
				}
			}
			n.spent += e.Data.(*eventv1.UsageCharged).GetNet().GetUnits()
			n.events++
			records[e.Key()] = f.Append(nil, n)
		}
	})
}

// processor reports what a loop took of the processors, the collector included: on a busy machine less than it took of
// time.
func processor(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	begin := used()
	return func() { b.ReportMetric(float64(used()-begin)/float64(b.N), "cpu-ns/op") }
}

// BenchmarkRule is one partition in memory whose events select one record of a rule each, and no other. The bare loop decodes the same
// events, and reads and writes one record in a map for each.
func BenchmarkRule(b *testing.B) {
	const subjects = 10_000
	name := func(i int) (id, subject string) {
		return fmt.Sprintf("e-%d", i), fmt.Sprintf("4915%08d", i*7919%subjects)
	}
	b.Run("engine", func(b *testing.B) {
		f := &rules{selects: selecting(fold.Rule{Code: "usage-80", Size: ruledSize})}
		d := f.works(b)
		d.Limits = func(c *fold.OwnerConfig[account, int64]) { c.Batch, c.Cache = 1500, 100_000 }
		for i := range b.N {
			id, subject := name(i)
			d.Accept(usage(id, subject, 0, noon))
		}
		b.ReportAllocs()
		b.ResetTimer()
		defer processor(b)()
		d.Work()
	})
	b.Run("bare", func(b *testing.B) {
		values := make([][]byte, b.N)
		for i := range b.N {
			r, err := usage(fmt.Sprintf("e-%d", i), fmt.Sprintf("4915%08d", i*7919%subjects), 0, noon).Record("log")
			if err != nil {
				b.Fatal(err)
			}
			values[i] = r.Value
		}
		f, records := &ruled{}, make(map[string][]byte)
		b.ReportAllocs()
		b.ResetTimer()
		defer processor(b)()
		for _, value := range values {
			e, err := event.Decode(value)
			if err != nil {
				b.Fatal(err)
			}
			key := e.Key() + "\x00usage-80\x00"
			var n account
			if raw, ok := records[key]; ok {
				if n, err = f.Decode(raw); err != nil {
					b.Fatal(err)
				}
			}
			n.events++
			records[key] = f.Append(nil, n)
		}
	})
}
