package safeguard

import (
	"slices"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/spend"
)

// charge is what an event asks of an option.
type charge struct {
	amount spend.Amount
	// at decides the period: the event's own time, or of a refund that of what it corrects.
	at time.Time
	// reason of what follows.
	reason string
}

// count adds a charge to an option, or takes a refund back.
func (t *turn) count(o spend.Option, c charge, of *offer) {
	d := &t.sub.options[o]
	switch {
	case c.amount == 0:
	case c.at.Before(d.period.Start):
		t.putOff(o, earlier(c.at, d, of.Zone), c.amount)
	case c.amount < 0:
		t.refund(o, c)
	default:
		t.add(o, c, of)
	}
}

// add counts a charge of the running period. While the option is not active it is only recorded; the second notice is
// told all the same.
func (t *turn) add(o spend.Option, c charge, of *offer) {
	d := &t.sub.options[o]
	before, was := d.count.Spent, d.blocked
	var crossings []spend.Crossing
	var err error
	if d.state == spend.Active {
		thresholds := of.Thresholds
		if len(d.thresholds) > 0 {
			thresholds = d.thresholds
		}
		d.count, crossings, err = d.count.Charge(c.amount, d.limit, thresholds)
	} else {
		d.count, err = d.count.Record(c.amount)
	}
	if err != nil {
		t.refuse(refusedAmount, "spent "+before.String()+" and the amount together: "+spend.ErrOverflow.Error())
		return
	}
	notice := !d.noticed && of.noticed(d.count.Spent)
	d.noticed = d.noticed || notice
	t.changed = true
	t.judge(o)
	for _, crossing := range crossings {
		if notice && of.SecondNotice < crossing.At {
			t.tellNotice(o, of, c.reason)
			notice = false
		}
		alert := t.tell(o, kindAlert, c.reason)
		alert.crossing, alert.part = crossing, crossing.Threshold.String()
	}
	if notice {
		t.tellNotice(o, of, c.reason)
	}
	t.tellBlocked(o, was, c.reason)
	if d.state == spend.Active {
		if over := spend.Overshoot(before, d.count.Spent, d.limit); over > 0 {
			t.tell(o, kindOvershoot, c.reason).amount = over
		}
	}
}

// secondNotice tells an alert's part of its identity.
const secondNotice = "second_notice"

func (t *turn) tellNotice(o spend.Option, of *offer, reason string) {
	alert := t.tell(o, kindAlert, reason)
	alert.crossing.At, alert.part = of.SecondNotice, secondNotice
}

// refund gives room back in the running period. What finds nothing to lower is told with what came late.
func (t *turn) refund(o spend.Option, c charge) {
	d := &t.sub.options[o]
	next, rest, err := d.count.Refund(c.amount)
	if err != nil {
		t.refuse(refusedAmount, "spent "+d.count.Spent.String()+" and the refund together: "+spend.ErrOverflow.Error())
		return
	}
	was := d.blocked
	d.count = next
	t.changed = true
	t.judge(o)
	t.tellBlocked(o, was, becauseRefund)
	if rest != 0 {
		t.putOff(o, d.period, rest)
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
func (t *turn) putOff(o spend.Option, p spend.Period, amount spend.Amount) {
	d := &t.sub.options[o]
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
func (t *turn) tellLate(o spend.Option) {
	sums := t.sub.options[o].late
	t.sub.options[o].late = nil
	for _, l := range sums {
		reason := becauseUsage
		if l.sum < 0 {
			reason = becauseRefund
		}
		told := t.tell(o, kindLate, reason)
		told.amount, told.period, told.part = l.sum, l.period, strconv.FormatInt(l.period.Start.Unix(), 10)
	}
}
