package foldtest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

func TestGap_IsAnIncidentUntilAccepted(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 60, d.Now), usage("2", "44", 30, d.Now))
	d.Work()
	at := d.Watermark().Offset
	if d.Worked != at {
		t.Errorf("worked to %d of %d", d.Worked, at)
	}
	d.Accept(usage("3", "44", 5, d.Now), usage("4", "44", 6, d.Now), usage("5", "44", 7, d.Now))
	d.Log().Trim(at + 2)
	if err := d.Run(); !errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("run: %v", err)
	}
	why := d.Incidents[fold.IncidentGap]
	if why == nil || !strings.Contains(why.Error(), fmt.Sprintf("--from %d --to %d", at, at+2)) {
		t.Fatalf("incident: %v", why)
	}
	if n, _ := d.Body("acme/44"); n.spent != 90 {
		t.Fatalf("state moved without consent: %+v", n)
	}
	d.Accept(fold.NewGap(&controlv1.Gap{Domain: "other", FromOffset: at, ToOffset: at + 2}, d.Now))
	if err := d.Run(); !errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("another domain's gap was taken: %v", err)
	}
	// It was read to its end meanwhile, for a person's word; nothing of it was worked, and its lag shows it.
	if d.Worked != at {
		t.Errorf("worked to %d, the gap begins at %d", d.Worked, at)
	}
	d.Accept(fold.NewGap(&controlv1.Gap{Domain: d.Partition().Domain, FromOffset: at, ToOffset: at + 2, Who: "ops", Why: "disk"}, d.Now))
	d.Work()
	if n, _ := d.Body("acme/44"); n.spent != 97 {
		t.Fatalf("after the gap %+v; want 90 and the one usage that is left", n)
	}
	if len(d.Incidents) > 0 {
		t.Fatalf("incidents stand: %v", d.Incidents)
	}
}

func TestLog_RecreatedIsAnIncident(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 60, d.Now), usage("2", "44", 30, d.Now))
	d.Work()
	again := partition(t) // another log, of the same length
	again.Accept(usage("8", "44", 1, d.Now), usage("9", "44", 1, d.Now))
	again.Work()
	dump := d.Dump().(memstate.Dump)
	again.Restore(dump)
	if err := again.Run(); !errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("run: %v", err)
	}
	if again.Incidents[fold.IncidentRecreated] == nil {
		t.Fatalf("incidents: %v", again.Incidents)
	}
	at := d.Watermark().Offset
	again.Accept(fold.NewGap(&controlv1.Gap{Domain: d.Partition().Domain, FromOffset: at, Who: "ops", Why: "topic was deleted"}, d.Now))
	again.Work()
	if n, _ := again.Body("acme/44"); n.spent != 92 {
		t.Fatalf("after the gap %+v; want the 90 of the old log and 2 of the new", n)
	}
}

// A broker that comes back reports an end that is too low until it has found the whole log again.
func TestLog_EndThatComesBackIsNoIncident(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 60, d.Now), usage("2", "44", 30, d.Now))
	d.Work()
	asked := 0
	d.Ends = func(end int64) int64 {
		if asked++; asked <= 2 {
			return end - 1
		}
		return end
	}
	if err := d.Run(); err == nil || errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("run: %v; want an error, after which the partition is opened again", err)
	}
	if d.Incidents[fold.IncidentRecreated] == nil {
		t.Fatalf("incidents: %v", d.Incidents)
	}
	d.Accept(usage("3", "44", 5, d.Now))
	d.Work()
	if n, _ := d.Body("acme/44"); n.spent != 95 {
		t.Fatalf("after the log came back %+v; want 95", n)
	}
	if len(d.Incidents) > 0 {
		t.Fatalf("incidents stand: %v", d.Incidents)
	}
}

func TestLevel_HigherIsRefused(t *testing.T) {
	d := partition(t)
	e := &event.Event{ID: "9", Source: "test", Type: event.TypeRevision, Time: d.Now, Data: &controlv1.Revision{Revision: 9, Level: fold.Level + 1}}
	d.Accept(e, usage("1", "44", 60, d.Now))
	d.Work()
	if err := d.Incidents[fold.IncidentLevel]; err == nil || !strings.Contains(err.Error(), fmt.Sprint("level ", fold.Level+1)) {
		t.Fatalf("incident %v", err)
	}
	if _, ok := d.Body("acme/44"); ok {
		t.Fatal("went on behind a level it does not know")
	}
}

func TestLog_RecreatedDisownsTheGroupOffset(t *testing.T) {
	d := partition(t)
	for i := range 20 {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
	}
	d.Work()
	at, dump := d.Watermark().Offset, d.Dump()
	again := partition(t) // the log lost its tail; the group did not
	again.Restore(dump)
	again.Committed = d.Committed
	if err := again.Run(); !errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("run: %v", err)
	}
	_, end := again.Log().Range()
	again.Accept(fold.NewGap(&controlv1.Gap{Domain: d.Partition().Domain, FromOffset: at, ToOffset: end, Who: "ops", Why: "power"}, d.Now))
	again.Work()
	again.Accept(usage("new", "44", 90, d.Now))
	again.Work()
	if got, want := published(t, again.Published()), "reached at 12:00:00 limit 100"; got != want {
		t.Fatalf("published %q; want %s", got, want)
	}
}

func TestGap_GrownNeedsAnotherAcceptance(t *testing.T) {
	d := partition(t)
	for i := range 10 {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
	}
	d.Log().Trim(2)
	d.Accept(fold.NewGap(&controlv1.Gap{Domain: d.Partition().Domain, FromOffset: 0, ToOffset: 2, Who: "ops", Why: "disk"}, d.Now))
	d.Restore(nil)
	d.Committed = 0
	d.Work()
	d.Log().Trim(5)
	d.Restore(nil)
	if err := d.Run(); !errors.Is(err, stream.ErrRevoked) {
		t.Fatalf("run: %v", err)
	}
	if d.Incidents[fold.IncidentGap] == nil {
		t.Fatal("a loss of more was accepted by the word for less")
	}
}

// What another version wrote bears other ids: it is refused with advice what to do, and nothing of it is published.
func TestLevel_OlderIsRefused(t *testing.T) {
	d := partition(t)
	e := &event.Event{ID: "9", Source: "test", Type: event.TypeRevision, Time: d.Now, Data: &controlv1.Revision{Revision: 9, Level: fold.Level - 1}}
	d.Accept(e, usage("1", "44", 60, d.Now))
	err := d.Run()
	if _, other := errors.AsType[*state.FormatError](err); !other || !strings.Contains(err.Error(), "begin anew") {
		t.Fatalf("run: %v", err)
	}
	if d.Incidents[fold.IncidentFormat] == nil {
		t.Fatal("no incident")
	}
	if _, ok := d.Body("acme/44"); ok {
		t.Fatal("went on in a log of other ids")
	}
}

// A store that need not read its log again, and a snapshot from which one is restored, are refused too: what is published from there on
// has other ids than what a binary of before published and did not commit.
func TestLevel_StoreAndSnapshotOfAnOlderAreRefused(t *testing.T) {
	refused := func(d *foldtest.Partition[count, int64], what string) {
		t.Helper()
		before := len(d.Published())
		err := d.Run()
		if _, other := errors.AsType[*state.FormatError](err); !other || !strings.Contains(err.Error(), what) || d.Incidents[fold.IncidentFormat] == nil {
			t.Errorf("run of %s: %v, incidents %v", what, err, d.Incidents)
		}
		if n := len(d.Published()); n != before {
			t.Errorf("%s of a lower level: %d records were published", what, n-before)
		}
	}
	d := partition(t)
	d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.SnapshotEvents = 3 }
	for i := range 50 {
		d.Accept(usage(fmt.Sprint(i), "44", 1, d.Now))
		d.Now = d.Now.Add(time.Second)
	}
	d.Work()
	w, err := d.Store().Open(t.Context(), d.Partition(), "")
	if err != nil {
		t.Fatal(err)
	}
	older := w
	older.Level--
	if err := d.Store().Commit(t.Context(), d.Partition(), w, older, state.Commit{}); err != nil {
		t.Fatal(err)
	}
	d.Accept(usage("next", "44", amountReminds, d.Now))
	refused(d, "the state")

	d.Log().Trim(d.Oldest())
	d.Restore(nil)
	for _, r := range d.Written() {
		if begin := r.GetBegin(); begin != nil {
			w, err := state.DecodeWatermark(begin.GetWatermark())
			if err != nil {
				t.Fatal(err)
			}
			w.Level--
			begin.Watermark = w.Encode()
		}
	}
	refused(d, "the snapshot")
}
