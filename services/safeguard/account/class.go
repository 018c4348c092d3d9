package account

import "github.com/tollgate/tollgate/pkg/spend"

// begin gives the subscriber an option, from the period that runs now.
func (t *turn) begin(o spend.Option, of *Offer, given initial, reason string) {
	d := &t.sub.Options[o]
	*d = Option{State: of.DefaultState, RenewalDay: of.RenewalDay, Currency: of.Currency}
	d.adopt(of)
	if given.day != 0 {
		d.RenewalDay, d.OwnDay = given.day, true
	}
	d.Period = spend.PeriodAt(t.at, d.RenewalDay, of.Zone)
	if given.limited {
		d.Limit, d.Limited, d.OwnLimit = given.limit, true, true
	}
	if given.hasNext {
		d.Next, d.HasNext = given.next, true
	}
	if given.state != spend.Unset {
		d.State = given.state
	}
	if d.State == spend.Active && !d.Limited {
		d.State = spend.Inactive // the catalog does not let it come to this
	}
	d.Count.Spent = given.spent
	// Thresholds that lie behind were crossed in the system that counted before.
	d.Count = d.Count.RaisePeak()
	d.Noticed = of.noticed(d.Count.Spent)
	t.changed = true
	t.decideBlock(o)
	if d.State != spend.Inactive {
		t.addStateChange(o, reason)
	}
	t.addBlockChange(o, false, reason)
}

// initial is where an option stands already when it begins; the zero value is nowhere.
type initial struct {
	state   spend.State
	day     spend.RenewalDay
	limited bool
	limit   spend.Amount
	hasNext bool
	next    spend.Amount
	spent   spend.Amount
}

// end takes an option away for good.
func (t *turn) end(o spend.Option, reason string) {
	if t.sub.Options[o].Offered() {
		t.withdraw(o, reason)
	}
	t.sub.Options[o] = Option{}
	t.changed = true
}

// withdraw takes an option away that the class does not offer any more. What was spent stays to the end of the period, and
// what the subscriber set for as long as there is a subscriber: a class that comes back, or the next one, goes on from it.
func (t *turn) withdraw(o spend.Option, reason string) {
	t.addLate(o)
	d := &t.sub.Options[o]
	was := d.Blocked
	d.Withdrawn = true
	t.decideBlock(o)
	t.addBlockChange(o, was, reason)
	if d.State != spend.Inactive {
		t.addOutcome(o, KindDeactivated, reason)
	}
	t.changed = true
}

// follow takes over what the class offers of an option by now, before anything else is done to it.
func (t *turn) follow(o spend.Option, c *Class, reason string) {
	if c == nil {
		return // The class is gone: the record stays as it is until the class is back, or the subscriber has another.
	}
	d, of := &t.sub.Options[o], c.Offers[o]
	switch {
	case of == nil && d.Offered():
		t.withdraw(o, reason)
	case of == nil:
	case d.State == spend.Unset:
		t.begin(o, of, initial{}, reason)
	case d.Withdrawn || !d.agrees(of):
		t.change(o, of, reason)
	}
}

// followAll does so for every option. Those whose period ends at this very moment are left to their own timers, which
// take over a new limit for the new period: no subscriber is blocked in between by it on spend that is about to be dropped.
func (t *turn) followAll(c *Class, reason string) {
	for o := range spend.Option(spend.Options) {
		if d := &t.sub.Options[o]; d.State == spend.Unset || d.Period.End.After(t.at) {
			t.follow(o, c, reason)
		}
	}
}

// change takes over the offer, and adds outcomes for what that changed.
func (t *turn) change(o spend.Option, of *Offer, reason string) {
	d := &t.sub.Options[o]
	if d.Currency != of.Currency {
		t.addLate(o) // in the currency it came in
	}
	was, before := d.Blocked, *d
	back := d.Withdrawn
	d.Withdrawn = false
	d.adopt(of)
	t.changed = true
	t.decideBlock(o)
	switch {
	case back && d.State != spend.Inactive:
		t.addStateChange(o, reason)
	case !back && d.differs(&before):
		t.addOutcome(o, KindLimitChanged, reason)
	}
	if d.Currency != before.Currency {
		t.addOutcome(o, KindRenewed, becauseCurrency)
	}
	if d.State != before.State {
		t.addStateChange(o, reason)
	}
	t.addBlockChange(o, was, reason)
}

// agrees is whether the option has what the class offers.
func (o *Option) agrees(of *Offer) bool {
	return o.Currency == of.Currency && o.BlockInactive == of.BlockInactive &&
		o.PerPayment == of.PerPayment &&
		(o.OwnLimit || o.Limited == of.HasLimit && o.Limit == of.Limit || !of.HasLimit && o.State == spend.Active)
}

// limits are those of an option that there are, with their currency.
type limits struct {
	limited, hasNext, capped bool
	limit, next, perPayment  spend.Amount
	currency                 string
}

func (o *Option) limits() (l limits) {
	if o.Limited {
		l.limited, l.limit = true, o.Limit
	}
	if o.HasNext {
		l.hasNext, l.next = true, o.Next
	}
	if o.PerPayment != spend.Max {
		l.capped, l.perPayment = true, o.PerPayment
	}
	if l.limited || l.hasNext || l.capped { // without any, a currency limits nothing
		l.currency = o.Currency
	}
	return l
}

// differs is whether a limit is another one.
func (o *Option) differs(before *Option) bool { return o.limits() != before.limits() }

// adopt takes over the amounts of the offer. Amounts of another currency are no figures under it: there is no
// conversion, so spend begins at 0 and the subscriber's own limits are gone.
func (o *Option) adopt(of *Offer) {
	if o.Currency != of.Currency {
		o.Currency = of.Currency
		o.Count, o.Noticed = spend.Count{}, false
		o.Limited, o.OwnLimit, o.Limit = false, false, 0
		o.HasNext, o.Next = false, 0
		for _, t := range o.Thresholds {
			if t.Percent == 0 {
				o.Thresholds = nil
				break
			}
		}
		if !of.HasLimit && o.State == spend.Active {
			o.State = spend.Inactive
		}
	}
	o.BlockInactive, o.PerPayment = of.BlockInactive, of.PerPayment
	if !o.OwnLimit && (of.HasLimit || o.State != spend.Active) { // who is protected stays so
		o.Limited, o.Limit = of.HasLimit, of.Limit
	}
}
