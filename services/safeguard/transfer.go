package safeguard

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// maxFormer bounds how many earlier numbers of a subscriber are kept at once.
const maxFormer = 8

// transferKept is how long a transfer may be taken over or refused: a copy of its record that comes later, when nobody
// may know any more what became of the first, does nothing.
const transferKept = 24 * time.Hour

// leave begins to give the subscriber another number: its record goes there, and stays here as it is, until the other
// number's owner says what became of it.
func (t *turn) leave(to *eventv1.SubscriberMsisdnChanged) {
	number, ok := event.MSISDN(to.GetNewMsisdn())
	switch {
	case !ok:
		t.refuse(refusedInvalid, "data.new_msisdn "+event.FormMSISDN)
		return
	case number == t.msisdn:
		t.refuse(refusedInvalid, "data.new_msisdn must be another number")
		return
	}
	latest := t.sub.latest
	if !t.lives() {
		return
	}
	t.followAll(t.class(), becauseCatalog)
	moving := t.sub
	if moving.since = t.eventTime; moving.had(number) {
		moving.since = time.Time{}
	}
	kept := slices.DeleteFunc(slices.Clone(moving.former), func(f former) bool { return !f.until.After(t.at) || f.msisdn == number })
	kept = append(kept, former{t.msisdn, t.keptUntil()})
	moving.former = kept[max(0, len(kept)-maxFormer):]
	t.moving = &moving
	t.sub.latest = latest
	t.sub.leaving = &leaving{to: number, transfer: t.transfer, move: t.parked()}
	t.waits = true // its id is remembered once it has come about: one that was refused can be sent again
}

// away works what comes for a subscriber that is leaving: it is held, but for the word that ends the wait.
func (t *turn) away() {
	if d, ok := t.event.Data.(*controlv1.TransferSettled); ok {
		t.settle(d)
		return
	}
	l := *t.sub.leaving
	if l.move.identity == t.identity {
		t.sameAs(&l.move)
		return
	}
	held, ok := t.keep(l.held)
	if !ok {
		t.refuse(refusedPending, "the subscriber is on its way to another number, and no more events can wait for it: send this one again")
		return
	}
	if l.held = held; t.waits {
		t.sub.leaving = &l
	}
}

// settle ends a move. Taken over, the number keeps a mark that sends on what still comes here; the network knows numbers:
// what is blocked is released here, once it is blocked there. Refused, the subscriber lives on here. What was held goes
// back into the log, and is worked as what comes now.
func (t *turn) settle(d *controlv1.TransferSettled) {
	l := t.sub.leaving
	if l == nil || d.GetTransfer() != l.transfer.String() {
		return
	}
	move := l.move.event()
	t.cause = cause{event: move, identity: l.move.identity}
	t.changed, t.released = true, l.held
	if d.GetReason() != "" {
		t.sub.leaving = nil
		t.turnedAway = append(t.turnedAway, turnedAway{&l.move, refusal{d.GetReason(), d.GetDetail()}})
		return
	}
	for o := range spend.Option(spend.Options) {
		if t.sub.options[o].blocked {
			released := t.tell(o, kindReleased, becauseTransfer)
			released.as.blocked = false
		}
	}
	latest := move.Time
	if latest.After(l.move.at) {
		latest = l.move.at
	}
	t.counted = append(t.counted, &l.move)
	t.sub = subscriber{life: moved, latest: latest, until: t.keptUntil(), movedTo: l.to}
	t.contact.changed = true
}

// awaits says that a transfer to this number waits for the end of its own subscriber's move, which began before: who
// leaves makes room for who comes. Of two that want each other's number the earlier is refused at once, so that no
// circle of moves waits for itself.
func (l *leaving) awaits(transfer *event.Event) bool {
	return l != nil && transfer.Time.After(l.move.at)
}

// keptUntil is the end of the next period, of the option whose ends last.
func (t *turn) keptUntil() time.Time {
	var until time.Time
	for o := range spend.Option(spend.Options) {
		d := &t.sub.options[o]
		if d.state == spend.Unset {
			continue
		}
		zone := zoneOf(d.period.End, d.renewalDay)
		if of := t.offer(o); of != nil {
			zone = of.Zone
		}
		if end := d.period.Next(d.renewalDay, zone).End; end.After(until) {
			until = end
		}
	}
	if until.IsZero() {
		until = spend.PeriodAt(t.at, 1, time.UTC).Next(1, time.UTC).End
	}
	return until
}

// arrive goes on with a subscriber that has this number now.
func (t *turn) arrive(waiting []parked) {
	t.changed = true
	for o := range spend.Option(spend.Options) {
		if t.sub.options[o].blocked {
			t.tell(o, kindReached, becauseTransfer)
		}
	}
	t.followAll(t.class(), becauseCatalog)
	t.takeUp(waiting)
}

// ofFormerOwner says that usage which came to this number itself is not its present subscriber's: it is from before that
// one had the number, or was sent on to the one before. Who came from another number to one that nobody else is known to
// have had, its own of before included, answers for all of it.
func (t *turn) ofFormerOwner() bool {
	if alone := len(t.sub.former) > 0 && t.sub.since.IsZero(); alone {
		return false
	}
	return t.eventTime.Before(t.sub.since) || t.memory != nil && t.memory.SentOn()
}

// had says whether the subscriber had a number, from which usage may still be sent on.
func (s *subscriber) had(msisdn string) bool {
	return slices.ContainsFunc(s.former, func(f former) bool { return f.msisdn == msisdn })
}
