package figure

import (
	"strings"
	"testing"
)

func TestBroken_NamesWhatMustNeverHappenAndNoMissedGoal(t *testing.T) {
	slow := Figure{Name: "soak.hostile.neighbour_wait_ms", Value: 9000, Goal: 2000, Better: "lower"}
	for _, name := range []string{"soak.safeguard.lost", "soak.safeguard.doubled", "soak.safeguard.out_of_order"} {
		if err := Broken(slow, Figure{Name: name}); err != nil {
			t.Errorf("%s is 0: %v", name, err)
		}
		if err := Broken(slow, Figure{Name: name, Value: 1}); err == nil || !strings.Contains(err.Error(), name+" is 1") || strings.Contains(err.Error(), slow.Name) {
			t.Errorf("%s is 1: %v", name, err)
		}
	}
}
