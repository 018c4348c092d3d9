package foldtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/internal/control"
	"github.com/tollgate/tollgate/pkg/state"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestSnapshot_RestoresLostStoreOfTrimmedLog(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.SnapshotEvents = 3 }
	for i := range 50 {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
		d.Now = d.Now.Add(time.Second)
	}
	d.Work()
	if d.Oldest() == 0 {
		t.Fatal("no snapshot was completed")
	}
	d.Log().Trim(d.Oldest())
	d.Restore(nil)
	d.Accept(usage("7", "44", 1, d.Now)) // one that was counted before the snapshot
	d.Work()
	if n, _ := d.Body("acme/44"); n.spent != 50 || n.events != 50 {
		t.Fatalf("after the rebuild %+v; want 50 of each", n)
	}
}

func TestSnapshot_EndsOnceThePublishedOffsetPassedWhatItRead(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.SnapshotEvents = 1
		c.Log = &slowPublishedOffset{Log: c.Log, refuse: 6}
	}
	d.Accept(usage("1", "44", 150, d.Now))
	read := d.Watermark().Offset + 1
	for range 3 {
		d.Work()
	}
	ends := 0
	for _, r := range d.Written() {
		if end := r.GetEnd(); end != nil {
			if ends++; end.GetPublishedOffset() < read {
				t.Fatalf("a snapshot read at offset %d ended with published offset %d", read, end.GetPublishedOffset())
			}
		}
	}
	if ends == 0 {
		t.Fatal("no snapshot ended")
	}
}

func TestSnapshot_EmptiedStoreLeavesNoEmptySnapshot(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 150, d.Now))
	d.Work()
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.SnapshotEvents = 1
		c.Store = &emptiedByWalk{Store: c.Store, empty: func() { d.Restore(nil) }}
	}
	if err := d.Run(); !errors.Is(err, state.ErrFenced) {
		t.Fatalf("run: %v", err)
	}
	for _, r := range d.Written() {
		if r.GetEnd() != nil {
			t.Fatal("a snapshot without the records that the store has lost was ended")
		}
	}
}

// A timer that is due by the time of the event that sets it fires behind that event, also where a snapshot has its record
// and the log goes on from before: a revision there has the same time.
func TestSnapshot_HoldsNoTimerThatLogTimeHasReached(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 1, d.Now), usage("2", "44", 1, d.Now))
	d.Work()
	d.Accept(usage("3", "44", 1, d.Now), control.NewRevision("other", state.Revision{History: 0xfeed, Number: 2}, fold.Level, d.Now), usage("4", "44", amountReminds, d.Now), usage("5", "45", 1, d.Now))
	d.Newest = 2
	began := int64(0)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.Batch, c.SnapshotEvents = 1, d.Watermark().Offset
		c.Store = &walkInSteps{Store: c.Store, steps: 2}
	}
	d.Work()
	for range 2 { // for the end mark
		d.Now = d.Now.Add(time.Second)
		d.Work()
	}
	want, _ := d.Body("acme/44")
	for _, r := range d.Written() {
		if b := r.GetBegin(); b != nil {
			w, err := state.DecodeWatermark(b.GetWatermark())
			if err != nil {
				t.Fatal(err)
			}
			began = w.Offset
		}
	}
	if began == 0 || want.revision != 2 {
		t.Fatalf("the snapshot begins at %d; stored is %+v", began, want)
	}
	d.Log().Trim(began)
	d.Restore(nil)
	d.Work()
	if got, _ := d.Body("acme/44"); got != want {
		t.Fatalf("after the rebuild from %d %+v; want %+v", began, got, want)
	}
}

// walkInSteps finds nothing in the first steps of a walk.
type walkInSteps struct {
	state.Store
	steps int
}

func (s *walkInSteps) Walk(ctx context.Context, p state.Partition, prefix, cursor string, count int) ([]string, string, error) {
	if prefix != "" && s.steps > 0 {
		s.steps--
		return nil, "0", nil
	}
	if cursor == "0" {
		cursor = ""
	}
	return s.Store.Walk(ctx, p, prefix, cursor, count)
}

// emptiedByWalk loses everything before it is looked through for records.
type emptiedByWalk struct {
	state.Store
	empty func()
}

func (s *emptiedByWalk) Walk(ctx context.Context, p state.Partition, prefix, cursor string, count int) ([]string, string, error) {
	if prefix != "" {
		s.empty()
	}
	return s.Store.Walk(ctx, p, prefix, cursor, count)
}

// slowPublishedOffset is a group whose offset can't be moved for a while.
type slowPublishedOffset struct {
	fold.Log
	refuse int
}

func (s *slowPublishedOffset) CommitSoon(offset int64) {
	if s.refuse--; s.refuse < 0 {
		s.Log.CommitSoon(offset)
	}
}

func TestRetention_EndangeredDataIsAnIncident(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.LogRetention = 24 * time.Hour
	}
	d.Accept(usage("1", "44", 60, d.Now), usage("2", "44", 1, d.Now))
	d.Now = noon.Add(13 * time.Hour)
	limits := d.Limits
	var old error
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		limits(c)
		c.Batch = 1
		c.Log = watched{c.Log, func(code string, err error) {
			if code == fold.IncidentBehind {
				old = err
			}
		}}
	}
	d.Work()
	if old == nil || !strings.Contains(old.Error(), "13h0m0s old") {
		t.Fatalf("incident: %v", old)
	}
	if len(d.Incidents) > 0 {
		t.Fatalf("incidents stand after the log was worked: %v", d.Incidents)
	}
}

func TestSnapshot_WrittenAgainBeforeRetentionDeletesIt(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		c.SnapshotEvery, c.SnapshotRetention = 15*time.Minute, 24*time.Hour
	}
	ends := func() (n int) {
		for _, r := range d.Written() {
			if r.GetEnd() != nil {
				n++
			}
		}
		return n
	}
	d.Now = noon.Add(20 * time.Minute)
	d.Work()
	if ends() != 1 {
		t.Fatalf("%d snapshots after 20 minutes", ends())
	}
	for range 5 { // reopened more often than a snapshot is due
		d.Now = d.Now.Add(time.Hour)
		d.Work()
	}
	if ends() != 1 {
		t.Fatalf("%d snapshots with nothing new", ends())
	}
	d.Now = noon.Add(7 * time.Hour)
	d.Work()
	if ends() != 2 {
		t.Fatalf("%d snapshots after a quarter of their retention", ends())
	}
}

func TestSnapshot_IncompleteIsNotRestored(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.SnapshotEvents = 3 }
	for i := range 50 {
		d.Accept(usage(fmt.Sprint(i), fmt.Sprintf("44%d", i), 1, d.Now))
	}
	d.Work()
	d.Log().Trim(d.Oldest())
	d.DropEntries()
	d.Restore(nil)
	if err := d.Run(); err == nil || !strings.Contains(err.Error(), "entries") {
		t.Fatalf("run: %v", err)
	}
	if d.Incidents[fold.IncidentRecord] == nil {
		t.Fatal("no incident")
	}
	if w := d.Watermark(); w.Status == state.Ready {
		t.Fatal("half a snapshot is taken for the state")
	}
}

func TestSnapshot_HoldsSideRecords(t *testing.T) {
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.SnapshotEvents = 3 }
	d.Accept(usage("note", "44", amountNotes, d.Now))
	for i := range 50 {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
	}
	d.Work()
	d.Log().Trim(d.Oldest())
	d.Restore(nil)
	d.Accept(usage("last", "44", 60, d.Now))
	d.Work()
	all := d.Published()
	e, err := event.Decode(all[len(all)-1].Value)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := e.Data.(*eventv1.Safeguard); !ok || s.GetLanguage() != "note" {
		t.Fatalf("after the rebuild %v", e.Data)
	}
}
