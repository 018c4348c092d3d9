package safeguard

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"

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
	asked := &controlv1.ChargeCommand{Amount: req.GetAmount(), Description: req.GetDescription()}
	if f.Len() > 0 {
		return nil, wholly(ctx, v.subscribers, optionsv1.EnforcementService_Charge_FullMethodName, at, req, &f, reasonRequest, func(st *standing, f *fault.Faults) {
			if of := st.offer(spend.Payment); of != nil {
				readCharge(f, asked, of)
			}
		}, (*optionsv1.ChargeResponse)(nil))
	}
	e := at.command(typeCharge, ChargeSource, req.GetTransactionReference(), asked)
	return call(ctx, v.subscribers, optionsv1.EnforcementService_Charge_FullMethodName, at, req, e, func(*optionsv1.ChargeResponse) {})
}

// charged shows where the payments of the period stand behind a charge. Where that is not known, on_unknown of the tenant
// decides: the class of service is what would say otherwise.
func (st *standing) charged(refusal string) *optionsv1.ChargeResponse {
	m := &optionsv1.ChargeResponse{Allowed: refusal == "", Refusal: refusal, Sequence: st.reading.Sequence}
	if refusal == becauseUnknown {
		m.Allowed = st.catalog.tenant(st.tenant).UnknownAllows
		return m
	}
	d := &st.sub.options[spend.Payment]
	m.Spent, m.Limit = moneyOf(d.count.Spent, d.currency), moneyOf(d.limit, d.currency)
	m.PerPaymentLimit = moneyWhere(d.perPayment != spend.Max, d.perPayment, d.currency)
	m.PeriodEnd = timestamppb.New(d.period.End)
	return m
}
