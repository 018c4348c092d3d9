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
	transfer string  // id of the record that brings it there, once that was read
	moving   *person // as it goes
	held     []held  // what came since
}

type held struct {
	event     *event.Event
	forwarded string
}

// kept is how long a transfer is good for.
const kept = 24 * time.Hour

// transferOut begins a change to another number: the subscriber goes there as it is, and is kept here until it is settled.
func (t *turn) transferOut(d *eventv1.SubscriberMsisdnChanged) []string {
	p := t.person
	if d.GetNewMsisdn() == p.number {
		return []string{"EVENT_INVALID"}
	}
	if reasons := t.refused(); len(reasons) > 0 {
		return reasons
	}
	t.adoptAll(becauseCatalog)
	moving := p.clone()
	moving.lived, moving.since = t.own, t.own
	if t.knows(d.GetNewMsisdn()) {
		moving.since = time.Time{}
	}
	moving.previousNumbers = append(slices.Clone(p.previousNumbers), p.number)
	moving.ids = maps.Clone(p.ids)
	p.outgoing = &move{to: d.GetNewMsisdn(), event: t.event, at: t.at, moving: moving}
	t.partition.moves[p.tenant+"/"+p.number+"/"+d.GetNewMsisdn()] = p.outgoing
	t.counts = false // it has not come about
	return nil
}

// heldBack reports that an event for a subscriber under transfer waits, or that its caller has to ask again.
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
	l := *t.person.outgoing
	for _, h := range append([]held{{event: l.event}}, l.held...) {
		if key(h.event) == key(t.event) {
			if h.event.Content() != t.event.Content() {
				t.partition.reject(t.person, t.event, "ID_REUSED")
			}
			return
		}
	}
	t.person.outgoing.held = append(t.person.outgoing.held, held{t.event, t.forwarded})
}

// transferSettled ends a move: what was held comes again.
func (t *turn) transferSettled(d *controlv1.TransferSettled) {
	p := t.person
	l := p.outgoing
	if l == nil || l.transfer != d.GetTransfer() {
		return
	}
	p.outgoing = nil
	for _, h := range l.held {
		t.partition.forward(h.event).owed = true
	}
	if reason := t.partition.settled[d.GetTransfer()]; reason != "" {
		t.partition.reject(p, l.event, reason)
		for _, o := range p.options {
			if o != nil && len(o.late) > 0 {
				o.lateDue = t.at.Add(time.Hour) // nothing was published meanwhile
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
	p.previousNumbers, p.options = nil, [3]*option{}
	p.nothingLeft()
	p.ids[key(l.event)] = remembered{content: l.event.Content(), at: t.at}
}

// previousOwner reports that usage of the number is of the subscriber that had it before this one: by its time, or because it
// was sent after that one already. A subscriber that comes back to a number gets all of its usage.
func (t *turn) previousOwner() bool {
	p := t.person
	if p.since.IsZero() && len(p.previousNumbers) > 0 {
		return false
	}
	sent, ok := p.sentOn[key(t.event)]
	return t.own.Before(p.since) || ok && t.at.Sub(sent) < t.partition.window(p.tenant)
}

// knows reports whether the subscriber had a number before.
func (t *turn) knows(number string) bool { return slices.Contains(t.person.previousNumbers, number) }

// transferIn begins the same subscriber under its new number.
func (t *turn) transferIn(d *controlv1.Transfer) []string {
	p := t.person
	if _, before := t.partition.settled[t.event.ID]; before {
		return nil
	}
	m := t.partition.moves[p.tenant+"/"+d.GetMsisdn()+"/"+p.number]
	m.transfer = t.event.ID
	switch {
	case t.at.Sub(t.event.Time) > kept:
		t.partition.settled[t.event.ID] = "TRANSFER_INVALID"
		return nil
	case p.alive && p.outgoing != nil && t.event.Time.After(p.outgoing.at):
		t.hold()
		return nil
	case p.alive:
		t.partition.settled[t.event.ID] = "TARGET_ACTIVE"
		return nil
	}
	t.partition.settled[t.event.ID] = ""
	from := m.moving
	pending, ids, sentOn, refunds, calls := p.pending, p.ids, p.sentOn, p.refunds, p.calls
	sequence, previous := max(p.sequence, from.sequence), p.previous()
	number, owned := p.number, p.dead
	*p = *from.clone()
	p.number, p.sequence, p.pending, p.pendingUntil = number, sequence, nil, time.Time{}
	p.unpublished, p.previousSequence, p.sentOn = true, previous, sentOn
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
	t.partition.release(p, pending, t.at)
	return nil
}
