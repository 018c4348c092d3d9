package account

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// maxFormer bounds how many earlier numbers of a subscriber are kept at once.
const maxPrevious = 8

// transferKept is how long a transfer may be taken over or refused: a copy of its record that comes later, when
// the result of the first may not be known any more, does nothing.
const transferKept = 24 * time.Hour

// startTransfer begins to give the subscriber another number: its record goes there, and stays here as it is until the
// other number's owner has answered.
func (t *turn) startTransfer(to *eventv1.SubscriberMsisdnChanged) {
	number, ok := event.MSISDN(to.GetNewMsisdn())
	switch {
	case !ok:
		t.refuse(reason.EventInvalid, "data.new_msisdn "+event.FormMSISDN)
		return
	case number == t.msisdn:
		t.refuse(reason.EventInvalid, "data.new_msisdn must be another number")
		return
	}
	latest := t.sub.latest
	if !t.inLife() {
		return
	}
	move, transfer := t.asHeld(), t.past.TransferIdentity()
	// A move that is refused may be sent again under its id: what changes before it takes place derives from this attempt.
	t.identity = transfer
	t.followAll(t.class(), becauseCatalog)
	moving := t.sub
	if moving.since = t.eventTime; moving.hadNumber(number) {
		moving.since = time.Time{}
	}
	kept := slices.DeleteFunc(slices.Clone(moving.previous), func(f previousNumber) bool { return !f.until.After(t.at) || f.msisdn == number })
	kept = append(kept, previousNumber{t.msisdn, t.keptUntil()})
	moving.previous = kept[max(0, len(kept)-maxPrevious):]
	t.move = &moving
	t.sub.latest = latest
	t.sub.transferOut = &transferOut{to: number, transfer: transfer, move: move}
	t.held = true // its id is remembered once it has come about: one that was refused can be sent again
}

// duringTransfer works what comes for a subscriber on its way to another number: it is held, but for the answer that ends
// the wait.
func (t *turn) duringTransfer() {
	if d, ok := t.event.Data.(*controlv1.TransferSettled); ok {
		t.settleTransfer(d)
		return
	}
	l := *t.sub.transferOut
	if l.move.identity == t.identity {
		t.sameAs(&l.move)
		return
	}
	held, ok := t.addHeld(l.held)
	if !ok {
		t.refuse(refusedPending, "the subscriber is on its way to another number, and no more events can wait for it: send this one again")
		return
	}
	if l.held = held; t.held {
		t.sub.transferOut = &l
	}
}

// settleTransfer ends a change of number. Taken over, the number keeps a tombstone that sends on what still comes here; the
// network knows numbers: what is blocked is released here, once it is blocked there. Refused, the subscriber lives on here.
// What was held goes back into the log, and is worked as what comes now.
func (t *turn) settleTransfer(d *controlv1.TransferSettled) {
	l := t.sub.transferOut
	if l == nil || d.GetTransfer() != l.transfer.String() {
		return
	}
	move := l.move.event()
	t.cause = cause{event: move, identity: l.move.identity}
	t.changed, t.released = true, l.held
	if d.GetReason() != "" {
		t.sub.transferOut = nil
		t.rejected = append(t.rejected, rejectedEvent{&l.move, refusal{d.GetReason(), d.GetDetail()}})
		return
	}
	for o := range spend.Option(spend.Options) {
		if t.sub.Options[o].Blocked {
			released := t.addOutcome(o, KindReleased, becauseTransfer)
			released.as.Blocked = false
		}
	}
	latest := move.Time
	if latest.After(l.move.at) {
		latest = l.move.at
	}
	t.counted = append(t.counted, &l.move)
	t.sub = Subscriber{Life: LifeMoved, latest: latest, until: t.keptUntil(), movedTo: l.to}
	t.contact.changed = true
}

// precedes is whether a transfer to this number is held until its own subscriber's change of number, which began before,
// has ended. Of two that want each other's number the earlier is refused at once, so that no circle of transfers waits for
// itself.
func (l *transferOut) precedes(transfer *event.Event) bool {
	return l != nil && transfer.Time.After(l.move.at)
}

// keptUntil is the end of the next period, of the option whose ends last.
func (t *turn) keptUntil() time.Time {
	var until time.Time
	for o := range spend.Option(spend.Options) {
		d := &t.sub.Options[o]
		if d.State == spend.Unset {
			continue
		}
		zone := zoneOf(d.Period.End, d.RenewalDay)
		if of := t.offer(o); of != nil {
			zone = of.Zone
		}
		if end := d.Period.Next(d.RenewalDay, zone).End; end.After(until) {
			until = end
		}
	}
	if until.IsZero() {
		until = spend.PeriodAt(t.at, 1, time.UTC).Next(1, time.UTC).End
	}
	return until
}

// takeOver makes the record of a subscriber that has this number now. The number that it comes from is answered,
// unless the transfer is held.
func (t *turn) takeOver(transfer *controlv1.Transfer) {
	switch alive := t.exists && t.sub.Alive(); {
	case t.at.Sub(t.event.Time) > transferKept:
		t.refuseTransfer(refusedTransfer, "the subscriber's record was a day on its way: send this event again")
		return
	case alive && t.sub.transferOut.precedes(t.event):
		if t.duringTransfer(); !t.refused() {
			return
		}
		t.refusal = refusal{}
		fallthrough
	case alive:
		t.refuseTransfer(refusedTarget, "the new number belongs to an active subscriber: terminate that, then send this event again")
		return
	}
	held, owned := t.sub.held, t.exists && t.sub.Life != LifePending
	sub, err := t.past.TakeOver(transfer)
	if err != nil {
		t.refuseTransfer(refusedTransfer, err.Error())
		return
	}
	t.settlement = &settlement{}
	t.exists, t.sub = true, sub
	if !owned { // no other subscriber can have used the number before
		t.sub.since = time.Time{}
	}
	t.transferIn(held)
}

// refuseTransfer changes nothing of the record but its ids: a copy of the transfer that comes later would find the number
// free, and the subscriber would be two.
func (t *turn) refuseTransfer(reason, detail string) { t.settlement = &settlement{reason, detail} }

// transferIn goes on with a subscriber that has this number now.
func (t *turn) transferIn(waiting []heldEvent) {
	t.changed = true
	for o := range spend.Option(spend.Options) {
		if t.sub.Options[o].Blocked {
			t.addOutcome(o, KindReached, becauseTransfer)
		}
	}
	t.followAll(t.class(), becauseCatalog)
	t.release(waiting)
}

// ofPreviousOwner is whether usage that came to this number itself is not its present subscriber's: it is from before that
// one had the number, or was sent on to the one before. A subscriber that came from another number to one that no other is
// known to have had, or back to its own, answers for all of it.
func (t *turn) ofPreviousOwner() bool {
	if alone := len(t.sub.previous) > 0 && t.sub.since.IsZero(); alone {
		return false
	}
	return t.eventTime.Before(t.sub.since) || t.past != nil && t.past.SentOn()
}

// hadNumber is whether the subscriber had a number, from which usage may still be sent on.
func (s *Subscriber) hadNumber(msisdn string) bool {
	return slices.ContainsFunc(s.previous, func(f previousNumber) bool { return f.msisdn == msisdn })
}
