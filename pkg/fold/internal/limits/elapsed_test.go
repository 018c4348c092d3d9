package limits

import (
	"testing"
	"time"
)

// What was passed over without a commit, and a watermark's renewal, once waited until a clock set back had caught up.
func TestElapsed_OverWhereTheClockWasSetBack(t *testing.T) {
	noon := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		now, since time.Time
		want       bool
	}{
		"not yet":                   {noon.Add(99 * time.Millisecond), noon, false},
		"just over":                 {noon.Add(100 * time.Millisecond), noon, true},
		"the clock was set back":    {noon.Add(-time.Hour), noon, true},
		"the clock was set forward": {noon.Add(time.Hour), noon, true},
		"never begun":               {noon, time.Time{}, true},
	} {
		if got := Elapsed(tc.now, tc.since, 100*time.Millisecond); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	// With their monotonic parts the two differ by what has passed, whatever the wall clock shows.
	began := time.Now()
	if Elapsed(began.Add(50*time.Millisecond), began, 100*time.Millisecond) {
		t.Error("over too soon")
	}
}
