package foldtest_test

import (
	"fmt"
	"testing"

	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/state"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// What came under a traceparent is shown once it is published, with what followed from it; while the state is rebuilt nothing is.
func TestApplied_ShowsWhatCameUnderATraceparent(t *testing.T) {
	d := partition(t)
	var shown []string
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.Applied = func(a fold.Applied) {
			if a.Topic == "" || a.Published.Before(a.Begun) || a.Forwarded {
				t.Errorf("shown: %+v", a)
			}
			shown = append(shown, fmt.Sprintf("%s under %.2s: %d", a.Event.ID, a.Event.Trace, a.Outcomes))
		}
	}
	with := usage("1", "44", 150, d.Now)
	with.Trace = traceparent
	d.Accept(with, usage("2", "44", 1, d.Now))
	d.Work()
	if got, want := fmt.Sprint(shown), "[1 under 00: 1]"; got != want {
		t.Fatalf("shown: %s, want %s", got, want)
	}
	d.Restore(nil)
	d.Work()
	if d.Watermark().Status != state.Ready || len(shown) != 1 {
		t.Errorf("after a rebuild: %v, %s", shown, d.Watermark().Status)
	}
}
