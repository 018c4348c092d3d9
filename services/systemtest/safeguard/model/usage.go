package model

import (
	"math"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Reasons of outcomes.
const (
	becauseUsage       = "USAGE"
	becauseCharge      = "CHARGE"
	becauseRefund      = "REFUND"
	becauseRenewal     = "RENEWAL"
	becauseActivation  = "ACTIVATION"
	becauseTermination = "TERMINATION"
	becauseChange      = "CHANGE"
	becauseCatalog     = "CATALOG"
	becauseClass       = "CLASS_OF_SERVICE"
	becauseCurrency    = "COS_CURRENCY"
	becauseTransfer    = "TRANSFER"
)

// happen applies the event, or returns why it is rejected.
func (t *turn) happen() (reasons []string) {
	if t.person.outgoing != nil && t.heldBack() {
		return nil
	}
	switch d := t.event.Data.(type) {
	case *eventv1.UsageCharged:
		return t.used(d)
	case *eventv1.SubscriberActivated:
		return t.activated(d)
	case *eventv1.SubscriberTerminated:
		return t.terminated()
	case *eventv1.SubscriberStatusChanged:
		return t.suspended(t.event.Type == "subscriber.suspended")
	case *eventv1.SubscriberClassOfServiceChanged:
		return t.reclassed(d)
	case *eventv1.SubscriberMsisdnChanged:
		return t.transferOut(d)
	case *controlv1.Transfer:
		return t.transferIn(d)
	case *controlv1.TransferSettled:
		t.transferSettled(d)
	case *controlv1.ChangeCommand:
		t.answer(t.change(d))
	case *controlv1.ChargeCommand:
		t.answer(t.charge(d))
	case *controlv1.ReapplyCommand:
		if t.person.alive && t.person.class == d.GetClassOfService() {
			t.adoptAll(becauseCatalog)
		}
	}
	return nil
}

// counted is what an event adds to an option.
type counted struct {
	rule   *rule
	amount int64
}

// used is a usage.charged.
func (t *turn) used(u *eventv1.UsageCharged) []string {
	p := t.person
	switch {
	case !p.alive && p.movedTo != "":
		t.partition.forward(t.event).owed = true
		if t.forwarded == "" {
			p.sentOn[key(t.event)] = t.at
		}
		return nil
	case !p.alive && t.forwarded == "":
		return t.holdPending()
	case !p.alive, t.forwarded != "" && !t.knows(t.forwarded):
		return []string{"SUBSCRIBER_UNKNOWN"}
	}
	of := t.own
	if u.GetCorrects().GetTime() != nil && negative(u) {
		of = u.GetCorrects().GetTime().AsTime()
		if of.After(t.at) {
			of = t.at
		}
	}
	all, reasons := t.against(u)
	if t.forwarded == "" && t.previousOwner() {
		reasons = append(reasons, "BEFORE_ACTIVATION")
	}
	// A refund that gives nothing back is accepted, whatever it corrects.
	if t.own.Before(p.activated) || len(all) > 0 && of.Before(p.activated) {
		reasons = append(reasons, "BEFORE_ACTIVATION")
	}
	if len(all) > 0 && t.tooLate() {
		reasons = append(reasons, "TOO_LATE_TO_DEDUPLICATE")
	}
	if len(reasons) > 0 {
		return reasons
	}
	for i, which := range Options {
		t.adopt(i, becauseCatalog)
		for _, c := range all {
			if c.rule.which == which && c.amount != 0 {
				if !t.count(p.options[i], c.rule, c.amount, of, becauseUsage) {
					return []string{"AMOUNT_INVALID"}
				}
			}
		}
	}
	back, currency := givenBack(all)
	if back == 0 {
		return nil
	}
	left, reason := t.remains(u.GetCorrects(), back, currency)
	if reason != "" {
		return []string{reason}
	}
	p.refunds[t.corrected(u.GetCorrects())] = refunded{left, t.at}
	return nil
}

// against is what the event counts against, and why it can't be counted: it is checked against all before any changes.
func (t *turn) against(u *eventv1.UsageCharged) (all []counted, reasons []string) {
	if _, known := t.rule(Data); !known {
		return nil, []string{"CLASS_OF_SERVICE_UNKNOWN"}
	}
	if u.GetBlocked() {
		return nil, nil
	}
	for _, which := range Options {
		r, _ := t.rule(which)
		// A refund of a charge counts where the charge did, whatever its category.
		ofCharge := u.GetCorrects().GetSource() == chargeSource
		if r == nil || ofCharge && which != Payment || !ofCharge && !r.scope(u) {
			continue
		}
		m := amountOf(r, u)
		amount, ok := Nanos(m)
		switch {
		case m == nil:
			reasons = append(reasons, "AMOUNT_MISSING")
			continue
		case !ok:
			reasons = append(reasons, "AMOUNT_INVALID")
		}
		if m.GetCurrencyCode() != r.currency {
			reasons = append(reasons, "CURRENCY_MISMATCH")
		}
		if amount < 0 && u.GetCorrects().GetTime() == nil {
			reasons = append(reasons, "CORRECTS_MISSING")
		}
		if amount < 0 && ofCharge && !t.charged(u.GetCorrects()) {
			reasons = append(reasons, "CHARGE_NOT_COUNTED")
		}
		all = append(all, counted{rule: r, amount: amount})
	}
	for _, c := range all {
		// Which of several reasons is given is left open.
		if o := t.person.options[c.rule.which-1]; o != nil && len(reasons) > 0 && o.spent > math.MaxInt64-max(0, c.amount) {
			reasons = append(reasons, "AMOUNT_INVALID")
		}
	}
	return all, reasons
}

func amountOf(r *rule, u *eventv1.UsageCharged) *money.Money {
	switch {
	case r.wholesale && r.gross:
		return u.GetWholesaleGross()
	case r.wholesale:
		return u.GetWholesaleNet()
	case r.gross:
		return u.GetGross()
	default:
		return u.GetNet()
	}
}

// negative reports whether a usage is a refund.
func negative(u *eventv1.UsageCharged) bool {
	for _, m := range []*money.Money{u.GetNet(), u.GetGross(), u.GetWholesaleNet(), u.GetWholesaleGross()} {
		if m.GetUnits() < 0 || m.GetNanos() < 0 {
			return true
		}
	}
	return false
}

// count adds an amount to an option, or takes it back, in the period that it belongs to; fits is false where a sum would be
// more than can be counted.
func (t *turn) count(o *option, r *rule, amount int64, of time.Time, reason string) (fits bool) {
	t.counts = true
	switch {
	case of.Before(o.start):
		start, end := o.earlier(of, r.zone)
		return o.putOff(start, end, amount, t.at)
	case amount < 0:
		rest := o.giveBack(amount)
		if rest < 0 && !o.putOff(o.start, o.end, rest, t.at) {
			return false
		}
		t.turnBit(o, becauseRefund)
	default:
		if _, fits := plus(o.spent, amount); !fits {
			return false
		}
		crossed, overshoot := o.count(r, amount)
		t.turnBit(o, reason, func() {
			for _, c := range crossed {
				t.publish(o, "alert", reason, func(s *Outcome) { s.Percent, s.Amount, s.Second = c.percent, c.at, c.second })
			}
		})
		if overshoot > 0 {
			t.publish(o, "overshoot", reason, func(s *Outcome) { s.Overshoot = overshoot })
		}
	}
	return true
}

// tooLate reports that it is not known whether the event was counted before, and that the tenant rejects such usage.
func (t *turn) tooLate() bool {
	policy := t.partition.tenants[t.person.tenant].GetSubscribers().GetTooLateToDeduplicate()
	return policy == configv1.TooLateToDeduplicate_TOO_LATE_TO_DEDUPLICATE_REJECT && t.own.Before(t.came.Add(-t.partition.window(t.person.tenant)))
}

// holdPending keeps usage of a number without a subscriber until one is activated.
func (t *turn) holdPending() []string {
	p := t.person
	grace := 30 * time.Second
	if g := t.partition.tenants[t.person.tenant].GetSubscribers().GetUnknownGrace(); g != nil {
		grace = g.AsDuration()
	}
	if grace == 0 && len(p.pending) == 0 {
		return []string{"SUBSCRIBER_UNKNOWN"}
	}
	if len(p.pending) == 0 {
		p.pendingUntil = t.at.Add(grace)
	}
	p.pending = append(p.pending, waiting{t.event, t.at})
	t.counts = true
	return nil
}

// endPending ends the wait for an activation.
func (w *Partition) endPending(p *person) {
	pending, at, reason := p.pending, p.pendingUntil, "SUBSCRIBER_UNKNOWN"
	p.pending, p.pendingUntil = nil, time.Time{}
	class := w.tenants[p.tenant].GetSubscribers().GetDefaultClassOfService()
	// Usage from before a termination has no subscriber any more.
	living := slices.DeleteFunc(slices.Clone(pending), func(e waiting) bool { return p.dead && e.event.Time.Before(p.lived) })
	switch {
	case class == "" || len(living) == 0:
	case w.classes[p.tenant+"/"+class] == nil:
		reason = "CLASS_OF_SERVICE_UNKNOWN"
	default:
		t := &turn{partition: w, person: p, at: at, own: living[0].at, timer: true}
		// It was there when the first of it happened.
		for _, e := range living {
			if e.event.Time.Before(t.own) {
				t.own = e.event.Time
			}
		}
		t.appear(&eventv1.SubscriberActivated{ClassOfService: class})
		w.release(p, pending, at)
		return
	}
	for _, e := range pending {
		delete(p.ids, key(e.event))
		w.reject(p, e.event, reason)
	}
}

// release applies what has waited, in order.
func (w *Partition) release(p *person, pending []waiting, at time.Time) {
	for _, e := range pending {
		delete(p.ids, key(e.event))
		w.attempt(p, e.event, "", at, e.at)
	}
}
