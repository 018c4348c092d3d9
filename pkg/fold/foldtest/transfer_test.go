package foldtest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestSimulation_Transfers(t *testing.T) {
	t.Cleanup(func() {
		t.Logf("%d moves", moved.Load())
		if _, one := simulation.Only(t); moved.Load() == 0 && !one {
			t.Error("no subject moved")
		}
	})
	simulation.Run(t, movesInMemory, func(t *testing.T, seed uint64) {
		checkRoamers(t, roamers(stepsInMemory), seed, foldtest.NewMemory(), foldtest.NewMemory())
		checkRoamers(t, roamers(stepsInMemory), seed, foldtest.NewMemory())
	})
}

func TestSimulation_TransfersOnServers(t *testing.T) {
	servers, histories := newServers(t, movesOnServers, simulation.Histories{Short: 1, Test: 4, Long: 4}, 2)
	simulation.Each(t, histories, 2_000_000, func(t *testing.T, i int, seed uint64) {
		checkRoamers(t, roamers(stepsOnServers), seed, servers.Backend(t, 2*i), servers.Backend(t, 2*i+1))
	})
}

func roamerPartition(t testing.TB) *foldtest.Partition[roaming, int64] {
	l := roamers(0)
	d := foldtest.NewPartition(t, noon, l.NewFold, l.Options, func(revision int64) int64 { return 100 * revision })
	d.Work()
	return d
}

func moves(id, from, to string, at time.Time) *event.Event {
	return &event.Event{ID: id, Source: "test", Type: "subscriber.msisdn_changed", Tenant: "acme", Subject: from, Time: at,
		Data: &eventv1.SubscriberMsisdnChanged{NewMsisdn: to}}
}

// transfers are the system.transfer records in a log.
func transfers(t testing.TB, d *foldtest.Partition[roaming, int64]) (out []stream.Record) {
	t.Helper()
	_, end := d.Log().Range()
	all, err := d.Log().Read(0, int(end))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if e, err := event.Decode(r.Value); err == nil && e.Type == event.TypeTransfer {
			out = append(out, r)
		}
	}
	return out
}

func TestTransfer_KeepsRememberedIDs(t *testing.T) {
	d := roamerPartition(t)
	const n = 1200 // more ids than a subject keeps
	for i := range n {
		d.Accept(usage(fmt.Sprint(i), "441", 1, d.Now))
	}
	d.Accept(moves("move", "441", "442", d.Now))
	d.Work()
	found := transfers(t, d)
	if len(found) != 1 {
		t.Fatalf("%d transfers", len(found))
	}
	if size := len(found[0].Value); size > 16<<10 {
		t.Errorf("a record with all ids it may have takes %d bytes on its way", size)
	}
	before, _ := d.Body("acme/442")
	if before.counted != n {
		t.Fatalf("arrived with %d counted events", before.counted)
	}
	for i := n - 900; i < n; i++ { // late repeats, to either number
		// The tombstone knows its own; under the new number the same id is another event's.
		d.Accept(usage(fmt.Sprint(i), "441", 1, noon), usage(fmt.Sprint(i), "442", 1, noon))
	}
	d.Accept(usage("late", "441", 1, d.Now), usage("new", "442", 1, d.Now))
	d.Accept(usage("late", "441", 1, d.Now))
	d.Work()
	if got, _ := d.Body("acme/442"); got.counted != n+900+2 {
		t.Errorf("counted %d; want those under the new number, the one that came late and the new one", got.counted-before.counted)
	}
	if tombstone, ok := d.Body("acme/441"); !ok || tombstone.to != "442" {
		t.Errorf("under the old number is %+v", tombstone)
	}
}

func TestTransfer_RepeatDoesNothing(t *testing.T) {
	d := roamerPartition(t)
	d.Accept(usage("1", "441", 50, d.Now), moves("move", "441", "442", d.Now))
	d.Work()
	found := transfers(t, d)
	d.Accept(usage("2", "442", 5, d.Now))
	for _, away := range []time.Duration{time.Minute, 30 * time.Hour, 80 * time.Hour} {
		d.Now = noon.Add(away)
		again := found[0]
		again.Time = d.Now
		if err := d.Log().Append(again); err != nil {
			t.Fatal(err)
		}
		before := len(d.Published())
		d.Accept(usage("after "+away.String(), "451", 1, d.Now))
		d.Work()
		if got, _ := d.Body("acme/442"); got.counted != 2 {
			t.Errorf("after %s: %+v", away, got)
		}
		for _, r := range d.Published()[before:] {
			if reason, ok := r.Header(event.HeaderReason); ok {
				t.Errorf("after %s it was rejected as %s", away, reason)
			}
		}
	}
	d.Accept(moves("on", "442", "443", d.Now)) // it has gone on; a tombstone is here
	again := found[0]
	again.Time = d.Now
	if err := d.Log().Append(again); err != nil {
		t.Fatal(err)
	}
	d.Work()
	if tombstone, _ := d.Body("acme/442"); tombstone.to != "443" {
		t.Errorf("it came back: %+v", tombstone)
	}
	d.Accept(moves("back", "443", "442", d.Now))
	d.Work()
	d.Accept(moves("on again", "442", "443", d.Now)) // a second transfer to 442 has come and gone on
	d.Work()
	d.Now = d.Now.Add(30 * time.Hour)
	again.Time = d.Now
	if err := d.Log().Append(again); err != nil {
		t.Fatal(err)
	}
	d.Work()
	if tombstone, _ := d.Body("acme/442"); tombstone.to != "443" {
		t.Errorf("it came back behind a second one: %+v", tombstone)
	}
}

func TestTransfer_SequenceOfTargetKeyRises(t *testing.T) {
	elsewhere := roamerPartition(t) // a partition whose log's time stands still
	elsewhere.Accept(usage("b", "451", 30, noon), moves("b moves", "451", "441", noon))
	elsewhere.Work()
	d := roamerPartition(t)
	for i := range 40 {
		d.Accept(usage(fmt.Sprint(i), "441", 1, d.Now))
	}
	d.Now = noon.Add(7 * time.Hour) // its renewal at 18:00 has fired
	for i := range 40 {
		d.Accept(usage(fmt.Sprint("later ", i), "441", 1, d.Now))
	}
	d.Accept(moves("a moves", "441", "442", d.Now))
	d.Work()
	if err := d.Log().Append(transfers(t, elsewhere)...); err != nil {
		t.Fatal(err)
	}
	d.Accept(usage("touches", "441", 1, d.Now))
	d.Work()
	last, ids, renewed := int64(0), make(map[string]bool), 0
	for _, r := range d.Published() {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		data, ok := e.Data.(*eventv1.Safeguard)
		if !ok || e.Subject != "441" {
			continue
		}
		if data.GetSequence() <= last || data.GetPreviousSequence() != last {
			t.Errorf("%s has sequence %d behind %d; the one before was %d", e.Type, data.GetSequence(), data.GetPreviousSequence(), last)
		}
		last = data.GetSequence()
		if ids[e.ID] {
			t.Errorf("%s at %s has the id of another", e.Type, e.Time)
		}
		ids[e.ID] = true
		if e.Type == "safeguard.renewed" {
			renewed++
		}
	}
	if renewed != 2 {
		t.Errorf("%d renewals under the number; want one of each that had it", renewed)
	}
}

func TestTransfer_UnreadableIsRejectedAndChangesNothing(t *testing.T) {
	d := roamerPartition(t)
	for i := range 70 {
		d.Accept(usage(fmt.Sprint(i), "441", 1, d.Now))
	}
	d.Accept(moves("move", "441", "442", d.Now))
	d.Work()
	whole, err := event.Decode(transfers(t, d)[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	good := whole.Data.(*controlv1.Transfer)
	for name, broken := range map[string]*controlv1.Transfer{
		"no record":         {},
		"cut short":         {Record: good.GetRecord()[:20], IdSegments: good.GetIdSegments()},
		"a segment too few": {Record: good.GetRecord(), IdSegments: good.GetIdSegments()[:1]},
		"a segment broken":  {Record: good.GetRecord(), IdSegments: [][]byte{good.GetIdSegments()[0], []byte("\xff\xff")}},
	} {
		before := len(d.Published())
		d.Accept(&event.Event{ID: name, Source: "test", Type: event.TypeTransfer, Tenant: "acme", Subject: "445", Time: d.Now, Data: broken})
		d.Work()
		if got := published(t, d.Published()[before:]); got != "BROKEN" {
			t.Errorf("%s: published %s", name, got)
		}
		if _, ok := d.Body("acme/445"); ok {
			t.Errorf("%s: a record stands", name)
		}
	}
}

func TestForward_RejectedAsItWasSent(t *testing.T) {
	d := roamerPartition(t)
	d.Accept(usage("1", "441", 1, d.Now), moves("a", "441", "442", d.Now))
	late := usage("late", "441", amountRejected, noon.Add(-time.Hour))
	d.Accept(late)
	d.Work()
	all := d.Published()
	last := all[len(all)-1]
	e, err := event.Decode(last.Value)
	if err != nil {
		t.Fatal(err)
	}
	if reason, _ := last.Header(event.HeaderReason); string(reason) != "UNLUCKY" || e.Type != late.Type || e.Subject != "441" || e.ID != "late" || string(last.Key) != "acme/441" {
		t.Fatalf("%s %s %s of %s under %s", reason, e.Type, e.ID, e.Subject, last.Key)
	}
}

func TestTransfer_PassedOverWithoutOption(t *testing.T) {
	d := partition(t)
	d.Accept(
		&event.Event{ID: "t", Source: "test", Type: event.TypeTransfer, Tenant: "acme", Subject: "44", Time: d.Now, Data: &controlv1.Transfer{}},
		&event.Event{ID: "f", Source: "test", Type: event.TypeForward, Tenant: "acme", Subject: "44", Time: d.Now, Data: &controlv1.Forward{}},
		usage("1", "44", 150, d.Now))
	d.Work()
	if got, want := published(t, d.Published()), "reached at 12:00:00 limit 100"; got != want {
		t.Fatalf("published %s; want %s", got, want)
	}
}
