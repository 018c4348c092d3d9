package safeguard

import "github.com/tollgate/tollgate/pkg/spend"

// begin gives the subscriber an option, from the period that runs now.
func (t *turn) begin(o spend.Option, of *offer, given initial, reason string) {
	d := &t.sub.options[o]
	*d = option{state: of.DefaultState, renewalDay: of.RenewalDay, currency: of.Currency}
	d.adopt(of)
	if given.day != 0 {
		d.renewalDay, d.ownDay = given.day, true
	}
	d.period = spend.PeriodAt(t.at, d.renewalDay, of.Zone)
	if given.limited {
		d.limit, d.limited, d.own = given.limit, true, true
	}
	if given.hasNext {
		d.next, d.hasNext = given.next, true
	}
	if given.state != spend.Unset {
		d.state = given.state
	}
	if d.state == spend.Active && !d.limited {
		d.state = spend.Inactive // the catalog does not let it come to this
	}
	d.count.Spent = given.spent
	// What lies behind was told by whoever counted before.
	d.count = d.count.Told()
	d.noticed = of.noticed(d.count.Spent)
	t.changed = true
	t.judge(o)
	if d.state != spend.Inactive {
		t.tellState(o, reason)
	}
	t.tellBlocked(o, false, reason)
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
	if t.sub.options[o].offered() {
		t.withdraw(o, reason)
	}
	t.sub.options[o] = option{}
	t.changed = true
}

// withdraw takes an option away that the class does not offer any more. What was spent stays to the end of the period, and
// what the subscriber set for as long as there is a subscriber: a class that comes back, or the next one, goes on from it.
func (t *turn) withdraw(o spend.Option, reason string) {
	t.tellLate(o)
	d := &t.sub.options[o]
	was := d.blocked
	d.withdrawn = true
	t.judge(o)
	t.tellBlocked(o, was, reason)
	if d.state != spend.Inactive {
		t.tell(o, kindDeactivated, reason)
	}
	t.changed = true
}

// follow takes over what the class says of an option by now, before anything else happens to it.
func (t *turn) follow(o spend.Option, c *class, reason string) {
	if c == nil {
		return // The class is gone: what was judged last stands until it is back, or the subscriber has another.
	}
	d, of := &t.sub.options[o], c.offers[o]
	switch {
	case of == nil && d.offered():
		t.withdraw(o, reason)
	case of == nil:
	case d.state == spend.Unset:
		t.begin(o, of, initial{}, reason)
	case d.withdrawn || !d.agrees(of):
		t.change(o, of, reason)
	}
}

// followAll does so for every option. Those whose period ends at this very moment are left to their own timers, which
// take over a new limit for the new period: in between nobody is blocked by it on spend that is being forgotten.
func (t *turn) followAll(c *class, reason string) {
	for o := range spend.Option(spend.Options) {
		if d := &t.sub.options[o]; d.state == spend.Unset || d.period.End.After(t.at) {
			t.follow(o, c, reason)
		}
	}
}

// change takes over what the offer says, and tells what that changed.
func (t *turn) change(o spend.Option, of *offer, reason string) {
	d := &t.sub.options[o]
	if d.currency != of.Currency {
		t.tellLate(o) // in the currency it came in
	}
	was, before := d.blocked, *d
	back := d.withdrawn
	d.withdrawn = false
	d.adopt(of)
	t.changed = true
	t.judge(o)
	switch {
	case back && d.state != spend.Inactive:
		t.tellState(o, reason)
	case !back && d.differs(&before):
		t.tell(o, kindLimitChanged, reason)
	}
	if d.currency != before.currency {
		t.tell(o, kindRenewed, becauseCurrency)
	}
	if d.state != before.state {
		t.tellState(o, reason)
	}
	t.tellBlocked(o, was, reason)
}

// agrees says that the option has what the offer says.
func (o *option) agrees(of *offer) bool {
	return o.currency == of.Currency && o.blockInactive == of.BlockInactive &&
		o.perPayment == of.PerPayment &&
		(o.own || o.limited == of.HasLimit && o.limit == of.Limit || !of.HasLimit && o.state == spend.Active)
}

// limits are those of an option that there are, with their currency.
type limits struct {
	limited, hasNext, capped bool
	limit, next, perPayment  spend.Amount
	currency                 string
}

func (o *option) limits() (l limits) {
	if o.limited {
		l.limited, l.limit = true, o.limit
	}
	if o.hasNext {
		l.hasNext, l.next = true, o.next
	}
	if o.perPayment != spend.Max {
		l.capped, l.perPayment = true, o.perPayment
	}
	if l.limited || l.hasNext || l.capped { // without any, a currency limits nothing
		l.currency = o.currency
	}
	return l
}

// differs says that a limit is another one.
func (o *option) differs(before *option) bool { return o.limits() != before.limits() }

// adopt takes over what the offer says of money. Amounts of another currency are no figures under it: there is no
// conversion, so spend begins at 0 and the subscriber's own limits are gone.
func (o *option) adopt(of *offer) {
	if o.currency != of.Currency {
		o.currency = of.Currency
		o.count, o.noticed = spend.Count{}, false
		o.limited, o.own, o.limit = false, false, 0
		o.hasNext, o.next = false, 0
		for _, t := range o.thresholds {
			if t.Percent == 0 {
				o.thresholds = nil
				break
			}
		}
		if !of.HasLimit && o.state == spend.Active {
			o.state = spend.Inactive
		}
	}
	o.blockInactive, o.perPayment = of.BlockInactive, of.PerPayment
	if !o.own && (of.HasLimit || o.state != spend.Active) { // who is protected stays so
		o.limited, o.limit = of.HasLimit, of.Limit
	}
}
