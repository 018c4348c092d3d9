package foldtest_test

import (
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
)

// A record that is deleted between a snapshot's beginning and its reading would otherwise be nowhere, and the events
// between would be decided again on nothing.
func TestSnapshot_HasTombstonesOfRecordsDeletedMeanwhile(t *testing.T) {
	d := partition(t)
	decided := map[string]int{}
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.Batch, c.SnapshotEvents = 1, 2
		c.Fold = &watchful{Fold: c.Fold, decided: decided}
	}
	d.Accept(usage("1", "44", 50, d.Now))
	d.Accept(usage("2", "44", amountDeletes, d.Now)) // the snapshot begins before, and comes to the record behind
	d.Work()
	tombstones := func() (n int) {
		keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "r:", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		_, values, err := d.Store().Peek(t.Context(), d.Partition(), keys)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if fold.Gone(v) {
				n++
			}
		}
		return n
	}
	if n := tombstones(); n != 0 {
		t.Fatalf("%d tombstones stand where nothing was restored", n)
	}
	written := 0
	for _, r := range d.Written() {
		for _, e := range r.GetEntries().GetEntries() {
			if fold.Gone(e.GetValue()) && e.GetKey() == "r:acme/44" {
				written++
			}
		}
	}
	if written == 0 {
		t.Fatal("no snapshot shows that the record was deleted while it was read")
	}
	d.Restore(nil)
	clear(decided)
	d.Work()
	if len(decided) > 0 || tombstones() != 1 {
		t.Fatalf("decided again after the restore: %v; %d tombstones stand", decided, tombstones())
	}
	d.Accept(usage("3", "44", 30, d.Now), usage("4", "44", amountDeletes, d.Now), usage("5", "45", 1, d.Now), usage("6", "45", 1, d.Now))
	d.Work()
	if n := tombstones(); n != 0 || decided["3"] != 1 || decided["4"] != 1 {
		t.Fatalf("%d tombstones are left, decided %v", n, decided)
	}
	if _, ok := d.Body("acme/44"); ok {
		t.Fatal("the record stands")
	}
}

func TestTombstone_DeletedByNextSnapshot(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Batch, c.SnapshotEvents = 1, 2 }
	d.Accept(usage("1", "44", 50, d.Now), usage("2", "44", amountDeletes, d.Now))
	d.Work()
	d.Restore(nil)
	d.Work()
	d.Accept(usage("3", "45", 1, d.Now), usage("4", "45", 1, d.Now), usage("5", "45", 1, d.Now))
	d.Work()
	keys, _, err := d.Store().Scan(t.Context(), d.Partition(), "r:", "", 100)
	if err != nil || len(keys) != 1 {
		t.Fatalf("%q stand, %v", keys, err)
	}
}

// watchful counts what a fold is asked to decide.
type watchful struct {
	fold.Fold[count, int64]
	decided map[string]int
}

func (w *watchful) Apply(s *fold.Subject[count], e *event.Event) {
	w.decided[e.ID]++
	w.Fold.Apply(s, e)
}
