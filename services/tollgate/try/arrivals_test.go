package try

import (
	"path/filepath"
	"testing"
)

func TestArrivals_OnlyWhatWasAcknowledgedIsARepeatAlsoInALaterRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.jsonl")
	for run, want := range [][]bool{{false, false, true}, {true, true, true}} {
		a, err := openArrivals(path, acknowledged)
		if err != nil {
			t.Fatal(err)
		}
		for i, verified := range []bool{false, true, true} {
			got := received{ID: "dlv_1", Verified: verified}
			if err := a.note(&got, &got.Repeat); err != nil {
				t.Fatal(err)
			}
			if want := want[i] && verified; got.Repeat != want {
				t.Errorf("run %d: arrival %d is a repeat: %t", run, i, got.Repeat)
			}
		}
		if err := a.close(); err != nil {
			t.Fatal(err)
		}
	}
	// Of the run before only a webhook that was not verified is known.
	a, err := openArrivals(filepath.Join(t.TempDir(), "webhooks.jsonl"), acknowledged)
	if err != nil {
		t.Fatal(err)
	}
	refused := received{ID: "dlv_2"}
	if err := a.note(&refused, &refused.Repeat); err != nil {
		t.Fatal(err)
	}
	_ = a.close()
	if a, err = openArrivals(a.file.Name(), acknowledged); err != nil {
		t.Fatal(err)
	}
	verified := received{ID: "dlv_2", Verified: true}
	if err := a.note(&verified, &verified.Repeat); err != nil || verified.Repeat {
		t.Errorf("the first that was acknowledged is a repeat: %t, %v", verified.Repeat, err)
	}
	_ = a.close()
}
