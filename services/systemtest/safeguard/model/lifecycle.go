package model

import (
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func (t *turn) stale() bool { return t.own.Before(t.person.lived) }

// refused is why a lifecycle event of a subscriber is rejected, nil where it is not.
func (t *turn) refused() []string {
	switch {
	case !t.person.alive:
		return []string{"SUBSCRIBER_UNKNOWN"}
	case t.stale():
		return []string{"STALE"}
	}
	return nil
}

func (t *turn) activated(d *eventv1.SubscriberActivated) (reasons []string) {
	p := t.person
	if p.alive {
		reasons = append(reasons, "ALREADY_ACTIVE")
	}
	if t.stale() {
		reasons = append(reasons, "STALE")
	}
	c := t.partition.classes[p.tenant+"/"+d.GetClassOfService()]
	if c == nil {
		reasons = append(reasons, "CLASS_OF_SERVICE_UNKNOWN")
	}
	for _, i := range d.GetOptions() {
		if c != nil {
			reasons = append(reasons, cannotImport(i, ruleOf(c, i.GetOption()))...)
		}
	}
	if len(reasons) > 0 {
		return reasons
	}
	pending := p.pending
	p.pending, p.pendingUntil = nil, time.Time{}
	t.appear(d)
	t.partition.release(p, pending, t.at)
	return nil
}

// appear begins a subscriber, with the options of its class.
func (t *turn) appear(d *eventv1.SubscriberActivated) {
	p := t.person
	p.alive, p.suspended, p.class, p.activated, p.lived = true, false, d.GetClassOfService(), t.own, t.own
	p.dead, p.movedTo, p.forget, p.previousNumbers, p.options = false, "", time.Time{}, nil, [3]*option{}
	p.since = time.Time{}
	t.counts = true
	for i, which := range Options {
		r, _ := t.rule(which)
		if r == nil {
			continue
		}
		o := &option{which: which}
		o.begin(r, t.at)
		p.options[i] = o
		for _, initial := range d.GetOptions() {
			if initial.GetOption() == which {
				o.importState(initial, r, t.at)
			}
		}
		t.turnBit(o, becauseActivation, func() { t.publishBegun(o, becauseActivation) })
	}
}

// cannotImport is why an option can't begin as it was in another system.
func cannotImport(i *eventv1.InitialOption, r *rule) (reasons []string) {
	if r == nil {
		return []string{"OPTION_NOT_OFFERED"}
	}
	for _, m := range []*money.Money{i.GetCurrentLimit(), i.GetNextLimit(), i.GetSpent()} {
		if m != nil && m.GetCurrencyCode() != r.currency {
			reasons = append(reasons, "CURRENCY_MISMATCH")
		}
	}
	if i.GetState() != 0 && !slices.Contains(r.states, i.GetState()) {
		reasons = append(reasons, "STATE_NOT_ELIGIBLE")
	}
	if i.GetState() == Active && !r.limited && i.GetCurrentLimit() == nil {
		reasons = append(reasons, "LIMIT_REQUIRED")
	}
	return reasons
}

// importState begins an option as it was in another system. Thresholds that were crossed there fire nothing here.
func (o *option) importState(i *eventv1.InitialOption, r *rule, now time.Time) {
	if d := i.GetRenewalDay(); d != 0 {
		o.day, o.ownDay = int(d), true
		o.start, o.end = last(now, o.day, o.zone), next(now, o.day, o.zone)
	}
	if m := i.GetCurrentLimit(); m != nil {
		o.limit, o.limited, o.own = mustNanos(m), true, true
	}
	if m := i.GetNextLimit(); m != nil {
		o.next, o.hasNext = mustNanos(m), true
	}
	o.state = r.state
	if s := i.GetState(); s != 0 {
		o.state = s
	}
	if o.state == Active && !o.limited {
		o.state = Inactive
	}
	o.spent = mustNanos(i.GetSpent())
	o.peak = o.spent
	o.noticed = r.notes && o.spent >= r.second
}

// publishBegun publishes the state in which an option begins, unless it is inactive.
func (t *turn) publishBegun(o *option, reason string) {
	if o.state != Inactive {
		t.publishState(o, reason)
	}
}

// publishState publishes the state that an option changed to.
func (t *turn) publishState(o *option, reason string) {
	switch o.state {
	case Active:
		t.publish(o, "activated", reason)
	case Inactive:
		t.publish(o, "deactivated", reason)
	default:
		t.publish(o, "opted_out", reason)
	}
}

func (t *turn) terminated() (reasons []string) {
	p := t.person
	if reasons := t.refused(); len(reasons) > 0 {
		return reasons
	}
	for _, o := range p.options {
		if o != nil && o.offered {
			t.end(o, becauseTermination)
		}
	}
	p.alive, p.dead, p.lived, p.forget, p.options = false, true, t.own, t.at.Add(t.partition.window(p.tenant)), [3]*option{}
	p.nothingLeft()
	t.counts = true
	return nil
}

// end takes an option away: what came late is published, the block ends.
func (t *turn) end(o *option, reason string) {
	t.publishLate(o)
	o.offered = false
	t.turnBit(o, reason)
	if o.state != Inactive {
		t.publish(o, "deactivated", reason)
	}
}

func (t *turn) suspended(is bool) []string {
	p := t.person
	if reasons := t.refused(); len(reasons) > 0 {
		return reasons
	}
	t.adoptAll(becauseCatalog)
	p.suspended, p.lived, t.counts = is, t.own, true
	return nil
}

func (t *turn) reclassed(d *eventv1.SubscriberClassOfServiceChanged) (reasons []string) {
	p := t.person
	if !p.alive {
		return []string{"SUBSCRIBER_UNKNOWN"}
	}
	if t.stale() {
		reasons = append(reasons, "STALE")
	}
	if t.partition.classes[p.tenant+"/"+d.GetClassOfService()] == nil {
		reasons = append(reasons, "CLASS_OF_SERVICE_UNKNOWN")
	}
	if len(reasons) > 0 {
		return reasons
	}
	reason := becauseClass
	if p.class == d.GetClassOfService() {
		reason = becauseCatalog
	}
	p.class, p.lived, t.counts = d.GetClassOfService(), t.own, true
	t.adoptAll(reason)
	return nil
}

// adoptAll leaves out options whose period ends right now: their renewal takes over the catalog for the next period.
func (t *turn) adoptAll(reason string) {
	for i, o := range t.person.options {
		if o == nil || o.end.After(t.at) {
			t.adopt(i, reason)
		}
	}
}

// adopt takes over what the class now has for an option.
func (t *turn) adopt(i int, reason string) {
	p := t.person
	r, known := t.rule(Options[i])
	o := p.options[i]
	switch {
	case !known:
	case r == nil:
		if o != nil && o.offered {
			t.end(o, reason)
		}
	case o == nil:
		o = &option{which: Options[i]}
		o.begin(r, t.at)
		p.options[i] = o
		t.turnBit(o, reason, func() { t.publishBegun(o, reason) })
	default:
		if o.currency != r.currency {
			t.publishLate(o) // in the currency that it is in
		}
		again, state := !o.offered, o.state
		o.offered = true
		changed, other := t.take(o, r)
		t.turnBit(o, reason, func() {
			if again {
				t.publishBegun(o, reason)
			} else if changed {
				t.publish(o, "limit_changed", reason)
			}
			if other {
				t.publish(o, "renewed", becauseCurrency)
			}
			if o.state != state {
				t.publishState(o, reason)
			}
		})
		if other {
			t.alsoBecause(becauseCurrency)
		}
	}
}

// take is what of a class's option holds at once: its limit, and what follows from its currency. Day and zone wait for the
// next period.
func (t *turn) take(o *option, r *rule) (changed, currency bool) {
	before := o.limits()
	o.inactiveBlocks, o.perPayment, o.capped = r.inactiveBlocks, r.perPayment, r.capped
	if currency = o.currency != r.currency; currency {
		o.currency, o.spent, o.peak, o.noticed = r.currency, 0, 0, false
		o.limit, o.limited, o.own, o.next, o.hasNext = 0, false, false, 0, false
		if slices.ContainsFunc(o.alerts, func(a alert) bool { return a.percent == 0 }) {
			o.alerts = nil
		}
		if o.state == Active && !r.limited {
			o.state = Inactive
		}
	}
	// A protected subscriber stays protected: a default that the class takes back is kept while the option is active.
	if !o.own && (o.limit != r.limit || o.limited != r.limited) && (r.limited || o.state != Active) {
		o.limit, o.limited = r.limit, r.limited
	}
	return o.limits() != before, currency
}

// limits are what limits an option, in its currency.
type limits struct {
	limit, next, perPayment  int64
	limited, hasNext, capped bool
	currency                 string
}

func (o *option) limits() limits {
	l := limits{limited: o.limited, hasNext: o.hasNext, capped: o.capped}
	if o.limited {
		l.limit = o.limit
	}
	if o.hasNext {
		l.next = o.next
	}
	if o.capped {
		l.perPayment = o.perPayment
	}
	if o.limited || o.hasNext || o.capped {
		l.currency = o.currency
	}
	return l
}

// renew ends the period of an option and begins the next, at its due time. After it the subscriber takes over what else the
// catalog changed.
func (t *turn) renew(which eventv1.Safeguard_Option) {
	t.next(int(which) - 1)
	t.adoptAll(becauseCatalog)
}

func (t *turn) next(i int) {
	o := t.person.options[i]
	r, known := t.rule(o.which)
	if known && r == nil && o.offered {
		t.end(o, becauseCatalog)
	}
	again := !o.offered && r != nil
	o.offered = o.offered || again
	if known && r != nil && o.currency != r.currency {
		t.publishLate(o)
	}
	o.spent, o.peak, o.noticed, o.changed = 0, 0, false, false
	woken := o.state == Temporarily
	if woken {
		o.state = Active
	}
	before, reason := o.limits(), becauseCatalog
	state, policy := o.state, o.inactiveBlocks
	if r != nil {
		t.take(o, r)
		o.zone = r.zone
		if !o.ownDay {
			o.day = r.day
		}
	} else {
		// Where the class is gone its zone is unknown: periods go on at the hour of UTC at which they last ended. The zone
		// is east or west of UTC by where the local date is that of the renewal.
		east := -(o.end.Hour()*60 + o.end.Minute())
		if east != 0 && o.end.Add(time.Duration(east)*time.Minute).Day() != o.day {
			east += 24 * 60
		}
		o.zone = time.FixedZone("", east*60)
	}
	if o.hasNext {
		// The subscriber set the limit of this period, not the catalog.
		reason = becauseRenewal
		o.limit, o.limited, o.own, o.hasNext = o.next, true, true, false
		before.hasNext, before.next = false, 0
	}
	changed := o.limits() != before
	o.start = o.end
	o.end = next(o.start, o.day, o.zone)
	switch {
	case !o.offered: // what the subscriber set is kept, unseen
		return
	case again:
		t.turnBit(o, becauseCatalog, func() { t.publishBegun(o, becauseCatalog) })
		return
	}
	t.turnBit(o, becauseRenewal, func() {
		if changed {
			t.publish(o, "limit_changed", reason)
		}
		t.publish(o, "renewed", becauseRenewal)
		if woken || o.state != state {
			t.publishState(o, becauseRenewal)
		}
	})
	if changed || policy != o.inactiveBlocks {
		t.alsoBecause(becauseCatalog)
	}
}

// alsoBecause lets another reason pass where the bit turned last: two things happened in one step.
func (t *turn) alsoBecause(reason string) {
	if n := len(t.partition.outcomes); n > 0 && (t.partition.outcomes[n-1].Kind == "reached" || t.partition.outcomes[n-1].Kind == "released") {
		t.partition.outcomes[n-1].Reasons = append(t.partition.outcomes[n-1].Reasons, reason)
	}
}

// lateTimer fires an hour after something came late. It is published as it was counted, before the catalog changes anything.
func (t *turn) lateTimer(o *option) {
	o.lateDue = time.Time{}
	t.publishLate(o)
	t.adoptAll(becauseCatalog)
}

func (t *turn) publishLate(o *option) {
	for _, l := range o.late {
		reasons := []string{}
		if l.usage {
			reasons = append(reasons, becauseUsage)
		}
		if l.givenBack {
			reasons = append(reasons, becauseRefund)
		}
		t.publish(o, "late", becauseUsage, func(s *Outcome) { s.Late, s.Start, s.End, s.Reasons = l.sum, l.start, l.end, reasons })
	}
	o.late = nil
}
