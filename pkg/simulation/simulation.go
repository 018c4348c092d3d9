// Package simulation sets how many random histories the simulation tests of all packages make, and runs them: each history
// is made from a seed, and the same seed makes the same history again.
//
// TOLLGATE_TEST_HISTORIES is the budget: short, test (where it is not set) or long. TOLLGATE_TEST_SEED runs one seed only.
package simulation

import (
	"fmt"
	"os"
	"strconv"
	"testing"
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
	if raced && n > 0 {
		return max(n/6, 1)
	}
	return n
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
	n := uint64(h.Count(t))
	for run := range uint64(parallel) {
		t.Run(fmt.Sprintf("run-%d", run+1), func(t *testing.T) {
			t.Parallel()
			for seed := 1 + run; seed <= n && !t.Failed(); seed += parallel {
				one(t, seed, check)
			}
		})
	}
}

// Each checks n histories in a parallel subtest each, with the seeds from first on: for histories on servers, which wait
// more than they compute. i counts them from 0.
func Each(t *testing.T, n int, first uint64, check func(t *testing.T, i int, seed uint64)) {
	t.Helper()
	only, ok := Only(t)
	for i := range n {
		seed := first + uint64(i)
		if ok && seed != only {
			continue
		}
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
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
