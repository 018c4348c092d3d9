package account

import (
	"time"

	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"
)

// apply does what a turn has decided. It is the only function that changes a record, publishes,
// or sets timers.
func (r *Rules) apply(s *fold.Subject[Subscriber], t *turn) {
	d := &t.decision
	if d.refused() {
		s.Reject(d.refusal.reason, d.refusal.detail)
		return
	}
	if d.sentOn {
		if err := s.Forward(s.Topic, t.event, d.sub.movedTo); err != nil {
			s.Reject(refusedUnknown, "the subscriber has another number by now, and the event can't be sent on to it: "+err.Error())
		}
		return
	}
	if d.settlement != nil {
		must("settle a transfer", s.Settle(s.Topic, t.event, d.settlement.reason, d.settlement.detail))
		if d.settlement.reason != "" {
			if s.Exists {
				s.Save(s.Body) // for the event's id alone
			}
			return
		}
	}
	for _, w := range d.rejected {
		held, err := w.event().Record(s.Topic)
		must("encode an event that was held", err)
		held.Value, held.Partition, held.Offset, held.Time = []byte(w.value), s.Partition, w.offset, w.at
		s.RejectWaiting(held, w.identity, w.refusal.reason, w.refusal.detail)
	}
	switch {
	case d.drop:
		s.Delete()
		return
	case !d.changed:
		return
	case d.held:
		s.Wait()
	}
	d.sub.Revision = s.Revision
	if d.move == nil {
		s.Save(d.sub)
		r.emit(s, t)
	} else { // outcomes are the moving subscriber's, so it is saved for as long as they and the transfer are made
		d.move.Revision = s.Revision
		s.Save(*d.move)
		r.emit(s, t)
		must("transfer a subscriber", s.Transfer(s.Topic, t.event, d.sub.transferOut.to))
		s.Save(d.sub)
	}
	for i := range d.released {
		h := &d.released[i]
		must("release an event that was held", s.Release(s.Topic, h.event(), t.msisdn, h.identity, []byte(h.value), h.offset))
	}
	for _, h := range d.counted {
		s.Remember(h.identity, h.content)
	}
	for _, reference := range d.refunded {
		s.Remember(reference, 0)
	}
	if d.contact.changed {
		s.KeepSideRecord(encodeContact(d.contact.Contact))
	}
	setTimers(s, &s.Body)
}

// must panics where something of ours can't be encoded: every field is bounded and UTF-8, and a record is far smaller than
// an event. The engine rejects the event then.
func must(what string, err error) {
	if err != nil {
		panic(what + ": " + err.Error())
	}
}

// emit publishes outcomes, in their order.
func (r *Rules) emit(s *fold.Subject[Subscriber], t *turn) {
	if len(t.outcomes) == 0 {
		return
	}
	if !t.contact.known {
		t.contact.Contact = decodeContact(s.SideRecord())
	}
	numbered(t.outcomes)
	for i := range t.outcomes {
		sequence, previous := s.NextSequence()
		e := t.outcomes[i].event(&r.encoding, t, sequence, previous)
		record, err := e.Record(r.safeguards)
		must("encode an outcome", err)
		s.Emit(record)
	}
	clear(t.outcomes)
	r.encoding.outcomes = t.outcomes[:0]
}

// setTimers sets those that follow from a record. While it is on its way to another number those of its options are not
// set: they fire there.
func setTimers(s *fold.Subject[Subscriber], sub *Subscriber) {
	for o := range sub.Options {
		d := &sub.Options[o]
		setTimer(s, timerPeriod[o], d.State != spend.Unset && sub.transferOut == nil, d.Period.End)
		setTimerAfter(s, timerLate[o], len(d.late) > 0 && sub.transferOut == nil, lateInterval)
	}
	setTimer(s, timerTombstone, sub.Life == LifeTerminated || sub.Life == LifeMoved, sub.until)
	setTimer(s, timerPending, sub.Pending(), sub.heldUntil)
}

// setTimer has a timer due at a time while it is wanted.
func setTimer(s *fold.Subject[Subscriber], name string, wanted bool, due time.Time) {
	at, set := s.Due(name)
	switch {
	case wanted && (!set || !at.Equal(due)):
		s.Schedule(name, due)
	case !wanted && set:
		s.Cancel(name)
	}
}

// setTimerAfter has a timer due a while after it was first wanted.
func setTimerAfter(s *fold.Subject[Subscriber], name string, wanted bool, after time.Duration) {
	due, set := s.Due(name)
	if !set {
		if !wanted {
			return
		}
		due = s.Time.Add(after)
	}
	setTimer(s, name, wanted, due)
}
