package account

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

const newNumber, thirdNumber = "447700900555", "447700900777"

// moves gives the subscriber of a number another.
func (p *partition) moves(from, to string, edits ...func(*event.Event)) *event.Event {
	p.t.Helper()
	edits = append([]func(*event.Event){as(from)}, edits...)
	return p.publishes("subscriber.msisdn_changed", &eventv1.SubscriberMsisdnChanged{NewMsisdn: to}, edits...)
}

// as lets an event be of another number.
func as(number string) func(*event.Event) { return func(e *event.Event) { e.Subject = number } }

func TestTransfer_ToAnotherNumber(t *testing.T) {
	run(t, []story{
		{"spend, limits and period go along, and nothing is published where nothing is blocked", func(p *partition) {
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
			"447700900555 reached 50/50 TRANSFER blocked", "released 50/50 TRANSFER", "447700900555 renewed 0/50 RENEWAL", "447700900555 released 0/50 RENEWAL",
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
		{"a new number is the subscriber's from any time on", func(p *partition) {
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
		{"usage that was sent on is rejected where its subscriber is gone", func(p *partition) {
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
		{"after a move the old number has no subscriber to change or terminate", func(p *partition) {
			whole(p)
			p.moves(msisdn, newNumber)
			p.works()
			p.terminates()
			p.moves(msisdn, thirdNumber)
			p.charges("1")
		}, []string{"rejected SUBSCRIBER_UNKNOWN", "rejected SUBSCRIBER_UNKNOWN", "refused SUBSCRIBER_NOT_FOUND"}},
		{"calls stay known through a move", func(p *partition) {
			whole(p)
			p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("50")}, "command.charge")
			p.moves(msisdn, newNumber)
			p.works()
			p.pays("250", as(newNumber))
			p.forget()
			p.pays("-50", as(newNumber), ofCharge("ref-1", "2026-03-02T09:00"))
		}, []string{"447700900555 payment released 250/300 REFUND"}},
	})
}

// A number that moves to one that is active: the blocked subscriber was gone, and stood at 0.
func TestTransfer_ToAnActiveNumberIsRefused(t *testing.T) {
	p := newPartition(t)
	whole(p)
	p.activates(as(newNumber))
	p.uses("52")
	p.forget()
	move := p.moves(msisdn, newNumber)
	p.uses("3") // comes while the move is under way
	p.works()
	if diff := cmp.Diff([]string{"rejected TARGET_ACTIVE"}, p.published()); diff != "" {
		t.Error(diff)
	}
	s, _ := p.record()
	if d := s.Options[spend.Data]; d.Count.Spent != 55*spend.Unit || !d.Blocked || s.transferOut != nil {
		t.Errorf("the subscriber stands at %+v, leaving %+v", d, s.transferOut)
	}
	if there, _ := p.recordOf(newNumber); there.Options[spend.Data].Count.Spent != 0 {
		t.Errorf("the other subscriber stands at %+v", there.Options[spend.Data])
	}
	if len(p.Incidents) > 0 {
		t.Errorf("incidents %v", p.Incidents)
	}
	// What was rejected can be sent again, once the number is free; copies of the first transfer that come late do nothing.
	p.terminates(as(newNumber))
	p.append(transfersOf(t, p)...)
	p.works()
	if there, _ := p.recordOf(newNumber); there.Alive() {
		t.Error("a copy of the transfer that was refused was taken over")
	}
	p.forget()
	p.append(move)
	p.works()
	if diff := cmp.Diff([]string{"447700900555 reached 55/50 TRANSFER blocked", "released 55/50 TRANSFER"}, p.published()); diff != "" {
		t.Error(diff)
	}
	p.append(transfersOf(t, p)...) // again, and all of them a day later
	p.at("2026-03-04T09:00")
	p.append(transfersOf(t, p)...)
	p.works()
	if s, _ := p.record(); s.Life != LifeMoved || s.movedTo != newNumber {
		t.Errorf("the old number is %+v", s)
	}
	if there, _ := p.recordOf(newNumber); there.Options[spend.Data].Count.Spent != 55*spend.Unit {
		t.Errorf("the subscriber stands at %+v", there.Options[spend.Data])
	}
}

// transfersOf are what numbers sent each other, as it stands in the log.
func transfersOf(t *testing.T, p *partition) (all []*event.Event) {
	t.Helper()
	for _, r := range p.Records {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == event.TypeTransfer || e.Type == event.TypeTransferSettled {
			all = append(all, e)
		}
	}
	return all
}

// underWay begins a move and stops before the other number's owner has met it: what comes from here on comes between.
func (p *partition) underWay(from, to string) *event.Event {
	e := p.moves(from, to)
	p.worksOnlyItself()
	return e
}

// worksOnlyItself works the log to its present end; what follows from it is met later.
func (p *partition) worksOnlyItself() {
	p.t.Helper()
	p.late = true
	p.works()
	p.late = false
}

// arrives puts what was published to the log into it.
func (p *partition) arrives() {
	p.t.Helper()
	for len(p.between) > 0 {
		for _, r := range p.between {
			r.Partition, r.Offset = 0, int64(len(p.Records))
			p.Records = append(p.Records, r)
		}
		p.between = nil
		p.works()
	}
}

// The sequence of a number goes on, whichever subscriber has the number by now: a reader by number misses nothing and
// thinks so.
func TestTransfer_SequenceRises(t *testing.T) {
	p := newPartition(t)
	p.configures(full())
	p.activates()
	p.uses("50")
	p.moves(msisdn, newNumber)
	p.works()
	p.uses("-20", as(newNumber), corrects("2026-03-02T09:00"))
	p.works()
	of, released := map[string]int64{}, false
	for _, r := range p.out {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		d, ok := e.Data.(*eventv1.Safeguard)
		if !ok {
			continue
		}
		if d.GetSequence() <= of[e.Subject] {
			t.Errorf("%s: %d after %d", line(t, r), d.GetSequence(), of[e.Subject])
		}
		if d.GetPreviousSequence() != of[e.Subject] {
			t.Errorf("%s: after %d, which it calls %d", line(t, r), of[e.Subject], d.GetPreviousSequence())
		}
		of[e.Subject], released = d.GetSequence(), e.Subject == newNumber
	}
	if !released {
		t.Error("nothing was published of the new number")
	}
}

func TestTombstone_OfAMovedSubscriber(t *testing.T) {
	p := newPartition(t)
	whole(p)
	p.changes(data, day(15))
	p.moves(msisdn, newNumber)
	p.works()
	// The option that ends last is overspend's, in April, and its next period in May.
	want := Subscriber{Life: LifeMoved, latest: p.now, until: moment("2026-05-01T00:00"), movedTo: newNumber}
	got, _ := p.record()
	if diff := cmp.Diff(want, got, compareRecords); diff != "" {
		t.Error(diff)
	}
	there, _ := p.recordOf(newNumber)
	if diff := cmp.Diff([]previousNumber{{msisdn, moment("2026-05-01T00:00")}}, there.previous, compareRecords); diff != "" {
		t.Error(diff)
	}
}

// A move that was refused and is sent again under its id after the catalog changed: both times the catalog's change is
// published before the move, and a reader that knows one by its id still takes the other.
func TestTransfer_SentAgainPublishesUnderOtherIDs(t *testing.T) {
	p := newPartition(t)
	whole(p)
	p.activates(as(newNumber))
	var move *event.Event
	for _, limit := range []string{"60", "70"} {
		p.configures(full(dataLimit(limit)))
		if move == nil {
			move = p.moves(msisdn, newNumber)
		} else {
			p.append(move)
		}
		p.works()
	}
	ids := map[string]string{}
	for _, r := range p.out {
		if r.Topic == "events" {
			continue
		}
		e, err := event.Decode(r.Value)
		if err != nil || e.Type != TypePrefix+KindLimitChanged {
			continue
		}
		if before, taken := ids[e.ID]; taken {
			t.Errorf("two outcomes have the id %s: %s and %s", e.ID, before, line(t, r))
		}
		ids[e.ID] = line(t, r)
	}
	if len(ids) != 2 {
		t.Errorf("published %v, want a change of the limit before each of two moves", ids)
	}
}
