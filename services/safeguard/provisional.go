package safeguard

import (
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// maxParked bounds what waits for one number, in bytes of its record.
const maxParked = 64 << 10

// park lets usage of a number that nobody has activated wait for its activation, which may be on its way: producers of
// usage and of activations do not wait for each other. A number that was terminated is such a one: another SIM is often
// told as a termination and an activation.
func (t *turn) park() {
	grace := t.catalog.tenant(t.tenant).UnknownGrace
	switch {
	case grace <= 0 && !t.sub.pending(), t.value == nil:
		t.refuse(refusedUnknown, "no active subscriber has this MSISDN: send subscriber.activated first, then this event again")
		return
	case !t.exists:
		t.sub = subscriber{life: awaited, held: t.at.Add(grace)}
	case !t.sub.pending():
		t.sub.held = t.at.Add(grace)
	}
	waiting, ok := t.keep(t.sub.parked)
	if !ok {
		t.refuse(refusedUnknown, "no active subscriber has this MSISDN, and no more usage can wait for it: send subscriber.activated first, then this event again")
		return
	}
	t.sub.parked = waiting
}

// parked is the event as it waits in the record.
func (t *turn) parked() parked {
	return parked{identity: t.identity, content: t.event.Content(), offset: t.offset, at: t.at, trace: t.event.Trace, value: string(t.value)}
}

// keep adds the event to what waits, once; not ok where there is no room.
func (t *turn) keep(waiting []parked) (all []parked, ok bool) {
	p := t.parked()
	size := p.size()
	for i := range waiting {
		if waiting[i].identity == p.identity {
			t.sameAs(&waiting[i])
			return waiting, true
		}
		size += waiting[i].size()
	}
	if size > maxParked {
		return waiting, false
	}
	t.changed, t.waits = true, true
	own := make([]parked, len(waiting), len(waiting)+1) // the record's may be shared with what was committed
	copy(own, waiting)
	return append(own, p), true
}

// sameAs refuses the event where it has the id of one that waits, and is another.
func (t *turn) sameAs(p *parked) {
	if p.content != t.event.Content() {
		t.refuse(refusedReused, "another event with this id and source waits already: give each event an id of its own")
	}
}

// size is what it takes of the record, at most.
func (p *parked) size() int { return len(p.value) + len(p.trace) + 48 }

// takeUp works what has waited, in the order of the log, each under its own id. What is refused is turned away.
func (t *turn) takeUp(waiting []parked) {
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
			t.turnedAway = append(t.turnedAway, turnedAway{p, u.refusal})
			continue
		}
		t.sub, t.refunded = u.sub, u.refunded
		t.outcomes = append(t.outcomes, u.outcomes...)
		if u.changed {
			t.counted = append(t.counted, p)
		}
	}
}

// turnedAway is usage that has waited in vain.
type turnedAway struct {
	*parked
	refusal refusal
}

// giveUp ends the wait for a number: it is activated with the tenant's default class, or what has waited is rejected.
func (t *turn) giveUp() {
	waiting := t.sub.parked
	why := refusal{refusedUnknown, "nobody activated this MSISDN while the usage waited: send subscriber.activated first, then this event again"}
	begin, begun := t.sub.begun(waiting)
	if id := t.catalog.tenant(t.tenant).DefaultClass; id != "" && begun {
		if c := t.catalog.class(t.tenant, id); c != nil {
			t.sub = subscriber{activated: begin, class: id}
			t.sub.latest = t.sub.activated
			t.beginAll(c, [spend.Options]initial{})
			t.takeUp(waiting)
			return
		}
		why = refusal{refusedClass, "the tenant's default class of service " + id + " is not configured: create or undelete it, then send this event again"}
	}
	for i := range waiting {
		t.turnedAway = append(t.turnedAway, turnedAway{&waiting[i], why})
	}
	t.sub.parked, t.sub.held = nil, time.Time{}
	t.drop, t.changed = t.sub.life == awaited, true
}

// begun is the own time of the oldest usage that waits: none of it is from before an activation then. What is from before
// a termination is nobody's any more: where there is nothing else, it is not ok.
func (s *subscriber) begun(waiting []parked) (first time.Time, ok bool) {
	for i := range waiting {
		at := waiting[i].event().Time
		if at.After(waiting[i].at) {
			at = waiting[i].at
		}
		if s.life == terminated && at.Before(s.latest) {
			continue
		}
		if !ok || at.Before(first) {
			first, ok = at, true
		}
	}
	return first, ok
}

// event is what waits, as it was decoded when it came.
func (p *parked) event() *event.Event {
	e, err := event.Decode([]byte(p.value))
	if err != nil {
		panic("an event that waited can't be decoded: " + err.Error()) // it was when it came
	}
	e.Trace = p.trace
	return e
}

// record is the log record that it came in.
func (p *parked) record(topic string, partition int32) stream.Record {
	r, err := p.event().Record(topic)
	if err != nil {
		panic("encode an event that waited: " + err.Error())
	}
	r.Value, r.Partition, r.Offset, r.Time = []byte(p.value), partition, p.offset, p.at
	return r
}
