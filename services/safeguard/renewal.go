package safeguard

import (
	"time"

	"github.com/tollgate/tollgate/pkg/spend"
)

// renew begins an option's next period, at the end of the running one. The others take over what the class says by now.
func (t *turn) renew(o spend.Option) {
	c := t.class()
	t.renewOne(o, c)
	t.followAll(c, becauseCatalog)
}

func (t *turn) renewOne(o spend.Option, c *class) {
	d := &t.sub.options[o]
	if d.state == spend.Unset {
		return
	}
	var of *offer
	if c != nil {
		if of = c.offers[o]; of == nil && !d.withdrawn {
			t.withdraw(o, becauseCatalog)
		}
	}
	before := *d
	d.withdrawn = d.withdrawn && of == nil
	zone := zoneOf(d.period.End, d.renewalDay)
	if of != nil {
		// What the class says by now holds for the new period, and is told once: neither reached nor released in between.
		if d.currency != of.Currency {
			t.tellLate(o)
		}
		d.adopt(of)
		if zone = of.Zone; !d.ownDay {
			d.renewalDay = of.RenewalDay
		}
	}
	reason := becauseCatalog
	if d.hasNext {
		d.limit, d.limited, d.own, reason = d.next, true, true, becauseRenewal
		d.next, d.hasNext = 0, false
		before.next, before.hasNext = 0, false // that it holds from now on is no change of a limit by itself
	}
	d.count, d.noticed, d.dayChanged = spend.Count{}, false, false
	d.state = d.state.AtRenewal()
	d.period = d.period.Next(d.renewalDay, zone)
	t.changed = true
	t.judge(o)
	switch {
	case d.withdrawn: // what the subscriber set is kept, in case the option comes back; nobody is told of it
		return
	case before.withdrawn:
		if d.state != spend.Inactive {
			t.tellState(o, becauseCatalog)
		}
		t.tellBlocked(o, false, becauseCatalog)
		return
	}
	if d.differs(&before) {
		t.tell(o, kindLimitChanged, reason)
	}
	t.tell(o, kindRenewed, becauseRenewal)
	if d.state != before.state {
		t.tellState(o, becauseRenewal)
	}
	if !d.blocked || d.state != before.state {
		reason = becauseRenewal
	}
	// Nothing but a limit that became 0, or the class's word on what inactive means, blocks when nothing is spent.
	t.tellBlocked(o, before.blocked, reason)
}

// zoneOf stands in for the zone of a class that is gone: the one whose midnight the period ended at. Noon of UTC is a
// midnight west of it and one east of it, of which the renewal day tells the right one. It knows nothing of the clocks being
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
