package model

import (
	"math/big"
	"slices"
	"time"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// option is one safeguard of one subscriber.
type option struct {
	which   eventv1.Safeguard_Option
	offered bool
	state   eventv1.Safeguard_State

	currency string
	limit    int64
	limited  bool
	own      bool // the subscriber set the limit
	next     int64
	hasNext  bool
	alerts   []alert // the subscriber's own, nil where it has none
	// inactiveBlocks and perPayment are as last taken over from the class.
	inactiveBlocks bool
	perPayment     int64
	capped         bool

	day     int
	ownDay  bool // the subscriber chose the day
	changed bool // in this period
	zone    *time.Location
	start   time.Time
	end     time.Time

	spent, peak int64
	noticed     bool // second notice, in this period
	blocked     bool

	late    []late
	lateDue time.Time
}

// late is what came too late for a period that is over.
type late struct {
	start, end       time.Time
	sum              int64
	usage, givenBack bool
}

func (o *option) clone() *option {
	c := *o
	c.alerts, c.late = slices.Clone(o.alerts), slices.Clone(o.late)
	return &c
}

// block is the one bit: the option is offered and its limit is reached, or it is inactive and that means no access.
func (o *option) block() bool {
	switch {
	case !o.offered:
		return false
	case o.state == Active:
		return o.limited && o.spent >= o.limit
	default:
		return o.which == Overspend && o.inactiveBlocks
	}
}

// threshold is an alert with its amount under the present limit.
type threshold struct {
	alert
	at     int64
	second bool
}

// thresholds are those that can be crossed, ascending.
func (o *option) thresholds(r *rule) []threshold {
	configured := r.alerts
	if o.alerts != nil {
		configured = o.alerts
	}
	var all []threshold
	for _, a := range configured {
		if a.percent == 0 {
			all = append(all, threshold{alert: a, at: a.amount})
		} else if at, ok := share(o.limit, a.percent); ok && o.limited {
			all = append(all, threshold{alert: a, at: at})
		}
	}
	slices.SortStableFunc(all, func(a, b threshold) int { return big.NewInt(a.at).Cmp(big.NewInt(b.at)) })
	return all
}

// begin gives a subscriber the option.
func (o *option) begin(r *rule, now time.Time) {
	*o = option{which: o.which, offered: true, state: r.state, currency: r.currency, limit: r.limit, limited: r.limited,
		inactiveBlocks: r.inactiveBlocks, perPayment: r.perPayment, capped: r.capped, day: r.day, zone: r.zone}
	o.start, o.end = last(now, o.day, o.zone), next(now, o.day, o.zone)
	if o.state == Active && !o.limited {
		o.state = Inactive // the catalog does not allow it
	}
}

// count adds usage that was allowed to be added, and returns what is crossed.
func (o *option) count(r *rule, amount int64) (crossed []threshold, overshoot int64) {
	before := o.spent
	o.spent += amount
	if o.state == Active {
		for _, t := range o.thresholds(r) {
			if o.peak < t.at && t.at <= o.spent {
				crossed = append(crossed, t)
			}
		}
		o.peak = max(o.peak, o.spent)
		if o.limited && before < o.limit && o.spent > o.limit {
			overshoot = o.spent - o.limit
		}
	}
	if r.notes && !o.noticed && o.spent >= r.second {
		o.noticed = true
		crossed = append(crossed, threshold{alert: alert{amount: r.second}, at: r.second, second: true})
		slices.SortStableFunc(crossed, func(a, b threshold) int { return big.NewInt(a.at).Cmp(big.NewInt(b.at)) })
	}
	return crossed, overshoot
}

// giveBack takes a refund of this period, which is negative; rest is what was left over, negative too.
func (o *option) giveBack(amount int64) (rest int64) {
	o.spent += amount // of which the one is never negative and the other always is
	rest = min(o.spent, 0)
	o.spent = max(o.spent, 0)
	return rest
}

// putOff keeps what belongs to a period that is over until it is published.
func (o *option) putOff(start, end time.Time, amount int64, now time.Time) (fits bool) {
	if o.lateDue.IsZero() {
		o.lateDue = now.Add(time.Hour)
	}
	i := slices.IndexFunc(o.late, func(l late) bool { return l.start.Equal(start) })
	if i < 0 {
		o.late = append(o.late, late{start: start, end: end})
		slices.SortFunc(o.late, func(a, b late) int { return a.start.Compare(b.start) })
		i = slices.IndexFunc(o.late, func(l late) bool { return l.start.Equal(start) })
	}
	o.late[i].sum, fits = plus(o.late[i].sum, amount)
	o.late[i].usage = o.late[i].usage || amount > 0
	o.late[i].givenBack = o.late[i].givenBack || amount < 0
	return fits
}

// earlier is the period that an instant before the running one belongs to, by the present day and zone.
func (o *option) earlier(at time.Time, zone *time.Location) (start, end time.Time) {
	start, end = last(at, o.day, zone), next(at, o.day, zone)
	if end.After(o.start) {
		end = o.start
	}
	return start, end
}

// forecast is when the limit will be reached if it goes on so, in whole seconds; zero where it is not known.
func (o *option) forecast(at time.Time) time.Time {
	if !o.limited || o.spent <= 0 || o.spent >= o.limit || at.Sub(o.start) < time.Hour {
		return time.Time{}
	}
	left := new(big.Int).Sub(big.NewInt(o.limit), big.NewInt(o.spent))
	left.Mul(left, big.NewInt(at.Unix()-o.start.Unix()))
	left.Quo(left, big.NewInt(o.spent))
	left.Add(left, big.NewInt(at.Unix()))
	if !left.IsInt64() || left.Int64() > endOfTime {
		return time.Time{}
	}
	return time.Unix(left.Int64(), 0).UTC()
}

// endOfTime is the last second that a Timestamp can hold.
const endOfTime = 253402300799
