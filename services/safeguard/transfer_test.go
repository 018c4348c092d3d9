package safeguard

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

const newNumber, thirdNumber = "447700900555", "447700900777"

// moves gives the subscriber of a number another.
func (p *partition) moves(from, to string, edits ...func(*event.Event)) *event.Event {
	p.t.Helper()
	edits = append([]func(*event.Event){as(from)}, edits...)
	return p.says("subscriber.msisdn_changed", &eventv1.SubscriberMsisdnChanged{NewMsisdn: to}, edits...)
}

// as lets an event be of another number.
func as(number string) func(*event.Event) { return func(e *event.Event) { e.Subject = number } }

func TestASubscriberMovesToAnotherNumber(t *testing.T) {
	run(t, []story{
		{"spend, limits and period go along, and nothing is said where nothing is blocked", func(p *partition) {
			whole(p)
			p.uses("39")
			p.moves(msisdn, newNumber)
			p.works()
			p.uses("1", as(newNumber))
		}, []string{"447700900555 alert 80% at 40 40/50 USAGE"}},
		{"what is blocked is released under the old number and blocked under the new", func(p *partition) {
			whole(p)
			p.uses("50")
			p.forget()
			p.moves(msisdn, newNumber)
			p.works()
			p.at("2026-04-01T00:00")
			p.ticks()
		}, []string{
			"released 50/50 TRANSFER", "447700900555 reached 50/50 TRANSFER blocked", "447700900555 renewed 0/50 RENEWAL", "447700900555 released 0/50 RENEWAL",
			"447700900555 overspend renewed 0/- RENEWAL", "447700900555 payment renewed 0/300 RENEWAL",
		}},
		{"late usage of the old number is sent on, under its own id", func(p *partition) {
			whole(p)
			p.moves(msisdn, newNumber)
			p.works()
			e := p.uses("40")
			p.append(e, e)
			p.works()
			p.append(e)
			p.works()
			p.uses("9")
		}, []string{"447700900555 alert 80% at 40 40/50 USAGE"}},
		{"an event that was counted before the move is known after it", func(p *partition) {
			whole(p)
			e := p.uses("40")
			p.moves(msisdn, newNumber)
			p.works()
			p.append(e)
		}, []string{"alert 80% at 40 40/50 USAGE"}},
		{"late usage follows through two moves", func(p *partition) {
			whole(p)
			p.moves(msisdn, newNumber)
			p.works()
			p.moves(newNumber, thirdNumber)
			p.works()
			p.uses("40")
		}, []string{"447700900777 alert 80% at 40 40/50 USAGE"}},
		{"there and back again", func(p *partition) {
			whole(p)
			p.uses("30")
			p.moves(msisdn, newNumber)
			p.works()
			p.moves(newNumber, msisdn)
			p.works()
			p.uses("9", as(newNumber))
			p.works()
			p.uses("1")
		}, []string{"alert 80% at 40 40/50 USAGE"}},
		{"usage that waits under the new number is counted when the subscriber comes", func(p *partition) {
			waits(p)
			p.activates()
			p.forget()
			p.uses("40", as(newNumber))
			p.moves(msisdn, newNumber)
		}, []string{"447700900555 alert 80% at 40 40/50 USAGE"}},
		{"a new owner of the old number does not get what is sent to it from before", func(p *partition) {
			whole(p)
			p.moves(msisdn, newNumber)
			p.works()
			p.at("2026-03-03T09:00")
			p.activates()
			p.forget()
			p.uses("40", on("2026-03-02T12:00"))
			p.uses("39")
		}, []string{"rejected BEFORE_ACTIVATION"}},
		{"nor does one that comes from another number", func(p *partition) {
			whole(p)
			p.activates(as(newNumber))
			p.moves(msisdn, thirdNumber)
			p.works()
			p.at("2026-03-03T09:00")
			p.moves(newNumber, msisdn)
			p.works()
			p.forget()
			p.uses("40", on("2026-03-03T08:59"))
			p.uses("39", on("2026-03-03T09:00"))
		}, []string{"rejected BEFORE_ACTIVATION"}},
		{"a number that nobody had before is the subscriber's from whenever", func(p *partition) {
			whole(p)
			p.at("2026-03-03T09:00")
			p.moves(msisdn, newNumber)
			p.works()
			p.forget()
			p.uses("40", as(newNumber), on("2026-03-03T08:59"))
		}, []string{"447700900555 alert 80% at 40 40/50 USAGE"}},
		{"a new owner does not get what was sent on already and is sent again", func(p *partition) {
			whole(p)
			p.moves(msisdn, newNumber)
			p.works()
			p.at("2026-03-03T09:00")
			e := p.uses("40") // faster than the new owner's activation
			p.works()
			p.activates()
			p.works()
			p.forget()
			p.append(e)
		}, []string{"rejected BEFORE_ACTIVATION"}},
		{"usage that was sent on is nobody's where its subscriber is gone", func(p *partition) {
			whole(p)
			p.moves(msisdn, newNumber)
			p.works()
			p.terminates(as(newNumber))
			p.activates(as(newNumber))
			p.forget()
			p.uses("40")
		}, []string{"rejected SUBSCRIBER_UNKNOWN"}},
		{"the mark is forgotten at the end of the next period", func(p *partition) {
			whole(p)
			p.moves(msisdn, newNumber)
			p.works()
			p.at("2026-04-30T23:59")
			p.ticks()
			p.forget()
			p.uses("40")
			p.works()
			p.at("2026-05-01T00:00")
			p.uses("40")
		}, []string{
			"447700900555 alert 80% at 40 40/50 USAGE", "rejected SUBSCRIBER_UNKNOWN", "447700900555 renewed 0/50 RENEWAL",
			"447700900555 overspend renewed 0/- RENEWAL", "447700900555 payment renewed 0/300 RENEWAL",
		}},
		{"a plus before the new number is dropped", func(p *partition) {
			whole(p)
			p.moves(msisdn, "+"+newNumber)
			p.works()
			p.uses("40", as(newNumber))
		}, []string{"447700900555 alert 80% at 40 40/50 USAGE"}},
		{"another spelling of a number is no second record of its subscriber", func(p *partition) {
			whole(p)
			p.uses("40", as("+"+msisdn))
			p.activates(as("00" + msisdn))
			p.activates(as("123"))
		}, []string{"rejected EVENT_INVALID", "rejected EVENT_INVALID", "rejected EVENT_INVALID"}},
		{"a number that is none, or its own", func(p *partition) {
			whole(p)
			p.moves(msisdn, "")
			p.moves(msisdn, "00447700900555")
			p.moves(msisdn, msisdn)
			p.moves(newNumber, thirdNumber)
		}, []string{"rejected EVENT_INVALID", "rejected EVENT_INVALID", "rejected EVENT_INVALID", "rejected SUBSCRIBER_UNKNOWN"}},
		{"after a move the old number has nobody to change or terminate", func(p *partition) {
			whole(p)
			p.moves(msisdn, newNumber)
			p.works()
			p.terminates()
			p.moves(msisdn, thirdNumber)
			p.charges("1")
		}, []string{"rejected SUBSCRIBER_UNKNOWN", "rejected SUBSCRIBER_UNKNOWN", "refused SUBSCRIBER_NOT_FOUND"}},
		{"calls stay known through a move", func(p *partition) {
			whole(p)
			p.calls("ref-1", &eventv1.CommandCharge{Amount: units("50")}, "command.charge")
			p.moves(msisdn, newNumber)
			p.works()
			p.pays("250", as(newNumber))
			p.forget()
			p.pays("-50", as(newNumber), ofCharge("ref-1", "2026-03-02T09:00"))
		}, []string{"447700900555 payment released 250/300 REFUND"}},
	})
}

func TestATargetThatIsActiveIsAnIncident(t *testing.T) {
	p := newPartition(t)
	whole(p)
	p.activates(as(newNumber))
	p.uses("30")
	p.forget()
	p.moves(msisdn, newNumber)
	p.works()
	p.uses("40")
	want := []string{"rejected TARGET_ACTIVE", "rejected SUBSCRIBER_UNKNOWN"}
	if diff := cmp.Diff(want, p.told()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"TARGET_ACTIVE"}, p.incidents); diff != "" {
		t.Error(diff)
	}
	// The record stands in what was rejected, so that it can be sent again.
	for _, r := range p.out {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == event.TypeTransfer && r.Topic == "rejected" {
			p.terminates(as(newNumber))
			p.forget()
			p.append(e)
			p.works()
			if s, _ := p.recordOf(newNumber); s.options[spend.Data].count.Spent != 30*spend.Unit {
				t.Errorf("sent again: %+v", s)
			}
			return
		}
	}
	t.Error("the transfer was not rejected with its record")
}

// What was said of a number goes on where it was, whoever has the number by now: who reads by number misses nothing and
// thinks so.
func TestASequenceRisesThroughAMove(t *testing.T) {
	p := newPartition(t)
	p.configures(full())
	p.activates()
	p.uses("50")
	p.moves(msisdn, newNumber)
	p.works()
	p.uses("-20", as(newNumber), corrects("2026-03-02T09:00"))
	p.works()
	last, of, released := int64(0), map[string]int64{}, false
	for _, r := range p.out {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		d, ok := e.Data.(*eventv1.Safeguard)
		if !ok {
			continue
		}
		if d.GetSequence() <= last {
			t.Errorf("%s: %d after %d", line(t, r), d.GetSequence(), last)
		}
		if d.GetPreviousSequence() != of[e.Subject] {
			t.Errorf("%s: after %d, which it calls %d", line(t, r), of[e.Subject], d.GetPreviousSequence())
		}
		last, released = d.GetSequence(), e.Subject == newNumber
		of[e.Subject] = last
	}
	if !released {
		t.Error("nothing was said of the new number")
	}
}

func TestTheMarkOfAMovedSubscriber(t *testing.T) {
	p := newPartition(t)
	whole(p)
	p.changes(data, day(15))
	p.moves(msisdn, newNumber)
	p.works()
	// The option that ends last is overspend's, in April, and its next period in May.
	want := subscriber{life: moved, latest: p.now, until: moment("2026-05-01T00:00"), movedTo: newNumber}
	got, _ := p.record()
	if diff := cmp.Diff(want, got, compareRecords); diff != "" {
		t.Error(diff)
	}
	there, _ := p.recordOf(newNumber)
	if diff := cmp.Diff([]former{{msisdn, moment("2026-05-01T00:00")}}, there.former, compareRecords); diff != "" {
		t.Error(diff)
	}
}
