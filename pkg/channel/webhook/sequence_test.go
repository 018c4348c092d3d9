package webhook

import (
	"math"
	"testing"
)

// "10" came before "9" for whoever ordered the attribute as its extension of CloudEvents asks.
func TestSequencesAreInOrderAsTexts(t *testing.T) {
	for _, n := range []int64{1, 9, 10, 99, 100, math.MaxInt32, math.MaxInt64 - 1} {
		if a, b := sequence(n), sequence(n+1); a >= b {
			t.Errorf("%s is not before %s", a, b)
		}
	}
}
