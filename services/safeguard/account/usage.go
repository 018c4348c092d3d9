package account

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// used counts usage that rating has priced, against every option that it is in the scope of, or none.
func (t *turn) used(u *eventv1.UsageCharged) {
	switch {
	case t.exists && t.sub.Life == LifeMoved:
		t.sentOn = true
		return
	case t.forwarded == "" && (!t.exists || t.sub.Life == LifePending || t.sub.Life == LifeTerminated):
		t.hold()
		return
	case !t.exists || !t.sub.Alive(), t.forwarded != "" && !t.sub.hadNumber(t.forwarded):
		t.refuse(refusedUnknown, "no active subscriber has this MSISDN: send subscriber.activated first, then this event again")
		return
	case t.forwarded == "" && t.ofPreviousOwner():
		t.refuse(refusedBefore, "the usage is of whoever had the number before the subscriber did: where it counts, send it again under that one's present number")
		return
	case t.eventTime.Before(t.sub.Activated):
		t.refuse(refusedBefore, "the usage is from before the subscriber's activation at "+t.sub.Activated.Format(time.RFC3339)+": it belongs to whoever had the number before")
		return
	}
	c := t.class()
	if c == nil {
		t.refuse(reason.ClassOfServiceUnknown, fmt.Sprintf("class of service %q of the subscriber is not configured: create or undelete it, then send this event again", t.sub.Class))
		return
	}
	for o := range spend.Option(spend.Options) {
		t.follow(o, c, becauseCatalog)
		// A barred service costs nothing: the event is recorded, in the log, and no more.
		if of := c.Offers[o]; of != nil && !u.GetBlocked() {
			t.usedOf(o, of, u)
		}
		if t.refused() {
			return
		}
	}
	t.giveBack(u.GetCorrects())
}

// usedOf counts it against one option. What takes back a charge by command counts against the payment safeguard alone,
// as the charge did.
func (t *turn) usedOf(o spend.Option, of *Offer, u *eventv1.UsageCharged) {
	if u.GetCorrects().GetSource() == ChargeSource {
		if o == spend.Payment {
			t.usedIn(o, of, u)
		}
		return
	}
	if of.scope.err != nil {
		t.refuse(reason.ScopeInvalid, fmt.Sprintf("the scope of the %s safeguard of class of service %q can't be read: correct it, then send this event again: %v", o, t.sub.Class, of.scope.err))
		return
	}
	in, err := of.scope.Holds(u)
	if err != nil {
		t.refuse(reason.ScopeInvalid, fmt.Sprintf("the scope of the %s safeguard of class of service %q fails for this event: correct it, then send this event again: %v", o, t.sub.Class, err))
		return
	}
	if in {
		t.usedIn(o, of, u)
	}
}

// usedIn counts what is in an option's scope.
func (t *turn) usedIn(o spend.Option, of *Offer, u *eventv1.UsageCharged) {
	asked, ok := t.read(o, of, u)
	switch {
	case !ok:
	case asked.amount != 0 && t.arrived.Sub(t.eventTime) > t.window() && t.catalog.Tenant(t.tenant).RejectTooLate:
		t.refuse(refusedOld, fmt.Sprintf("the usage is older than %s, so that it is not known whether it was counted before, and the tenant chose to reject such usage", t.window()))
	default:
		t.gives(asked.amount, of.Currency)
		t.count(o, asked, of)
	}
}

// amountOf is what an option counts of a usage, and its name.
func (of *Offer) amountOf(u *eventv1.UsageCharged) (m *money.Money, name string) {
	switch {
	case of.Rating == configclient.Wholesale && of.Basis == configclient.Gross:
		return u.GetWholesaleGross(), "wholesale_gross"
	case of.Rating == configclient.Wholesale:
		return u.GetWholesaleNet(), "wholesale_net"
	case of.Basis == configclient.Gross:
		return u.GetGross(), "gross"
	}
	return u.GetNet(), "net"
}

// read is what the usage asks of an option; not ok where it was refused.
func (t *turn) read(o spend.Option, of *Offer, u *eventv1.UsageCharged) (charge, bool) {
	m, basis := of.amountOf(u)
	if m == nil {
		t.refuse(refusedMissing, fmt.Sprintf("the %s safeguard counts %s amounts, and the event has none: rate it with both net and gross", o, basis))
		return charge{}, false
	}
	amount, err := spend.MoneyOf(m.GetCurrencyCode(), m.GetUnits(), m.GetNanos())
	switch {
	case errors.Is(err, spend.ErrCurrency), err == nil && amount.Currency != of.Currency:
		t.refuse(reason.CurrencyMismatch, fmt.Sprintf("the amount is in %.10q, the %s safeguard counts %s: there is no conversion", m.GetCurrencyCode(), o, of.Currency))
		return charge{}, false
	case err != nil:
		t.refuse(reason.AmountInvalid, basis+": "+err.Error())
		return charge{}, false
	}
	asked := charge{amount: amount.Amount, at: t.eventTime, reason: becauseUsage}
	if asked.amount >= 0 {
		return asked, true
	}
	corrects := u.GetCorrects()
	if corrects.GetId() == "" || corrects.GetTime() == nil {
		t.refuse(refusedCorrects, "a negative amount needs corrects with id and time of what it takes back")
		return charge{}, false
	}
	if at := time.UnixMilli(corrects.GetTime().AsTime().UnixMilli()).UTC(); at.Before(t.at) {
		asked.at = at
	} else {
		asked.at = t.at
	}
	if corrects.GetSource() == ChargeSource && !t.ofCharge(corrects) {
		return charge{}, false
	}
	if asked.at.Before(t.sub.Activated) {
		t.refuse(refusedBefore, "the refund is for usage from before the subscriber's activation at "+t.sub.Activated.Format(time.RFC3339))
		return charge{}, false
	}
	return asked, true
}
