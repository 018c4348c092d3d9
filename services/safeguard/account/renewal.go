package account

import (
	"time"

	"github.com/tollgate/tollgate/pkg/spend"
)

// renew begins an option's next period, at the end of the running one. The others take over what the class offers by now.
func (t *turn) renew(o spend.Option) {
	c := t.class()
	t.renewOne(o, c)
	t.followAll(c, becauseCatalog)
}

func (t *turn) renewOne(o spend.Option, c *Class) {
	d := &t.sub.Options[o]
	if d.State == spend.Unset {
		return
	}
	var of *Offer
	if c != nil {
		if of = c.Offers[o]; of == nil && !d.Withdrawn {
			t.withdraw(o, becauseCatalog)
		}
	}
	before := *d
	d.Withdrawn = d.Withdrawn && of == nil
	zone := zoneOf(d.Period.End, d.RenewalDay)
	if of != nil {
		// What the class offers by now holds for the new period, and has one outcome: neither reached nor released in between.
		if d.Currency != of.Currency {
			t.addLate(o)
		}
		d.adopt(of)
		if zone = of.Zone; !d.OwnDay {
			d.RenewalDay = of.RenewalDay
		}
	}
	reason := becauseCatalog
	if d.HasNext {
		d.Limit, d.Limited, d.OwnLimit, reason = d.Next, true, true, becauseRenewal
		d.Next, d.HasNext = 0, false
		before.Next, before.HasNext = 0, false // that it holds from now on is no change of a limit by itself
	}
	d.Count, d.Noticed, d.DayChanged = spend.Count{}, false, false
	d.State = d.State.AtRenewal()
	d.Period = d.Period.Next(d.RenewalDay, zone)
	t.changed = true
	t.decideBlock(o)
	switch {
	case d.Withdrawn: // what the subscriber set is kept, in case the option comes back; there is no outcome
		return
	case before.Withdrawn:
		if d.State != spend.Inactive {
			t.addStateChange(o, becauseCatalog)
		}
		t.addBlockChange(o, false, becauseCatalog)
		return
	}
	if d.differs(&before) {
		t.addOutcome(o, KindLimitChanged, reason)
	}
	t.addOutcome(o, KindRenewed, becauseRenewal)
	if d.State != before.State {
		t.addStateChange(o, becauseRenewal)
	}
	if !d.Blocked || d.State != before.State {
		reason = becauseRenewal
	}
	// Only a limit of 0, or a class in which inactive options block, blocks when nothing is spent.
	t.addBlockChange(o, before.Blocked, reason)
}

// zoneOf stands in for the zone of a class that is gone: the one whose midnight the period ended at. Noon of UTC is a
// midnight west of it and one east of it, of which the renewal day shows the right one. It knows nothing of the clocks being
// changed; the class, once it is back, does.
func zoneOf(midnight time.Time, renewal spend.RenewalDay) *time.Location {
	const day = 24 * 60 * 60
	past := int(midnight.Unix() % day)
	west := time.FixedZone("", -past)
	if past == 0 || midnight.In(west).Day() == int(renewal) {
		return west
	}
	return time.FixedZone("", day-past)
}
