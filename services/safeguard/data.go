package safeguard

import (
	"slices"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/spend"
)

// begin gives the subscriber the option, from the period that runs now.
func (t *turn) begin(o *offer, reason string) {
	t.sub.data = option{
		state: spend.Active, renewalDay: o.renewalDay, limit: o.limit,
		period: spend.PeriodAt(t.at, o.renewalDay, o.zone),
	}
	t.judge()
	t.tell(kindActivated, reason)
	t.tellBlocked(false, reason)
}

// end takes the option away.
func (t *turn) end(reason string) {
	t.tellLate()
	was := t.sub.data.blocked
	t.sub.data.blocked = false
	t.tellBlocked(was, reason)
	t.tell(kindDeactivated, reason)
	t.sub.data = option{}
}

// follow takes over what the class says by now, before anything else happens to the option.
func (t *turn) follow(c *class) {
	d := &t.sub.data
	switch {
	case c == nil:
		// The class is gone: what was judged last stands until it is back, or the subscriber has another.
	case c.data == nil && d.offered():
		t.end(becauseCatalog)
	case c.data != nil && !d.offered():
		t.begin(c.data, becauseCatalog)
	case c.data != nil && d.limit != c.data.limit:
		was := d.blocked
		t.limit(c.data.limit)
		t.judge()
		t.tell(kindLimitChanged, becauseCatalog)
		t.tellBlocked(was, becauseCatalog)
	}
}

// limit changes the limit. What was spent in another currency is no figure under it.
func (t *turn) limit(limit spend.Money) {
	d := &t.sub.data
	if limit.Currency != d.limit.Currency {
		t.tellLate()
		d.count = spend.Count{}
	}
	d.limit = limit
}

// charge is what an event asks of the option.
type charge struct {
	amount spend.Amount
	// at decides the period: the event's own time, or of a refund that of what it corrects.
	at time.Time
}

// count adds a charge, or takes a refund back.
func (t *turn) count(c charge, o *offer) {
	d := &t.sub.data
	if c.amount == 0 {
		return
	}
	if c.at.Before(d.period.Start) {
		t.putOff(earlier(c.at, d, o.zone), c.amount)
		return
	}
	if c.amount < 0 {
		t.refund(c.amount)
		return
	}
	next, crossings, err := d.count.Charge(c.amount, d.limit.Amount, o.thresholds)
	if err != nil {
		t.refuse(refusedAmount, "spent "+d.count.Spent.String()+" and the amount together: "+spend.ErrOverflow.Error())
		return
	}
	overshoot := spend.Overshoot(d.count.Spent, next.Spent, d.limit.Amount)
	was := d.blocked
	d.count = next
	t.changed = true
	t.judge()
	for _, crossing := range crossings {
		alert := t.tell(kindAlert, becauseUsage)
		alert.crossing, alert.part = crossing, crossing.Threshold.String()
	}
	t.tellBlocked(was, becauseUsage)
	if overshoot > 0 {
		t.tell(kindOvershoot, becauseUsage).amount = overshoot
	}
}

// refund gives room back in the running period. What finds nothing to lower is told with what came late.
func (t *turn) refund(amount spend.Amount) {
	d := &t.sub.data
	next, rest, err := d.count.Refund(amount)
	if err != nil {
		t.refuse(refusedAmount, "spent "+d.count.Spent.String()+" and the refund together: "+spend.ErrOverflow.Error())
		return
	}
	was := d.blocked
	d.count = next
	t.changed = true
	t.judge()
	t.tellBlocked(was, becauseRefund)
	if rest != 0 {
		t.putOff(d.period, rest)
	}
}

// earlier is the period before the running one that a time lies in.
func earlier(at time.Time, d *option, zone *time.Location) spend.Period {
	p := spend.PeriodAt(at, d.renewalDay, zone)
	if p.End.After(d.period.Start) { // the renewal day was another then
		p.End = d.period.Start
	}
	return p
}

// putOff adds to what is told once an hour for its period: usage that came late, and refunds without room.
func (t *turn) putOff(p spend.Period, amount spend.Amount) {
	d := &t.sub.data
	i, found := slices.BinarySearchFunc(d.late, p, func(l late, p spend.Period) int { return l.period.Start.Compare(p.Start) })
	own := slices.Clone(d.late) // the record's may be shared with what was committed
	if !found {
		own = slices.Insert(own, i, late{period: p})
	}
	sum, err := own[i].sum.Add(amount)
	if err != nil {
		t.refuse(refusedAmount, "the sum of what came late: "+spend.ErrOverflow.Error())
		return
	}
	own[i].sum = sum
	d.late = own
	t.changed = true
}

// tellLate tells what was put off.
func (t *turn) tellLate() {
	sums := t.sub.data.late
	t.sub.data.late = nil
	for _, l := range sums {
		reason := becauseUsage
		if l.sum < 0 {
			reason = becauseRefund
		}
		told := t.tell(kindLate, reason)
		told.amount, told.period, told.part = l.sum, l.period, strconv.FormatInt(l.period.Start.Unix(), 10)
	}
}
