package account

import (
	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Refusals of a charge, under the codes of CAMARA's carrier billing; ReasonUnknown is one as well.
const (
	RefusalMonth   = "CARRIER_BILLING.USER_AMOUNT_THRESHOLD_OVERPASSED"
	RefusalPayment = "CARRIER_BILLING.UNAUTHORIZED_AMOUNT"
)

// charge counts a payment if the payment safeguard allows it. The refusal is the code why not, which is no error.
func (t *turn) charge(c *controlv1.ChargeCommand) (refusal string, err error) {
	const o = spend.Payment
	if t.exists && (t.sub.Pending() || t.sub.Alive() && t.class() == nil) {
		return ReasonUnknown, nil // there is nothing to count it against now; there may be any moment
	}
	of, err := t.commandOn(o)
	if err != nil {
		return "", err
	}
	var f fault.Violations
	amount := spend.Amount(0)
	if a := readCharge(&f, c, of); a != nil {
		amount = *a
	}
	if err := f.ErrShared(ReasonAmount); err != nil {
		return "", err
	}
	switch t.sub.Options[o].counter().Admits(amount, t.sub.Options[o].PerPayment) {
	case spend.OverMonth:
		return RefusalMonth, nil
	case spend.OverPayment:
		return RefusalPayment, nil
	}
	t.count(o, charge{amount: amount, at: t.at, reason: becauseCharge}, of)
	if t.refused() {
		return "", fault.NewInvalid(ReasonAmount, fault.Violation{Field: "amount", Description: t.refusal.detail, Reason: ReasonAmount})
	}
	return "", nil
}

func readCharge(f *fault.Violations, c *controlv1.ChargeCommand, of *Offer) *spend.Amount {
	const field = "amount"
	if c.GetAmount() == nil {
		f.AddAs(ReasonAmount, field, "is required")
		return nil
	}
	a := readAmount(f, field, c.GetAmount(), of.Currency)
	if a != nil && *a == 0 {
		f.AddAs(ReasonAmount, field, "must be above 0")
		return nil
	}
	return a
}

// reapply lets the subscriber take over what its class offers by now.
func (t *turn) reapply(c *controlv1.ReapplyCommand) error {
	if !t.exists || !t.sub.Alive() {
		return t.noSubscriber()
	}
	of := t.class()
	if of == nil || t.sub.Class != c.GetClassOfService() {
		return fault.New(fault.Precondition, ReasonClass, "subscriber %s has class of service %q, and %q was to be applied again, or is gone", display.Subject(t.msisdn), t.sub.Class, c.GetClassOfService())
	}
	t.followAll(of, becauseCatalog)
	t.changed = true // its revision is this one now
	return nil
}

// ofCharge is whether a refund may take back the charge by command that it names; where that was not counted there is
// nothing to give back. A charge of before commands are remembered is refunded like any other usage.
func (t *turn) ofCharge(corrects *eventv1.Correction) (ok bool) {
	id := event.Reference(t.tenant, ChargeSource, corrects.GetId())
	if t.past != nil {
		if _, counted := t.past.Counted(id); counted || !corrects.GetTime().AsTime().After(t.past.CallsFrom()) {
			return true
		}
	}
	t.refuse(refusedCharged, "no charge under the reference "+corrects.GetId()+" was counted in the last 24 hours: there is nothing to give back")
	return false
}
