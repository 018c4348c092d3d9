package model

import (
	"slices"
	"time"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// left is a subscriber that leaves a number for another: what it is goes along, and a mark sends late usage on.
func (t *turn) left(d *eventv1.SubscriberMsisdnChanged) []string {
	p := t.person
	switch {
	case !p.alive:
		return []string{"SUBSCRIBER_UNKNOWN"}
	case t.stale():
		return []string{"STALE"}
	}
	t.adoptAll(becauseCatalog)
	p.lived = t.own
	p.since = t.own
	if t.knows(d.GetNewMsisdn()) {
		p.since = time.Time{}
	}
	p.former = append(slices.Clone(p.former), p.number)
	moving := p.clone()
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
	moving.sequence = p.sequence // what is said of it goes on with the next
	t.world.moves[p.tenant+"/"+p.number+"/"+d.GetNewMsisdn()] = moving
	p.alive, p.dead, p.movedTo, p.forget = false, true, d.GetNewMsisdn(), until
	p.former, p.options = nil, [3]*option{}
	t.counts = true
	return nil
}

// formerOwner says that usage of the number is of whoever had it before the person got it from another number: by its time,
// or because it was sent after that one already. Who comes back to a number answers for all of it.
func (t *turn) formerOwner() bool {
	p := t.person
	if p.since.IsZero() && len(p.former) > 0 {
		return false
	}
	sent, ok := p.sentOn[key(t.event)]
	return t.own.Before(p.since) || ok && t.at.Sub(sent) < window
}

// knows says whether the subscriber had a number before.
func (t *turn) knows(number string) bool { return slices.Contains(t.person.former, number) }

// arrived is the same subscriber under its new number.
func (t *turn) arrived(d *eventv1.SystemTransfer) []string {
	p := t.person
	id := p.tenant + "/" + d.GetMsisdn() + "/" + p.number
	from := t.world.moves[id]
	switch {
	case from == nil || t.world.arrived[key(t.event)]:
		return nil // it arrived before
	case p.alive:
		return []string{"TARGET_ACTIVE"}
	}
	delete(t.world.moves, id)
	t.world.arrived[key(t.event)] = true
	parked, ids, sentOn, calls := p.parked, p.ids, p.sentOn, p.calls
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
