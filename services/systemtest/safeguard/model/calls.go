package model

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func init() {
	event.RegisterControl(&controlv1.ChangeCommand{}, &controlv1.ChargeCommand{}, &controlv1.ReapplyCommand{})
	event.RegisterControl(&controlv1.Revision{}, &controlv1.Tick{}, &controlv1.Gap{}, &controlv1.Transfer{}, &controlv1.TransferSettled{}, &controlv1.Forward{})
}

// Answer is what the caller of a change or a charge gets.
type Answer struct {
	// Codes of which one is given where the call is refused; none where it was accepted or decided.
	Codes []string
	// Allowed reports that a charge was counted; Refusals are the reasons of which one is given where it was not.
	Allowed  bool
	Refusals []string
	Spent    int64
	Eligible []eventv1.Safeguard_State
}

// accepted is a call that was accepted, and what was answered.
type accepted struct {
	key     string
	content uint64
	at      time.Time
	answer  Answer
	charge  bool
	worth   int64 // of a charge
}

const (
	chargeSource = "tollgate/charge"
	changeSource = "tollgate/change"
	overpassed   = "CARRIER_BILLING.USER_AMOUNT_THRESHOLD_OVERPASSED"
	unauthorized = "CARRIER_BILLING.UNAUTHORIZED_AMOUNT"
	callsKept    = 16
)

// Answers of the commands of an id in the log, in their order.
func (w *Partition) Answers(id string) []Answer { return w.answers[id] }

func refuse(codes ...string) Answer { return Answer{Codes: codes} }

// answer keeps what the caller gets. What was refused changed nothing and is decided anew.
func (t *turn) answer(a Answer) {
	t.partition.answers[t.event.ID] = append(t.partition.answers[t.event.ID], a)
}

// again finds a call that was accepted before.
func (t *turn) again() (a Answer, found bool) {
	for _, c := range t.person.calls {
		if c.key == reference(t.event.Source, t.event.ID) && t.at.Sub(c.at) < callsWindow {
			if c.content != t.event.Content() {
				return refuse("ID_REUSED"), true
			}
			return c.answer, true
		}
	}
	return Answer{}, false
}

// reference is what a call of a subscriber is known by, whatever its number is by then.
func reference(source, id string) string { return source + "\x00" + id }

func (t *turn) accept(a Answer, worth int64) Answer {
	p := t.person
	p.calls = append(p.calls, accepted{key: reference(t.event.Source, t.event.ID), content: t.event.Content(), at: t.at, answer: a, charge: worth > 0, worth: worth})
	if len(p.calls) > callsKept {
		p.calls = slices.Delete(p.calls, 0, 1)
	}
	return a
}

// charged reports whether a refund of a charge has anything to take back.
func (t *turn) charged(c *eventv1.Correction) bool {
	from := t.at.Add(-callsWindow)
	if calls := t.person.calls; len(calls) == callsKept && calls[0].at.After(from) {
		from = calls[0].at
	}
	if !c.GetTime().AsTime().After(from) {
		return true // further back than calls are remembered
	}
	return slices.ContainsFunc(t.person.calls, func(a accepted) bool {
		return a.charge && a.key == reference(chargeSource, c.GetId()) && t.at.Sub(a.at) < callsWindow
	})
}

// try lets a call change what it names, and takes all of it back where it is refused.
func (t *turn) try(which eventv1.Safeguard_Option, f func(o *option, r *rule) Answer) Answer {
	p := t.person
	if a, found := t.again(); found {
		return a
	}
	if !p.alive {
		return refuse("SUBSCRIBER_NOT_FOUND")
	}
	if r, known := t.rule(which); !known || r == nil {
		return refuse("OPTION_NOT_OFFERED", "CLASS_OF_SERVICE_UNKNOWN")
	}
	before, outcomes := p.clone(), len(t.partition.outcomes)
	t.adoptAll(becauseCatalog)
	r, _ := t.rule(which)
	a := f(p.options[which-1], r)
	if len(a.Codes) > 0 || len(a.Refusals) > 0 {
		*p = *before
		t.partition.outcomes = t.partition.outcomes[:outcomes]
		t.counts = false
	}
	return a
}

// unknown is the answer to a charge for which there is nothing to count it against: the tenant's on_unknown decides whether
// it is allowed.
func (t *turn) unknown() (a Answer, is bool) {
	p := t.person
	if _, known := t.rule(Payment); len(p.pending) == 0 && (!p.alive || known) {
		return a, false
	}
	policy := t.partition.tenants[p.tenant].GetSubscribers().GetOnUnknown()
	return Answer{Allowed: policy == configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW, Refusals: []string{"UNKNOWN"}}, true
}

func (t *turn) charge(d *controlv1.ChargeCommand) Answer {
	if a, found := t.again(); found {
		return a
	}
	if a, is := t.unknown(); is {
		return a
	}
	return t.try(Payment, func(o *option, r *rule) Answer {
		amount, ok := Nanos(d.GetAmount())
		if !ok || amount <= 0 {
			return refuse("AMOUNT_INVALID")
		}
		if d.GetAmount().GetCurrencyCode() != o.currency {
			return refuse("CURRENCY_MISMATCH")
		}
		sum, fits := plus(o.spent, amount)
		if o.state == Active {
			var refusals []string
			if o.capped && amount > o.perPayment {
				refusals = append(refusals, unauthorized)
			}
			if o.blocked || !fits || sum > o.limit {
				refusals = append(refusals, overpassed)
			}
			if len(refusals) > 0 {
				return Answer{Refusals: refusals, Spent: o.spent}
			}
		} else if !fits {
			return refuse("AMOUNT_INVALID")
		}
		t.count(o, r, amount, t.at, becauseCharge)
		return t.accept(Answer{Allowed: true, Spent: o.spent}, amount)
	})
}

func (t *turn) change(d *controlv1.ChangeCommand) Answer {
	return t.try(d.GetOption(), func(o *option, r *rule) Answer {
		var codes []string
		dayed := t.changeDay(o, r, d, &codes)
		limited := t.changeLimits(o, d, &codes)
		stated := t.changeState(o, r, d, &codes)
		if len(codes) > 0 {
			return Answer{Codes: codes, Eligible: eligible(o, r)}
		}
		t.turnBit(o, becauseChange, func() {
			if dayed {
				t.publish(o, "renewal_day_changed", becauseChange)
			}
			if limited {
				t.publish(o, "limit_changed", becauseChange)
			}
			switch {
			case !stated:
			case o.state == Active:
				t.publish(o, "activated", becauseChange)
			case o.which == Data:
				t.publish(o, "opted_out", becauseChange)
			default:
				t.publish(o, "deactivated", becauseChange)
			}
		})
		return t.accept(Answer{Spent: o.spent}, 0)
	})
}

func (t *turn) changeDay(o *option, r *rule, d *controlv1.ChangeCommand, codes *[]string) bool {
	day := int(d.GetRenewalDay())
	switch {
	case d.RenewalDay == nil: //nolint:protogetter // presence is the question
		return false
	case day < 1 || day > 28:
		*codes = append(*codes, "RENEWAL_DAY_OUT_OF_RANGE")
		return false
	case day == o.day:
		o.ownDay = true
		return false
	case o.changed:
		*codes = append(*codes, "RENEWAL_DAY_CHANGED")
		return false
	}
	o.day, o.ownDay, o.changed = day, true, true
	o.zone = r.zone
	o.end = next(t.at, day, o.zone)
	return true
}

func (t *turn) changeLimits(o *option, d *controlv1.ChangeCommand, codes *[]string) (changed bool) {
	if o.which != Overspend {
		if d.GetCurrentLimit() != nil || d.GetNextLimit() != nil || d.GetClearNextLimit() || d.GetAlertThresholds() != nil {
			*codes = append(*codes, "CHANGE_INVALID")
		}
		return false
	}
	if m := d.GetCurrentLimit(); m != nil {
		limit, ok := Nanos(m)
		switch {
		case !ok || limit < 0:
			*codes = append(*codes, "AMOUNT_INVALID")
		case m.GetCurrencyCode() != o.currency:
			*codes = append(*codes, "CURRENCY_MISMATCH")
		default:
			changed = !o.limited || o.limit != limit
			o.limit, o.limited, o.own = limit, true, true
		}
	}
	if m := d.GetNextLimit(); m != nil {
		limit, ok := Nanos(m)
		switch {
		case !ok || limit < 0:
			*codes = append(*codes, "AMOUNT_INVALID")
		case m.GetCurrencyCode() != o.currency:
			*codes = append(*codes, "CURRENCY_MISMATCH")
		default:
			changed = changed || !o.hasNext || o.next != limit
			o.next, o.hasNext = limit, true
		}
	}
	if d.GetClearNextLimit() && d.GetNextLimit() != nil {
		*codes = append(*codes, "CHANGE_INVALID")
	}
	if d.GetClearNextLimit() && o.hasNext {
		changed, o.hasNext = true, false
	}
	if l := d.GetAlertThresholds(); l != nil {
		var alerts []alert
		for _, a := range l.GetThresholds() {
			amount, ok := Nanos(a.GetAmount())
			switch {
			case a.GetPercent() != 0:
				alerts = append(alerts, alert{percent: a.GetPercent()})
			case !ok || amount < 0:
				*codes = append(*codes, "AMOUNT_INVALID")
			case a.GetAmount().GetCurrencyCode() != o.currency:
				*codes = append(*codes, "CURRENCY_MISMATCH")
			default:
				alerts = append(alerts, alert{amount: amount})
			}
		}
		changed = changed || !slices.Equal(alerts, o.alerts)
		o.alerts = alerts
	}
	return changed
}

func (t *turn) changeState(o *option, r *rule, d *controlv1.ChangeCommand, codes *[]string) bool {
	to := d.GetState()
	switch {
	case to == 0 || to == o.state:
		return false
	case !slices.Contains(eligible(o, r), to):
		*codes = append(*codes, "STATE_NOT_ELIGIBLE")
		return false
	case to == Active && !o.limited:
		*codes = append(*codes, "LIMIT_REQUIRED")
		return false
	}
	o.state = to
	if to == Active {
		o.peak = max(o.peak, o.spent) // what is below fires nothing any more
	}
	return true
}

// eligible are the states that a change may lead to: none where there is no rule, without which nothing may be changed.
func eligible(o *option, r *rule) (states []eventv1.Safeguard_State) {
	for _, to := range edges(o.which, o.state) {
		if r != nil && slices.Contains(r.states, to) {
			states = append(states, to)
		}
	}
	return states
}
