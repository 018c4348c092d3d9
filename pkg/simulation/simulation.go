// Package simulation sets how many random histories the simulation tests of all packages make, and runs them: each history
// is made from a seed, and the same seed makes the same history again.
//
// TOLLGATE_TEST_HISTORIES is the budget: short, test (where it is not set) or long, which begins no more histories of a
// test after two minutes, or TOLLGATE_TEST_FOR, and draws the seeds of those in memory. TOLLGATE_TEST_SEED runs one seed only.
package simulation

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// Histories is how many histories a test makes, by budget.
type Histories struct{ Short, Test, Long int }

// Count is how many histories to make. Under the race detector, which makes each some eight times as long, it is a sixth
// of that, at least one.
func (h Histories) Count(t testing.TB) int {
	t.Helper()
	n := 0
	switch budget := os.Getenv("TOLLGATE_TEST_HISTORIES"); budget {
	case "short":
		n = h.Short
	case "", "test":
		n = h.Test
	case "long":
		n = h.Long
	default:
		t.Fatalf("TOLLGATE_TEST_HISTORIES is %q: it must be short, test or long", budget)
	}
	if Raced && n > 0 {
		return max(n/6, 1)
	}
	return n
}

// longest is how long a test begins histories under the budget long, 0 under another.
func longest(t testing.TB) time.Duration {
	t.Helper()
	if os.Getenv("TOLLGATE_TEST_HISTORIES") != "long" {
		return 0
	}
	text := os.Getenv("TOLLGATE_TEST_FOR")
	if text == "" {
		return 2 * time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("TOLLGATE_TEST_FOR is %q: it must be a duration above 0, such as 10m", text)
	}
	return d
}

// limit is when no more histories begin.
type limit struct {
	began time.Time
	after time.Duration // 0: never
}

func limitOf(t testing.TB) limit { return limit{time.Now(), longest(t)} }

func (l limit) reached() bool { return l.after > 0 && time.Since(l.began) >= l.after }

// firstOf is the first seed: others each time under the budget long.
func (l limit) firstOf(first uint64) uint64 {
	if l.after > 0 {
		return first + rand.Uint64N(1<<40)
	}
	return first
}

// Only is the one seed to run, ok where TOLLGATE_TEST_SEED names one.
func Only(t testing.TB) (seed uint64, ok bool) {
	t.Helper()
	text := os.Getenv("TOLLGATE_TEST_SEED")
	if text == "" {
		return 0, false
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("TOLLGATE_TEST_SEED: %v", err)
	}
	return seed, true
}

// parallel is how many histories run side by side.
const parallel = 2

// Run checks the histories of seeds 1, 2, … in two parallel subtests, up to the first that fails.
func Run(t *testing.T, h Histories, check func(t *testing.T, seed uint64)) {
	t.Helper()
	if seed, ok := Only(t); ok {
		one(t, seed, check)
		return
	}
	n, end := uint64(h.Count(t)), limitOf(t)
	first := end.firstOf(1)
	var made atomic.Int64
	for run := range uint64(parallel) {
		t.Run(fmt.Sprintf("run-%d", run+1), func(t *testing.T) {
			t.Parallel()
			for i := run; i < n && !t.Failed() && !end.reached(); i += parallel {
				one(t, first+i, check)
				made.Add(1)
			}
		})
	}
	t.Cleanup(func() { t.Logf("%d of %d histories, seeds from %d on", made.Load(), n, first) })
}

// Each checks n histories in a parallel subtest each, with the seeds from first on: for histories on servers, which wait
// more than they compute. i counts them from 0.
func Each(t *testing.T, n int, first uint64, check func(t *testing.T, i int, seed uint64)) {
	t.Helper()
	only, ok := Only(t)
	end := limitOf(t)
	for i := range n {
		seed := first + uint64(i)
		if ok && seed != only {
			continue
		}
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			if end.reached() {
				t.Skip("the time of this test is over")
			}
			one(t, seed, func(t *testing.T, seed uint64) { check(t, i, seed) })
		})
	}
}

// one logs how to run a seed again where it fails.
func one(t *testing.T, seed uint64, check func(t *testing.T, seed uint64)) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d: run it again with TOLLGATE_TEST_SEED=%d go test -run '^%s$'", seed, seed, root(t.Name()))
		}
	}()
	check(t, seed)
}

// root is the name of the test that a subtest belongs to.
func root(name string) string {
	for i, c := range name {
		if c == '/' {
			return name[:i]
		}
	}
	return name
}
