package statetest_test

import (
	"fmt"
	"testing"

	"github.com/tollgate/tollgate/pkg/state"
)

// BenchmarkOwner is one partition in memory: what the engine itself costs an
// event, decoding and a small fold included, without servers.
func BenchmarkOwner(b *testing.B) {
	d := drive(b)
	d.Limits = func(c *state.OwnerConfig[count, int64]) { c.Batch, c.Cache = 1500, 100_000 }
	const subjects = 10_000
	for i := range b.N {
		d.Accept(usage(fmt.Sprintf("e-%d", i), fmt.Sprintf("4915%08d", i*7919%subjects), 0, noon))
	}
	b.ReportAllocs()
	b.ResetTimer()
	d.Work()
}
