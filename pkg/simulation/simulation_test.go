package simulation

import (
	"slices"
	"sync"
	"testing"
)

func TestRun_MakesAsManyHistoriesAsTheBudget(t *testing.T) {
	if Raced {
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
		if budget == "long" && len(seeds) > 0 { // drawn
			for i, first := 0, seeds[0]; i < len(seeds); i++ {
				seeds[i] -= first - 1
			}
		}
		if !slices.Equal(seeds, want) {
			t.Errorf("%q ran seeds %d, want %d", budget, seeds, want)
		}
	}
}

func TestRun_EndsOnceItsTimeIsOver(t *testing.T) {
	t.Setenv("TOLLGATE_TEST_SEED", "")
	t.Setenv("TOLLGATE_TEST_HISTORIES", "long")
	t.Setenv("TOLLGATE_TEST_FOR", "1ns")
	t.Run("", func(t *testing.T) {
		Run(t, Histories{Long: 5}, func(t *testing.T, seed uint64) { t.Errorf("seed %d began", seed) })
		Each(t, 5, 1, func(t *testing.T, _ int, seed uint64) { t.Errorf("seed %d began", seed) })
	})
}

func TestRun_RunsOneSeedWhereOneIsNamed(t *testing.T) {
	t.Setenv("TOLLGATE_TEST_SEED", "77")
	var seeds []uint64
	Run(t, Histories{Short: 2, Test: 3, Long: 5}, func(_ *testing.T, seed uint64) { seeds = append(seeds, seed) })
	if !slices.Equal(seeds, []uint64{77}) {
		t.Errorf("ran seeds %d", seeds)
	}
}
