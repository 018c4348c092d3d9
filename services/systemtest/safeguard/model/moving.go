package model

import (
	"maps"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// move is a change of number under way.
type move struct {
	to       string
	event    *event.Event
	at       time.Time
	transfer string  // id of the record that brings it there, once that was met
	moving   *person // as it goes
	held     []held  // what came since
}

type held struct {
	event     *event.Event
	forwarded string
}

// kept is how long a transfer is good for.
const kept = 24 * time.Hour

// left is a subscriber that leaves a number for another: it goes there as it is, and waits here for the word that it arrived.
func (t *turn) left(d *eventv1.SubscriberMsisdnChanged) []string {
	p := t.person
	switch {
	case !p.alive:
		return []string{"SUBSCRIBER_UNKNOWN"}
	case t.stale():
		return []string{"STALE"}
	}
	t.adoptAll(becauseCatalog)
	moving := p.clone()
	moving.lived, moving.since = t.own, t.own
	if t.knows(d.GetNewMsisdn()) {
		moving.since = time.Time{}
	}
	moving.former = append(slices.Clone(p.former), p.number)
	moving.ids = maps.Clone(p.ids)
	p.leaving = &move{to: d.GetNewMsisdn(), event: t.event, at: t.at, moving: moving}
	t.world.moves[p.tenant+"/"+p.number+"/"+d.GetNewMsisdn()] = p.leaving
	t.counts = false // it has not come about
	return nil
}

// heldBack says that what comes for a subscriber that is leaving waits, or has to be asked again.
func (t *turn) heldBack() bool {
	switch t.event.Data.(type) {
	case *controlv1.TransferSettled, *controlv1.Transfer:
		return false
	case *controlv1.ChangeCommand, *controlv1.ChargeCommand:
		if a, again := t.again(); again {
			t.answer(a)
		} else {
			t.answer(refuse("TRANSFER_PENDING"))
		}
	case *controlv1.ReapplyCommand:
	default:
		t.hold()
	}
	return true
}

func (t *turn) hold() {
	l := *t.person.leaving
	for _, h := range append([]held{{event: l.event}}, l.held...) {
		if key(h.event) == key(t.event) {
			if h.event.Content() != t.event.Content() {
				t.world.reject(t.event, "ID_REUSED")
			}
			return
		}
	}
	t.person.leaving.held = append(t.person.leaving.held, held{t.event, t.forwarded})
}

// settled ends a move: what was held comes again.
func (t *turn) settled(d *controlv1.TransferSettled) {
	p := t.person
	l := p.leaving
	if l == nil || l.transfer != d.GetTransfer() {
		return
	}
	p.leaving = nil
	for _, h := range l.held {
		t.world.forward(h.event).owed = true
	}
	if reason := t.world.settled[d.GetTransfer()]; reason != "" {
		t.world.reject(l.event, reason)
		for _, o := range p.options {
			if o != nil && len(o.late) > 0 {
				o.lateDue = t.at.Add(time.Hour) // nothing was told meanwhile
			}
		}
		return
	}
	t.cause = l.event.ID
	until := time.Time{}
	for _, o := range p.options {
		if o == nil {
			continue
		}
		zone := o.zone
		if r, known := t.rule(o.which); known && r != nil {
			zone = r.zone
		}
		if end := next(o.end, o.day, zone); end.After(until) {
			until = end
		}
		o.offered = false
		t.turnBit(o, becauseTransfer)
	}
	if until.IsZero() {
		until = next(next(t.at, 1, time.UTC), 1, time.UTC)
	}
	p.lived = l.event.Time
	if p.lived.After(l.at) {
		p.lived = l.at
	}
	p.alive, p.dead, p.movedTo, p.forget = false, true, l.to, until
	p.former, p.options = nil, [3]*option{}
	p.nothingLeft()
	p.ids[key(l.event)] = remembered{content: l.event.Content(), at: t.at}
}

// formerOwner says that usage of the number is of whoever had it before the person got it from another number: by its time,
// or because it was sent after that one already. Who comes back to a number answers for all of it.
func (t *turn) formerOwner() bool {
	p := t.person
	if p.since.IsZero() && len(p.former) > 0 {
		return false
	}
	sent, ok := p.sentOn[key(t.event)]
	return t.own.Before(p.since) || ok && t.at.Sub(sent) < t.world.window(p.tenant)
}

// knows says whether the subscriber had a number before.
func (t *turn) knows(number string) bool { return slices.Contains(t.person.former, number) }

// arrived is the same subscriber under its new number.
func (t *turn) arrived(d *controlv1.Transfer) []string {
	p := t.person
	if _, before := t.world.settled[t.event.ID]; before {
		return nil
	}
	m := t.world.moves[p.tenant+"/"+d.GetMsisdn()+"/"+p.number]
	m.transfer = t.event.ID
	switch {
	case t.at.Sub(t.event.Time) > kept:
		t.world.settled[t.event.ID] = "TRANSFER_INVALID"
		return nil
	case p.alive && p.leaving != nil && t.event.Time.After(p.leaving.at):
		t.hold()
		return nil
	case p.alive:
		t.world.settled[t.event.ID] = "TARGET_ACTIVE"
		return nil
	}
	t.world.settled[t.event.ID] = ""
	from := m.moving
	parked, ids, sentOn, refunds, calls := p.parked, p.ids, p.sentOn, p.refunds, p.calls
	sequence, heard := max(p.sequence, from.sequence), p.previous()
	number, owned := p.number, p.dead
	*p = *from.clone()
	p.number, p.sequence, p.parked, p.parkedUntil = number, sequence, nil, time.Time{}
	p.silent, p.heard, p.sentOn = true, heard, sentOn
	if !owned {
		p.since = time.Time{}
	}
	p.calls = slices.Concat(calls, p.calls)
	slices.SortStableFunc(p.calls, func(a, b accepted) int { return a.at.Compare(b.at) })
	p.calls = p.calls[max(0, len(p.calls)-callsKept):]
	merged := map[string]remembered{}
	for _, m := range []map[string]remembered{ids, from.ids} {
		for k, v := range m {
			merged[k] = v
		}
	}
	p.ids = merged
	for k, v := range refunds {
		if own, ok := p.refunds[k]; !ok || own.left == 0 && v.at.After(own.at) {
			p.refunds[k] = v
		}
	}
	for _, o := range p.options {
		if o != nil && o.offered {
			o.blocked = false
			t.turnBit(o, becauseTransfer)
		}
	}
	t.adoptAll(becauseCatalog)
	t.counts = true
	t.world.unpark(p, parked, t.at)
	return nil
}
