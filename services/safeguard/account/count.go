package account

import (
	"slices"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/reason"
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
func (t *turn) count(o spend.Option, c charge, of *Offer) {
	d := &t.sub.Options[o]
	switch {
	case c.amount == 0:
	case c.at.Before(d.Period.Start):
		t.putOff(o, earlier(c.at, d, of.Zone), c.amount)
	case c.amount < 0:
		t.refund(o, c)
	default:
		t.add(o, c, of)
	}
}

// add counts a charge of the running period. While the option is not active it is only recorded; the second notice
// has its outcome all the same.
func (t *turn) add(o spend.Option, c charge, of *Offer) {
	d := &t.sub.Options[o]
	before, was := d.Count.Spent, d.Blocked
	var crossings []spend.Crossing
	var err error
	if d.State == spend.Active {
		thresholds := of.Thresholds
		if len(d.Thresholds) > 0 {
			thresholds = d.Thresholds
		}
		d.Count, crossings, err = d.Count.Charge(c.amount, d.Limit, thresholds)
	} else {
		d.Count, err = d.Count.Record(c.amount)
	}
	if err != nil {
		t.refuse(reason.AmountInvalid, "spent "+before.String()+" and the amount together: "+spend.ErrOverflow.Error())
		return
	}
	notice := !d.Noticed && of.noticed(d.Count.Spent)
	d.Noticed = d.Noticed || notice
	t.changed = true
	t.decideBlock(o)
	for _, crossing := range crossings {
		if notice && of.SecondNotice < crossing.At {
			t.addNotice(o, of, c.reason)
			notice = false
		}
		alert := t.addOutcome(o, KindAlert, c.reason)
		alert.crossing, alert.part = crossing, crossing.Threshold.String()
	}
	if notice {
		t.addNotice(o, of, c.reason)
	}
	t.addBlockChange(o, was, c.reason)
	if d.State == spend.Active {
		if over := spend.Overshoot(before, d.Count.Spent, d.Limit); over > 0 {
			t.addOutcome(o, KindOvershoot, c.reason).amount = over
		}
	}
}

// secondNotice is the part of the alert for the second notice.
const secondNotice = "second_notice"

func (t *turn) addNotice(o spend.Option, of *Offer, reason string) {
	alert := t.addOutcome(o, KindAlert, reason)
	alert.crossing.At, alert.part = of.SecondNotice, secondNotice
}

// refund gives room back in the running period. What finds nothing to lower is added to what came late.
func (t *turn) refund(o spend.Option, c charge) {
	d := &t.sub.Options[o]
	next, rest, err := d.Count.Refund(c.amount)
	if err != nil {
		t.refuse(reason.AmountInvalid, "spent "+d.Count.Spent.String()+" and the refund together: "+spend.ErrOverflow.Error())
		return
	}
	was := d.Blocked
	d.Count = next
	t.changed = true
	t.decideBlock(o)
	t.addBlockChange(o, was, becauseRefund)
	if rest != 0 {
		t.putOff(o, d.Period, rest)
	}
}

// earlier is the period before the running one that a time lies in.
func earlier(at time.Time, d *Option, zone *time.Location) spend.Period {
	p := spend.PeriodAt(at, d.RenewalDay, zone)
	if p.End.After(d.Period.Start) { // the renewal day was another then
		p.End = d.Period.Start
	}
	return p
}

// putOff adds to the sum of a period that has an outcome once an hour: usage that came late, and refunds that found nothing
// to lower.
func (t *turn) putOff(o spend.Option, p spend.Period, amount spend.Amount) {
	d := &t.sub.Options[o]
	i, found := slices.BinarySearchFunc(d.late, p, func(l late, p spend.Period) int { return l.period.Start.Compare(p.Start) })
	own := slices.Clone(d.late) // the record's may be shared with what was committed
	if !found {
		own = slices.Insert(own, i, late{period: p})
	}
	sum, err := own[i].sum.Add(amount)
	if err != nil {
		t.refuse(reason.AmountInvalid, "the sum of what came late: "+spend.ErrOverflow.Error())
		return
	}
	own[i].sum = sum
	d.late = own
	t.changed = true
}

// addLate adds outcomes for what was put off.
func (t *turn) addLate(o spend.Option) {
	sums := t.sub.Options[o].late
	t.sub.Options[o].late = nil
	for _, l := range sums {
		reason := becauseUsage
		if l.sum < 0 {
			reason = becauseRefund
		}
		late := t.addOutcome(o, KindLate, reason)
		late.amount, late.period, late.part = l.sum, l.period, strconv.FormatInt(l.period.Start.Unix(), 10)
	}
}
