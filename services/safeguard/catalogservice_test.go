package safeguard

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tollgate/tollgate/pkg/configclient"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// What a class leaves out is shown with its default in its place; what it has, as it is.
func TestCatalog_ShowsEveryOption(t *testing.T) {
	t.Parallel()
	const name = "tenants/acme/classesOfService/gold"
	eighty := []*configv1.AlertThreshold{{Threshold: &configv1.AlertThreshold_Percent{Percent: 80}}}
	configured := &configv1.PaymentSafeguardOption{
		Limit: safeguardtest.Units("300"), PerPaymentLimit: safeguardtest.Units("50"), AmountBasis: configv1.AmountBasis_AMOUNT_BASIS_GROSS,
		AlertThresholds: []*configv1.AlertThreshold{{Threshold: &configv1.AlertThreshold_Amount{Amount: safeguardtest.Units("200")}}},
		Scope:           "usage.third_party && usage.net < 10.0", TimeZone: "Europe/London", RenewalDay: 28,
		RatingBasis: configv1.RatingBasis_RATING_BASIS_RETAIL, States: []eventv1.Safeguard_State{eventv1.Safeguard_STATE_ACTIVE, eventv1.Safeguard_STATE_INACTIVE},
		DefaultState: eventv1.Safeguard_STATE_ACTIVE, OnUnknown: configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW, SecondNotice: safeguardtest.Units("400"),
	}
	class := safeguardtest.Full(func(c *configv1.ClassOfService) { c.PaymentSafeguard = proto.CloneOf(configured) })
	want := &optionsv1.ListCatalogOptionsResponse{
		Revision: 7,
		DataSafeguard: &optionsv1.CatalogDataSafeguard{Name: name + "/options/dataSafeguard", Option: &optionsv1.OfferedDataSafeguard{
			CutOff: safeguardtest.Units("50"), AmountBasis: configv1.AmountBasis_AMOUNT_BASIS_NET, AlertThresholds: eighty, Scope: configclient.DefaultDataScope,
			TimeZone: "UTC", RenewalDay: 1, RatingBasis: configv1.RatingBasis_RATING_BASIS_RETAIL,
			States:       []eventv1.Safeguard_State{eventv1.Safeguard_STATE_ACTIVE, eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE, eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE},
			DefaultState: eventv1.Safeguard_STATE_ACTIVE, OnUnknown: configv1.UnknownPolicy_UNKNOWN_POLICY_BLOCK,
		}},
		OverspendSafeguard: &optionsv1.CatalogOverspendSafeguard{Name: name + "/options/overspendSafeguard", Option: &optionsv1.OfferedOverspendSafeguard{
			CurrencyCode: "EUR", AmountBasis: configv1.AmountBasis_AMOUNT_BASIS_NET, AlertThresholds: eighty, Scope: configclient.DefaultOverspendScope,
			TimeZone: "UTC", RenewalDay: 1, RatingBasis: configv1.RatingBasis_RATING_BASIS_RETAIL,
			States:       []eventv1.Safeguard_State{eventv1.Safeguard_STATE_ACTIVE, eventv1.Safeguard_STATE_INACTIVE},
			DefaultState: eventv1.Safeguard_STATE_INACTIVE, OnUnknown: configv1.UnknownPolicy_UNKNOWN_POLICY_BLOCK,
			InactivePolicy: configv1.InactivePolicy_INACTIVE_POLICY_OPEN,
		}},
		PaymentSafeguard: &optionsv1.CatalogPaymentSafeguard{Name: name + "/options/paymentSafeguard", Option: &optionsv1.OfferedPaymentSafeguard{
			CutOff: configured.GetLimit(), PerPaymentLimit: configured.GetPerPaymentLimit(), AmountBasis: configured.GetAmountBasis(), AlertThresholds: configured.GetAlertThresholds(),
			Scope: configured.GetScope(), TimeZone: configured.GetTimeZone(), RenewalDay: configured.GetRenewalDay(), RatingBasis: configured.GetRatingBasis(),
			States: configured.GetStates(), DefaultState: configured.GetDefaultState(), OnUnknown: configured.GetOnUnknown(), SecondNotice: configured.GetSecondNotice(),
		}},
	}
	same := func(want, got proto.Message, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(class)
		v := f.start().catalog
		f.configured()
		all, err := v.ListOptions(f.ctx, &optionsv1.ListOptionsRequest{Parent: name})
		same(want, all, err)
		data, err := v.GetDataSafeguard(f.ctx, &optionsv1.GetDataSafeguardRequest{Name: name + "/options/dataSafeguard"})
		same(want.GetDataSafeguard(), data, err)
		over, err := v.GetOverspendSafeguard(f.ctx, &optionsv1.GetOverspendSafeguardRequest{Name: name + "/options/overspendSafeguard"})
		same(want.GetOverspendSafeguard(), over, err)
		pay, err := v.GetPaymentSafeguard(f.ctx, &optionsv1.GetPaymentSafeguardRequest{Name: name + "/options/paymentSafeguard"})
		same(want.GetPaymentSafeguard(), pay, err)
	})
}
