package safeguard

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// maxFormer bounds how many earlier numbers of a subscriber are kept at once.
const maxFormer = 8

// leave gives the subscriber another number: its record goes there, and a mark stays that sends on what still comes
// here. The network knows numbers: what is blocked is released here, and blocked there.
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
	if !t.lives() {
		return
	}
	t.followAll(t.class(), becauseCatalog)
	until := t.keptUntil()
	if t.sub.since = t.eventTime; t.sub.had(number) {
		t.sub.since = time.Time{}
	}
	kept := slices.DeleteFunc(slices.Clone(t.sub.former), func(f former) bool { return !f.until.After(t.at) || f.msisdn == number })
	kept = append(kept, former{t.msisdn, until})
	t.sub.former = kept[max(0, len(kept)-maxFormer):]
	for o := range spend.Option(spend.Options) {
		if t.sub.options[o].blocked {
			released := t.tell(o, kindReleased, becauseTransfer)
			released.as.blocked = false
		}
	}
	moving := t.sub
	t.moving = &moving
	t.sub = subscriber{life: moved, latest: t.eventTime, until: until, movedTo: number}
	t.contact.changed = true
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
