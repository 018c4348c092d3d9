package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// inventory shows where subscribers stand: OptionInventoryService.
type inventory struct {
	optionsv1.UnimplementedOptionInventoryServiceServer
	*subscribers
}

// ListOptions shows a subscriber and all of its options.
func (v *inventory) ListOptions(ctx context.Context, req *optionsv1.ListOptionsRequest) (*optionsv1.ListOptionsResponse, error) {
	var f fault.Violations
	at := subjectIn(&f, "parent", req.GetParent())
	positionIn(&f, req.GetMinPosition())
	if err := f.ErrShared(account.ReasonRequest); err != nil {
		return nil, err
	}
	return read(ctx, v.subscribers, at, req.GetMinPosition(), all)
}

// GetDataSafeguard shows one option.
func (v *inventory) GetDataSafeguard(ctx context.Context, req *optionsv1.GetDataSafeguardRequest) (*optionsv1.DataSafeguard, error) {
	return show(ctx, v.subscribers, spend.Data, req, dataOf)
}

// GetOverspendSafeguard shows one option.
func (v *inventory) GetOverspendSafeguard(ctx context.Context, req *optionsv1.GetOverspendSafeguardRequest) (*optionsv1.OverspendSafeguard, error) {
	return show(ctx, v.subscribers, spend.Overspend, req, overspendOf)
}

// GetPaymentSafeguard shows one option.
func (v *inventory) GetPaymentSafeguard(ctx context.Context, req *optionsv1.GetPaymentSafeguardRequest) (*optionsv1.PaymentSafeguard, error) {
	return show(ctx, v.subscribers, spend.Payment, req, paymentOf)
}

// naming is a request that names what it is about.
type naming[M any] interface {
	message[M]
	GetName() string
}

// positioned is one that may wait for an event as well.
type positioned[M any] interface {
	naming[M]
	GetMinPosition() *optionsv1.Position
}

func show[Req, Res any, Q positioned[Req]](ctx context.Context, s *subscribers, o spend.Option, req Q, shown func(*account.View) *Res) (*Res, error) {
	var f fault.Violations
	at := optionIn(&f, "name", req.GetName(), o)
	positionIn(&f, req.GetMinPosition())
	if err := f.ErrShared(account.ReasonRequest); err != nil {
		return nil, err
	}
	return read(ctx, s, at, req.GetMinPosition(), func(v *account.View) (*Res, error) {
		if err := v.Has(o); err != nil {
			return nil, err
		}
		return shown(v), nil
	})
}

// all shows a subscriber and what it has.
func all(v *account.View) (*optionsv1.ListOptionsResponse, error) {
	if err := v.Present(); err != nil {
		return nil, err
	}
	at := subject{v.Tenant, v.MSISDN}
	sub := &v.Subscriber
	m := v.Options()
	m.Subscriber = &optionsv1.Subscriber{
		Name: at.name(), ClassOfService: sub.Class, Imsi: sub.IMSI, Language: sub.Language,
		ActivateTime: timestamppb.New(sub.Activated), Suspended: sub.Suspended,
	}
	if d := m.GetDataSafeguard(); d != nil {
		d.Name = at.option(spend.Data)
	}
	if d := m.GetOverspendSafeguard(); d != nil {
		d.Name = at.option(spend.Overspend)
	}
	if d := m.GetPaymentSafeguard(); d != nil {
		d.Name = at.option(spend.Payment)
	}
	return m, nil
}

func dataOf(v *account.View) *optionsv1.DataSafeguard {
	m := v.DataSafeguard()
	m.Name = subject{v.Tenant, v.MSISDN}.option(spend.Data)
	return m
}

func overspendOf(v *account.View) *optionsv1.OverspendSafeguard {
	m := v.OverspendSafeguard()
	m.Name = subject{v.Tenant, v.MSISDN}.option(spend.Overspend)
	return m
}

func paymentOf(v *account.View) *optionsv1.PaymentSafeguard {
	m := v.PaymentSafeguard()
	m.Name = subject{v.Tenant, v.MSISDN}.option(spend.Payment)
	return m
}
