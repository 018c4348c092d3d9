package safeguard

import (
	"time"

	"github.com/tollgate/tollgate/pkg/spend"
)

// renew begins the next period, at the end of the running one.
func (t *turn) renew() {
	d := &t.sub.data
	c := t.catalog.class(t.tenant, t.sub.class)
	if !d.offered() || c != nil && c.data == nil {
		t.follow(c)
		return
	}
	was := d.blocked
	limited := false
	zone := zoneOf(d.period.End)
	if c != nil {
		// What the class says by now holds for the new period, and is told once: neither reached nor released in between.
		if limited = d.limit != c.data.limit; limited {
			t.limit(c.data.limit)
		}
		d.renewalDay, zone = c.data.renewalDay, c.data.zone
	}
	d.count = spend.Count{}
	d.state = d.state.AtRenewal()
	d.period = d.period.Next(d.renewalDay, zone)
	t.judge()
	if limited {
		t.tell(kindLimitChanged, becauseCatalog)
	}
	t.tell(kindRenewed, becauseRenewal)
	reason := becauseRenewal
	if d.blocked {
		reason = becauseCatalog // nothing but a limit that became 0 blocks when nothing is spent
	}
	t.tellBlocked(was, reason)
}

// zoneOf stands in for the zone of a class that is gone: the one whose midnight the period ended at. It knows nothing of
// the clocks being changed; the class, once it is back, does.
func zoneOf(midnight time.Time) *time.Location {
	const day, half = 24 * 60 * 60, 12 * 60 * 60
	past := int(midnight.Unix() % day)
	offset := -past
	if past > half {
		offset = day - past
	}
	return time.FixedZone("", offset)
}
