package account

import (
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// maxHeld bounds what is held for one number, in bytes of its record.
const maxHeld = 64 << 10

// hold keeps usage of a number that is not activated until its activation, which may be on its way: producers of usage and
// of activations do not wait for each other. So it does for a number that was terminated: a change of the SIM is often
// published as a termination and an activation.
func (t *turn) hold() {
	grace := t.catalog.Tenant(t.tenant).UnknownGrace
	switch {
	case grace <= 0 && !t.sub.Pending(), t.past == nil:
		t.refuse(refusedUnknown, "no active subscriber has this MSISDN: send subscriber.activated first, then this event again")
		return
	case !t.exists:
		t.sub = Subscriber{Life: LifePending, heldUntil: t.at.Add(grace)}
	case !t.sub.Pending():
		t.sub.heldUntil = t.at.Add(grace)
	}
	waiting, ok := t.addHeld(t.sub.held)
	if !ok {
		t.refuse(refusedUnknown, "no active subscriber has this MSISDN, and no more usage can wait for it: send subscriber.activated first, then this event again")
		return
	}
	t.sub.held = waiting
}

// asHeld is the event as the record holds it.
func (t *turn) asHeld() heldEvent {
	return heldEvent{identity: t.identity, content: t.event.Content(), offset: t.past.Offset(), at: t.at, trace: t.event.Trace, value: string(t.past.Value())}
}

// addHeld adds the event to what is held, once; not ok where there is no room.
func (t *turn) addHeld(waiting []heldEvent) (all []heldEvent, ok bool) {
	p := t.asHeld()
	size := p.size()
	for i := range waiting {
		if waiting[i].identity == p.identity {
			t.sameAs(&waiting[i])
			return waiting, true
		}
		size += waiting[i].size()
	}
	if size > maxHeld {
		return waiting, false
	}
	t.changed, t.held = true, true
	own := make([]heldEvent, len(waiting), len(waiting)+1) // the record's may be shared with what was committed
	copy(own, waiting)
	return append(own, p), true
}

// sameAs refuses the event where it has the id of one that is held, and is another.
func (t *turn) sameAs(p *heldEvent) {
	if p.content != t.event.Content() {
		t.refuse(reason.IDReused, "another event with this id and source is held already: give each event an id of its own")
	}
}

// size is what it takes of the record, at most.
func (p *heldEvent) size() int { return len(p.value) + len(p.trace) + 48 }

// release works what was held, in the order of the log, each under its own id. What is refused is rejected.
func (t *turn) release(waiting []heldEvent) {
	for i := range waiting {
		p := &waiting[i]
		e := p.event()
		u := *t
		u.cause = cause{event: e, identity: p.identity}
		u.eventTime, u.arrived = e.Time, p.at
		if u.eventTime.After(p.at) {
			u.eventTime = p.at
		}
		u.changed, u.outcomes, u.giving = false, nil, 0
		u.used(e.Data.(*eventv1.UsageCharged))
		if u.refused() {
			t.rejected = append(t.rejected, rejectedEvent{p, u.refusal})
			continue
		}
		t.sub, t.refunded = u.sub, u.refunded
		t.outcomes = append(t.outcomes, u.outcomes...)
		if u.changed {
			t.counted = append(t.counted, p)
		}
	}
}

// rejectedEvent is one that was held in vain.
type rejectedEvent struct {
	*heldEvent
	refusal refusal
}

// rejectHeld ends the time that usage is held for a number: the number is activated with the tenant's default class, or what
// was held is rejected.
func (t *turn) rejectHeld() {
	waiting := t.sub.held
	why := refusal{refusedUnknown, "this MSISDN was not activated while the usage waited: send subscriber.activated first, then this event again"}
	begin, begun := t.sub.heldSince(waiting)
	if id := t.catalog.Tenant(t.tenant).DefaultClass; id != "" && begun {
		if c := t.catalog.Class(t.tenant, id); c != nil {
			t.sub = Subscriber{Activated: begin, Class: id}
			t.sub.latest = t.sub.Activated
			t.beginAll(c, [spend.Options]initial{})
			t.release(waiting)
			return
		}
		why = refusal{reason.ClassOfServiceUnknown, "the tenant's default class of service " + id + " is not configured: create or undelete it, then send this event again"}
	}
	for i := range waiting {
		t.rejected = append(t.rejected, rejectedEvent{&waiting[i], why})
	}
	t.sub.held, t.sub.heldUntil = nil, time.Time{}
	t.drop, t.changed = t.sub.Life == LifePending, true
}

// heldSince is the own time of the oldest usage that is held: none of it is from before an activation then. What is from
// before a termination counts for no subscriber: where there is nothing else, it is not ok.
func (s *Subscriber) heldSince(waiting []heldEvent) (first time.Time, ok bool) {
	for i := range waiting {
		at := waiting[i].event().Time
		if at.After(waiting[i].at) {
			at = waiting[i].at
		}
		if s.Life == LifeTerminated && at.Before(s.latest) {
			continue
		}
		if !ok || at.Before(first) {
			first, ok = at, true
		}
	}
	return first, ok
}

// event is what is held, as it was decoded when it came.
func (p *heldEvent) event() *event.Event {
	e, err := event.Decode([]byte(p.value))
	if err != nil {
		panic("decode an event that was held: " + err.Error()) // it was when it came
	}
	e.Trace = p.trace
	return e
}
