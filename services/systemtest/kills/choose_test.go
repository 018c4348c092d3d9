package kills

import (
	"context"
	"testing"
)

func TestChoose_MakesEachOnceBeforeAnyAgain(t *testing.T) {
	for seed := range uint64(100) {
		k, made := New(seed), [4]int{}
		var choices []Choice
		for i := range made {
			choices = append(choices, Choice{Weight: 1 + 30*i, Do: func(context.Context) error { made[i]++; return nil }})
		}
		for n := range 400 {
			if n == len(made) && made != [4]int{1, 1, 1, 1} {
				t.Fatalf("seed %d: %v after %d", seed, made, n)
			}
			if err := k.Choose(t.Context(), choices...); err != nil {
				t.Fatal(err)
			}
		}
		if made[0] > 20 || made[3] < 100 {
			t.Errorf("seed %d: %v, by weights of 1 to 91", seed, made)
		}
	}
}
