package simulation

import (
	"slices"
	"sync"
	"testing"
)

func TestRun_MakesAsManyHistoriesAsTheBudget(t *testing.T) {
	if raced {
		t.Skip("the race detector makes fewer")
	}
	t.Setenv("TOLLGATE_TEST_SEED", "")
	for budget, want := range map[string][]uint64{"short": {1, 2}, "": {1, 2, 3}, "test": {1, 2, 3}, "long": {1, 2, 3, 4, 5}} {
		t.Setenv("TOLLGATE_TEST_HISTORIES", budget)
		var mu sync.Mutex
		var seeds []uint64
		t.Run("budget", func(t *testing.T) {
			Run(t, Histories{Short: 2, Test: 3, Long: 5}, func(_ *testing.T, seed uint64) {
				mu.Lock()
				defer mu.Unlock()
				seeds = append(seeds, seed)
			})
		})
		slices.Sort(seeds)
		if !slices.Equal(seeds, want) {
			t.Errorf("%q ran seeds %d, want %d", budget, seeds, want)
		}
	}
}

func TestRun_RunsOneSeedWhereOneIsNamed(t *testing.T) {
	t.Setenv("TOLLGATE_TEST_SEED", "77")
	var seeds []uint64
	Run(t, Histories{Short: 2, Test: 3, Long: 5}, func(_ *testing.T, seed uint64) { seeds = append(seeds, seed) })
	if !slices.Equal(seeds, []uint64{77}) {
		t.Errorf("ran seeds %d", seeds)
	}
}
