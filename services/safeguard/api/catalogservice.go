package api

import (
	"context"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// catalogService shows what classes of service offer: OptionCatalogService. Any replica knows that.
type catalogService struct {
	optionsv1.UnimplementedOptionCatalogServiceServer
	catalogs catalogs
}

// ListOptions shows all that a class offers.
func (v *catalogService) ListOptions(ctx context.Context, req *optionsv1.ListOptionsRequest) (*optionsv1.ListCatalogOptionsResponse, error) {
	c, err := v.class(ctx, "parent", req.GetParent(), "", req.GetMinPosition())
	if err != nil {
		return nil, err
	}
	m := &optionsv1.ListCatalogOptionsResponse{Revision: c.revision}
	if of := c.Offers[spend.Data]; of != nil {
		m.DataSafeguard = &optionsv1.CatalogDataSafeguard{Name: c.option(spend.Data), Option: offered{of}.data()}
	}
	if of := c.Offers[spend.Overspend]; of != nil {
		m.OverspendSafeguard = &optionsv1.CatalogOverspendSafeguard{Name: c.option(spend.Overspend), Option: offered{of}.overspend()}
	}
	if of := c.Offers[spend.Payment]; of != nil {
		m.PaymentSafeguard = &optionsv1.CatalogPaymentSafeguard{Name: c.option(spend.Payment), Option: offered{of}.payment()}
	}
	return m, nil
}

// GetDataSafeguard shows one option.
func (v *catalogService) GetDataSafeguard(ctx context.Context, req *optionsv1.GetDataSafeguardRequest) (*optionsv1.CatalogDataSafeguard, error) {
	of, err := v.offer(ctx, req, spend.Data)
	if err != nil {
		return nil, err
	}
	return &optionsv1.CatalogDataSafeguard{Name: req.GetName(), Option: offered{of}.data()}, nil
}

// GetOverspendSafeguard shows one option.
func (v *catalogService) GetOverspendSafeguard(ctx context.Context, req *optionsv1.GetOverspendSafeguardRequest) (*optionsv1.CatalogOverspendSafeguard, error) {
	of, err := v.offer(ctx, req, spend.Overspend)
	if err != nil {
		return nil, err
	}
	return &optionsv1.CatalogOverspendSafeguard{Name: req.GetName(), Option: offered{of}.overspend()}, nil
}

// GetPaymentSafeguard shows one option.
func (v *catalogService) GetPaymentSafeguard(ctx context.Context, req *optionsv1.GetPaymentSafeguardRequest) (*optionsv1.CatalogPaymentSafeguard, error) {
	of, err := v.offer(ctx, req, spend.Payment)
	if err != nil {
		return nil, err
	}
	return &optionsv1.CatalogPaymentSafeguard{Name: req.GetName(), Option: offered{of}.payment()}, nil
}

// shownClass is a class of service under its name.
type shownClass struct {
	*account.Class
	name     string
	revision int64
}

func (c *shownClass) option(o spend.Option) string { return c.name + "/options/" + optionIDs[o] }

// class finds one by its name, which tail ends.
func (v *catalogService) class(ctx context.Context, field, name, tail string, after *optionsv1.Position) (*shownClass, error) {
	var f fault.Violations
	tenant, id := classIn(&f, field, name, tail)
	if after != nil {
		f.AddAs(account.ReasonRequest, "min_position", "is for a subscriber: a class of service stands in no log")
	}
	if err := f.ErrShared(account.ReasonRequest); err != nil {
		return nil, err
	}
	c, err := v.catalogs.newest()
	if err != nil {
		return nil, rebuilding("the configuration is not known yet", err)
	}
	found := c.Class(tenant, id)
	if found == nil {
		return nil, fault.New(fault.NotFound, ReasonClassAbsent, "tenant %s has no class of service %s", tenant, id)
	}
	return &shownClass{Class: found, name: "tenants/" + tenant + "/classesOfService/" + id, revision: c.Revision}, nil
}

// asking is a request about an option; of a subscriber it may wait for an event.
type asking interface {
	GetName() string
	GetMinPosition() *optionsv1.Position
}

func (v *catalogService) offer(ctx context.Context, req asking, o spend.Option) (*account.Offer, error) {
	c, err := v.class(ctx, "name", req.GetName(), "/options/"+optionIDs[o], req.GetMinPosition())
	if err != nil {
		return nil, err
	}
	if c.Offers[o] == nil {
		return nil, fault.New(fault.NotFound, account.ReasonNotOffered, "%s does not offer the %s", c.name, optionWords[o])
	}
	return c.Offers[o], nil
}

// offered is an offer as the configuration has it, with every default in its place.
type offered struct{ *account.Offer }

func (of offered) data() *optionsv1.OfferedDataSafeguard {
	return &optionsv1.OfferedDataSafeguard{
		CutOff: of.money(of.Limit), AmountBasis: of.basis(), AlertThresholds: of.alerts(), Scope: of.Scope,
		TimeZone: of.Zone.String(), RenewalDay: int32(of.RenewalDay), RatingBasis: of.rating(), States: of.states(),
		DefaultState: account.StateOnWire(of.DefaultState), OnUnknown: of.onUnknown(), SecondNotice: of.secondNotice(),
	}
}

func (of offered) overspend() *optionsv1.OfferedOverspendSafeguard {
	m := &optionsv1.OfferedOverspendSafeguard{
		CurrencyCode: of.Currency, AmountBasis: of.basis(), AlertThresholds: of.alerts(), Scope: of.Scope,
		TimeZone: of.Zone.String(), RenewalDay: int32(of.RenewalDay), RatingBasis: of.rating(), States: of.states(),
		DefaultState: account.StateOnWire(of.DefaultState), OnUnknown: of.onUnknown(), SecondNotice: of.secondNotice(),
		InactivePolicy: configv1.InactivePolicy_INACTIVE_POLICY_OPEN,
	}
	m.CutOff = account.MoneyWhere(of.HasLimit, of.Limit, of.Currency)
	if of.BlockInactive {
		m.InactivePolicy = configv1.InactivePolicy_INACTIVE_POLICY_BLOCK
	}
	return m
}

func (of offered) payment() *optionsv1.OfferedPaymentSafeguard {
	return &optionsv1.OfferedPaymentSafeguard{
		CutOff: of.money(of.Limit), PerPaymentLimit: account.MoneyWhere(of.PerPayment != spend.Max, of.PerPayment, of.Currency),
		AmountBasis: of.basis(), AlertThresholds: of.alerts(), Scope: of.Scope,
		TimeZone: of.Zone.String(), RenewalDay: int32(of.RenewalDay), RatingBasis: of.rating(), States: of.states(),
		DefaultState: account.StateOnWire(of.DefaultState), OnUnknown: of.onUnknown(), SecondNotice: of.secondNotice(),
	}
}

func (of offered) money(a spend.Amount) *money.Money { return account.MoneyOf(a, of.Currency) }

func (of offered) secondNotice() *money.Money {
	return account.MoneyWhere(of.SecondNotice > 0, of.SecondNotice, of.Currency)
}

func (of offered) basis() configv1.AmountBasis {
	if of.Basis == configclient.Gross {
		return configv1.AmountBasis_AMOUNT_BASIS_GROSS
	}
	return configv1.AmountBasis_AMOUNT_BASIS_NET
}

func (of offered) rating() configv1.RatingBasis {
	if of.Rating == configclient.Wholesale {
		return configv1.RatingBasis_RATING_BASIS_WHOLESALE
	}
	return configv1.RatingBasis_RATING_BASIS_RETAIL
}

func (of offered) onUnknown() configv1.UnknownPolicy {
	if of.UnknownAllows {
		return configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW
	}
	return configv1.UnknownPolicy_UNKNOWN_POLICY_BLOCK
}

func (of offered) alerts() []*configv1.AlertThreshold {
	out := make([]*configv1.AlertThreshold, len(of.Thresholds))
	for i, t := range of.Thresholds {
		if t.Percent != 0 {
			out[i] = &configv1.AlertThreshold{Threshold: &configv1.AlertThreshold_Percent{Percent: int32(t.Percent)}}
		} else {
			out[i] = &configv1.AlertThreshold{Threshold: &configv1.AlertThreshold_Amount{Amount: of.money(t.Amount)}}
		}
	}
	return out
}

func (of offered) states() []eventv1.Safeguard_State {
	out := make([]eventv1.Safeguard_State, len(of.States))
	for i, s := range of.States {
		out[i] = account.StateOnWire(s)
	}
	return out
}
