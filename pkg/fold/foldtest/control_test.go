package foldtest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/fold/internal/control"
	"github.com/tollgate/tollgate/pkg/state"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// leftOut is a person's word that one record of the log is left out.
func leftOut(offset int64, at time.Time, domain string) *event.Event {
	return fold.NewGap(&controlv1.Gap{Domain: domain, FromOffset: offset, ToOffset: offset + 1, Who: "ops", Why: "forged"}, at)
}

// A revision that no source has once stopped its partition without a report, for ever.
func TestRevision_MissingIsAnIncidentWithItsRecord(t *testing.T) {
	for name, help := range map[string]func(d *foldtest.Partition[count, int64], offset int64){
		"its record is left out": func(d *foldtest.Partition[count, int64], offset int64) {
			d.Accept(leftOut(offset, d.Now, d.Partition().Domain))
		},
		"it is there": func(d *foldtest.Partition[count, int64], _ int64) { d.Missing = nil },
	} {
		t.Run(name, func(t *testing.T) {
			d := partition(t)
			d.Missing = map[int64]error{999_999: fault.New(fault.NotFound, "REVISION_UNKNOWN", "it is not there")}
			offset := d.Watermark().Offset
			d.Accept(&event.Event{ID: "f", Source: "another", Type: event.TypeRevision, Time: d.Now, Data: &controlv1.Revision{Revision: 999_999, Level: fold.Level}},
				usage("1", "44", 150, d.Now))
			d.Work()
			err := d.Incidents[fold.IncidentRevision]
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("offset %d of log/0", offset)) || !strings.Contains(err.Error(), "config accept-restore") ||
				!strings.Contains(err.Error(), fmt.Sprintf("accept-gap --domain %s --partition 0 --from %d --to %d", d.Partition().Domain, offset, offset+1)) {
				t.Fatalf("incident %v", err)
			}
			if got := d.Watermark(); got.Offset != offset || got.Status != state.Ready {
				t.Fatalf("went on: %+v", got)
			}
			help(d, offset)
			d.Work()
			if n, _ := d.Body("acme/44"); d.Incidents[fold.IncidentRevision] != nil || n.spent != 150 {
				t.Errorf("does not go on: %+v %v", n, d.Incidents)
			}
		})
	}
}

func TestRevision_BeingFetchedKeepsPartitionOpen(t *testing.T) {
	d := partition(t)
	d.Missing = map[int64]error{2: fmt.Errorf("%w: no answer", state.ErrNotReady)}
	d.Accept(&event.Event{ID: "2", Source: "peer", Type: event.TypeRevision, Time: d.Now, Data: &controlv1.Revision{Revision: 2, Level: fold.Level}})
	before := d.Watermark().Offset
	d.Limits = func(c *fold.OwnerConfig[count, int64]) {
		now := d.Now
		c.Clock = func() time.Time { now = now.Add(2 * time.Second); return now }
	}
	d.Work()
	if err := d.Incidents[fold.IncidentRevision]; err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("waits in silence: %v", d.Incidents)
	}
	if w := d.Watermark(); w.Offset != before || w.At <= d.Now.UnixMilli() {
		t.Errorf("the lease is not kept: %+v", w)
	}
	d.Missing, d.Limits = nil, nil
	d.Work()
	if w := d.Watermark(); w.Revision.Number != 2 || len(d.Incidents) != 0 {
		t.Errorf("does not go on: %+v %v", w, d.Incidents)
	}
}

// A control record stamped in another century once renewed every subscriber for as many years.
func TestLogTime_FarAheadIsAnIncidentAndFiresNothing(t *testing.T) {
	for name, forged := range map[string]*event.Event{
		"a tick":     control.NewTick("another", noon.AddDate(0, 0, 3)),
		"a revision": {ID: "5", Source: "another", Type: event.TypeRevision, Time: noon.AddDate(0, 0, 3), Data: &controlv1.Revision{Revision: 5, Level: fold.Level}},
		"an event":   usage("future", "44", 1, noon.AddDate(0, 0, 3)),
	} {
		t.Run(name, func(t *testing.T) {
			d := partition(t)
			d.Accept(usage("1", "44", 60, d.Now))
			d.Work()
			offset, now := d.Watermark().Offset, d.Now
			d.Now = now.AddDate(0, 0, 3)
			d.Accept(forged)
			d.Now = now.Add(time.Second)
			d.Accept(usage("2", "44", 60, d.Now))
			d.Work()
			if err := d.Incidents[fold.IncidentTime]; err == nil || !strings.Contains(err.Error(), fmt.Sprintf("offset %d of log/0", offset)) {
				t.Fatalf("incident %v", d.Incidents)
			}
			if w := d.Watermark(); w.Offset != offset || w.LogTime > d.Now.UnixMilli() {
				t.Fatalf("log time moved: %+v", w)
			}
			d.Accept(leftOut(offset, d.Now, d.Partition().Domain))
			d.Work()
			if n, _ := d.Body("acme/44"); n.spent != 120 || len(d.Incidents) != 0 || d.Watermark().LogTime > d.Now.UnixMilli() {
				t.Errorf("without the record: %+v %v", n, d.Incidents)
			}
			// A replay leaves it out too, whatever the clock shows by then.
			d.Restore(foldtest.NewMemory().Dump())
			d.Now = now.AddDate(0, 0, 9)
			d.Limits = func(c *fold.OwnerConfig[count, int64]) { c.Log = deaf{c.Log} }
			d.Work()
			if n, _ := d.Body("acme/44"); n.spent != 120 {
				t.Errorf("folded again: %+v", n)
			}
		})
	}
}

func TestLogTime_QuietLogContinuesAfterDays(t *testing.T) {
	d := partition(t)
	d.Accept(usage("1", "44", 60, d.Now))
	d.Work()
	d.Now = d.Now.AddDate(0, 0, 9)
	d.Accept(usage("2", "45", 60, d.Now))
	d.Work()
	if n, ok := d.Body("acme/45"); !ok || n.spent != 60 || len(d.Incidents) != 0 {
		t.Errorf("%+v %v", n, d.Incidents)
	}
}
