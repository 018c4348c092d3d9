package api

import (
	"context"

	"github.com/tollgate/tollgate/pkg/fault"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// Charge counts a payment if the payment safeguard allows it, in one step.
func (v *enforcement) Charge(ctx context.Context, req *optionsv1.ChargeRequest) (*optionsv1.ChargeResponse, error) {
	var f fault.Violations
	at := subjectIn(&f, "name", req.GetName())
	referenceIn(&f, req.GetTransactionReference())
	amountIn(&f, "amount", req.GetAmount(), 1)
	if n := len(req.GetDescription()); n > maxDescription {
		f.AddAs(account.ReasonRequest, "description", "must be at most %d bytes, has %d", maxDescription, n)
	}
	asked := &controlv1.ChargeCommand{Amount: req.GetAmount(), Description: req.GetDescription()}
	if f.Len() > 0 {
		return nil, wholly(ctx, v.subscribers, at, &f, account.ReasonRequest, func(at *account.View, f *fault.Violations) { at.CheckCharge(f, asked) })
	}
	e := at.command(account.TypeCharge, account.ChargeSource, req.GetTransactionReference(), asked)
	return command(ctx, v.subscribers, e, func(*optionsv1.ChargeResponse) {})
}
