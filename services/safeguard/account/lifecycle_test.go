package account

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestLife_OfASubscriber(t *testing.T) {
	run(t, []story{
		{"a termination releases and ends", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.terminates()
		}, []string{"released 50/50 TERMINATION", "deactivated 50/50 TERMINATION"}},
		{"what came late has its outcome before the end", func(p *partition) {
			active(p)
			p.at("2026-04-02T10:00")
			p.uses("30", on("2026-03-30T10:00"))
			p.forget()
			p.terminates()
		}, []string{"late 30 of 2026-03-01T00:00 0/50 USAGE", "deactivated 0/50 TERMINATION"}},
		{"usage after a termination has no subscriber", func(p *partition) {
			active(p)
			p.terminates()
			p.forget()
			p.uses("1")
		}, []string{"rejected SUBSCRIBER_UNKNOWN"}},
		{"a second termination has none either", func(p *partition) {
			active(p)
			p.terminates()
			p.forget()
			p.terminates()
		}, []string{"rejected SUBSCRIBER_UNKNOWN"}},
		{"no period ends after the end", func(p *partition) {
			active(p)
			p.terminates()
			p.forget()
			p.at("2026-04-02T10:00")
			p.ticks()
		}, []string{}},
		{"a recycled number begins at 0 and does not pay for its former owner", func(p *partition) {
			active(p)
			p.uses("45")
			p.at("2026-03-02T10:00")
			p.terminates()
			p.at("2026-03-02T11:00")
			p.activates()
			p.forget()
			p.uses("45", on("2026-03-02T09:30"))
			p.uses("40")
		}, []string{"rejected BEFORE_ACTIVATION", "alert 80% at 40 40/50 USAGE"}},
		{"an activation from before the termination is stale", func(p *partition) {
			active(p)
			p.at("2026-03-02T10:00")
			p.terminates()
			p.forget()
			p.activates(on("2026-03-02T09:59"))
		}, []string{"rejected STALE"}},
		{"a termination from before the activation is stale", func(p *partition) {
			active(p)
			p.terminates(on("2026-03-02T08:00"))
		}, []string{"rejected STALE"}},
		{"the first activation sent again does not bring a terminated subscriber back", func(p *partition) {
			p.configures(gold())
			e := p.activates()
			p.terminates()
			p.append(e)
		}, []string{"activated 0/50 ACTIVATION", "deactivated 0/50 TERMINATION"}},
	})
}

func TestSequence_RisesThroughReactivationAndNamesTheOneBefore(t *testing.T) {
	p := newPartition(t)
	active(p)
	p.uses("50")
	p.terminates()
	p.activates()
	p.uses("50")
	p.works()
	last := int64(0)
	for i, r := range p.out {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		d := e.Data.(*eventv1.Safeguard)
		if i > 0 && d.GetPreviousSequence() != last {
			t.Errorf("%s: previous %d, want %d", line(t, r), d.GetPreviousSequence(), last)
		}
		if d.GetSequence() <= last || d.GetSequence() < p.now.UnixMilli() {
			t.Errorf("%s: sequence %d after %d", line(t, r), d.GetSequence(), last)
		}
		last = d.GetSequence()
	}
	if len(p.out) != 7 {
		t.Errorf("%d outcomes", len(p.out))
	}
}

func TestTombstone_DroppedAfterTheWindow(t *testing.T) {
	p := newPartition(t)
	active(p)
	p.terminates()
	p.works()
	if s, ok := p.record(); !ok || !cmp.Equal(s, Subscriber{Life: LifeTerminated, latest: p.now, until: p.now.Add(24 * time.Hour)}, compareRecords) {
		t.Errorf("mark %+v", s)
	}
	p.at("2026-03-03T09:00")
	p.ticks()
	p.works()
	if s, ok := p.record(); ok {
		t.Errorf("a day later there is %+v", s)
	}
}
