package safeguard

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// Charge counts a payment if the payment safeguard allows it, in one step.
func (v *enforcement) Charge(ctx context.Context, req *optionsv1.ChargeRequest) (*optionsv1.ChargeResponse, error) {
	var f fault.Faults
	at := placeIn(&f, "name", req.GetName())
	referenceIn(&f, req.GetTransactionReference())
	amountIn(&f, "amount", req.GetAmount(), 1)
	if n := len(req.GetDescription()); n > maxDescription {
		f.AddAs(reasonRequest, "description", "must be at most %d bytes, has %d", maxDescription, n)
	}
	if err := f.ErrShared(reasonRequest); err != nil {
		return nil, err
	}
	asked := &eventv1.CommandCharge{Amount: req.GetAmount(), Description: req.GetDescription()}
	e := at.command(typeCharge, ChargeSource, req.GetTransactionReference(), asked)
	return call(ctx, v.subscribers, optionsv1.EnforcementService_Charge_FullMethodName, at, req, e, (*standing).charged)
}

// charged shows where the payments of the period stand behind a charge.
func (st *standing) charged(refusal string) (*optionsv1.ChargeResponse, error) {
	if err := st.has(spend.Payment); err != nil {
		return nil, err // the charge was counted before, and the subscriber is gone by now
	}
	d := &st.sub.options[spend.Payment]
	return &optionsv1.ChargeResponse{
		Allowed: refusal == "", Refusal: refusal,
		Spent: moneyOf(d.count.Spent, d.currency), Limit: moneyOf(d.limit, d.currency),
		PerPaymentLimit: moneyWhere(d.perPayment != spend.Max, d.perPayment, d.currency),
		PeriodEnd:       timestamppb.New(d.period.End), Sequence: st.reading.Sequence,
	}, nil
}
