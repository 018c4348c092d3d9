package configclient

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func eur(units int64) *money.Money { return &money.Money{CurrencyCode: "EUR", Units: units} }

func TestDecode_EachOptionHasItsDefaults(t *testing.T) {
	both := []spend.State{spend.Active, spend.Inactive}
	for _, test := range []struct {
		name  string
		class *configv1.ClassOfService
		want  Class
	}{
		{
			"an overspend safeguard starts inactive and open, without a limit",
			&configv1.ClassOfService{OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "EUR"}},
			Class{Overspend: &Offer{
				Option: spend.Overspend, Currency: "EUR", PerPayment: spend.Max, Thresholds: []spend.Threshold{{Percent: 80}},
				Scope: "usage.out_of_bundle", Zone: time.UTC, RenewalDay: 1, States: both, DefaultState: spend.Inactive,
			}},
		},
		{
			"an overspend safeguard may start active under a default limit, and block while inactive",
			&configv1.ClassOfService{OverspendSafeguard: &configv1.OverspendSafeguardOption{
				CurrencyCode: "EUR", DefaultLimit: eur(0), DefaultState: eventv1.Safeguard_STATE_ACTIVE,
				InactivePolicy: configv1.InactivePolicy_INACTIVE_POLICY_BLOCK, Scope: "usage.roaming",
			}},
			Class{Overspend: &Offer{
				Option: spend.Overspend, Currency: "EUR", HasLimit: true, PerPayment: spend.Max, Thresholds: []spend.Threshold{{Percent: 80}},
				Scope: "usage.roaming", Zone: time.UTC, RenewalDay: 1, States: both, DefaultState: spend.Active, BlockInactive: true,
			}},
		},
		{
			"a payment safeguard caps each payment",
			&configv1.ClassOfService{PaymentSafeguard: &configv1.PaymentSafeguardOption{Limit: eur(300), PerPaymentLimit: eur(50)}},
			Class{Payment: &Offer{
				Option: spend.Payment, Currency: "EUR", Limit: 300 * spend.Unit, HasLimit: true, PerPayment: 50 * spend.Unit,
				Thresholds: []spend.Threshold{{Percent: 80}}, Scope: "usage.third_party", Zone: time.UTC, RenewalDay: 1,
				States: both, DefaultState: spend.Active,
			}},
		},
		{
			"a payment safeguard without a cap takes one payment of any size, and may have no way out",
			&configv1.ClassOfService{PaymentSafeguard: &configv1.PaymentSafeguardOption{
				Limit: eur(300), States: []eventv1.Safeguard_State{eventv1.Safeguard_STATE_ACTIVE},
			}},
			Class{Payment: &Offer{
				Option: spend.Payment, Currency: "EUR", Limit: 300 * spend.Unit, HasLimit: true, PerPayment: spend.Max,
				Thresholds: []spend.Threshold{{Percent: 80}}, Scope: "usage.third_party", Zone: time.UTC, RenewalDay: 1,
				States: []spend.State{spend.Active}, DefaultState: spend.Active,
			}},
		},
		{
			"states stand in the option's order, once each, with active",
			&configv1.ClassOfService{DataSafeguard: &configv1.DataSafeguardOption{Limit: eur(50), States: []eventv1.Safeguard_State{
				eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE, eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE, eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE,
			}}},
			Class{Data: &Offer{
				Option: spend.Data, Currency: "EUR", Limit: 50 * spend.Unit, HasLimit: true, PerPayment: spend.Max,
				Thresholds: []spend.Threshold{{Percent: 80}}, Scope: DefaultDataScope, Zone: time.UTC, RenewalDay: 1,
				States: []spend.State{spend.Active, spend.TemporarilyInactive, spend.PermanentlyInactive}, DefaultState: spend.Active,
			}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.class.Name = "tenants/a/classesOfService/c"
			s := Decode(&configv1.Snapshot{ClassesOfService: []*configv1.ClassOfService{test.class}})
			if err := unreadableOf(s); err != nil {
				t.Fatal(err)
			}
			got, _ := s.Class("a", "c")
			test.want.Name, test.want.Tenant, test.want.ID = test.class.GetName(), "a", "c"
			zone := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
			if diff := cmp.Diff(&test.want, got, zone); diff != "" {
				t.Error(diff)
			}
			for option, want := range map[spend.Option]*Offer{spend.Data: got.Data, spend.Overspend: got.Overspend, spend.Payment: got.Payment, 9: nil} {
				if got.Offer(option) != want {
					t.Errorf("Offer(%d) is another one", option)
				}
			}
		})
	}
}

func TestDecode_TenantHasItsDefaults(t *testing.T) {
	s := Decode(&configv1.Snapshot{Tenants: []*configv1.Tenant{
		{Name: "tenants/full", TimeZone: "Europe/London", Subscribers: &configv1.SubscriberPolicy{
			UnknownGrace: durationpb.New(time.Minute), DefaultClassOfService: "basic", DedupWindow: durationpb.New(35 * 24 * time.Hour),
			OnUnknown:            configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW,
			TooLateToDeduplicate: configv1.TooLateToDeduplicate_TOO_LATE_TO_DEDUPLICATE_REJECT,
		}},
		{Name: "tenants/none"},
		{Name: "tenants/off", Subscribers: &configv1.SubscriberPolicy{
			UnknownGrace: durationpb.New(0), OnUnknown: configv1.UnknownPolicy_UNKNOWN_POLICY_BLOCK,
			TooLateToDeduplicate: configv1.TooLateToDeduplicate_TOO_LATE_TO_DEDUPLICATE_COUNT,
		}},
	}})
	if err := unreadableOf(s); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]Tenant{
		"full": {UnknownGrace: time.Minute, DefaultClass: "basic", UnknownAllows: true, RejectTooLate: true, DedupWindow: 35 * 24 * time.Hour, Zone: mustZone(t, "Europe/London")},
		"none": {UnknownGrace: 30 * time.Second, DedupWindow: 24 * time.Hour, Zone: time.UTC},
		"off":  {DedupWindow: 24 * time.Hour, Zone: time.UTC},
	} {
		got, _ := s.Tenant(id)
		want.Name, want.ID, want.Outbound, want.Message = "tenants/"+id, id, got.Outbound, got.Message
		zone := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
		if diff := cmp.Diff(&want, got, zone, cmp.Comparer(func(a, b *configv1.Tenant) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
}

func TestDecode_RejectsUnusableClasses(t *testing.T) {
	active := eventv1.Safeguard_STATE_ACTIVE
	for name, test := range map[string]struct {
		class *configv1.ClassOfService
		want  string
	}{
		"an option without a currency":               {&configv1.ClassOfService{OverspendSafeguard: &configv1.OverspendSafeguardOption{}}, "overspend_safeguard: currency"},
		"a monthly limit that is missing":            {&configv1.ClassOfService{PaymentSafeguard: &configv1.PaymentSafeguardOption{}}, "payment_safeguard: currency"},
		"a default limit in another currency":        {&configv1.ClassOfService{OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "GBP", DefaultLimit: eur(1)}}, `"EUR", not in "GBP"`},
		"a cap of a payment in another currency":     {&configv1.ClassOfService{PaymentSafeguard: &configv1.PaymentSafeguardOption{Limit: &money.Money{CurrencyCode: "GBP"}, PerPaymentLimit: eur(1)}}, `"EUR", not in "GBP"`},
		"a second notice in another currency":        {&configv1.ClassOfService{DataSafeguard: &configv1.DataSafeguardOption{Limit: &money.Money{CurrencyCode: "GBP"}, SecondNotice: eur(1)}}, `"EUR", not in "GBP"`},
		"a state of another option":                  {&configv1.ClassOfService{DataSafeguard: &configv1.DataSafeguardOption{Limit: eur(1), States: []eventv1.Safeguard_State{eventv1.Safeguard_STATE_INACTIVE}}}, "STATE_INACTIVE is not a state"},
		"a default state that is not offered":        {&configv1.ClassOfService{PaymentSafeguard: &configv1.PaymentSafeguardOption{Limit: eur(1), States: []eventv1.Safeguard_State{active}, DefaultState: eventv1.Safeguard_STATE_INACTIVE}}, "inactive is not offered"},
		"a default that the list leaves out":         {&configv1.ClassOfService{OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "EUR", States: []eventv1.Safeguard_State{active}}}, "inactive is not offered"},
		"a state of a newer schema":                  {&configv1.ClassOfService{DataSafeguard: &configv1.DataSafeguardOption{Limit: eur(1), States: []eventv1.Safeguard_State{77}}}, "77 is not a state"},
		"a rating basis of a newer schema":           {&configv1.ClassOfService{DataSafeguard: &configv1.DataSafeguardOption{Limit: eur(1), RatingBasis: 77}}, "rating basis 77"},
		"an inactive policy of a newer schema":       {&configv1.ClassOfService{OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "EUR", InactivePolicy: 77}}, "inactive policy 77"},
		"an answer to the unknown of a newer schema": {&configv1.ClassOfService{PaymentSafeguard: &configv1.PaymentSafeguardOption{Limit: eur(1), OnUnknown: 77}}, "unknown policy 77"},
	} {
		t.Run(name, func(t *testing.T) {
			test.class.Name = "tenants/a/classesOfService/c"
			err := unreadableOf(Decode(&configv1.Snapshot{ClassesOfService: []*configv1.ClassOfService{test.class}}))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q", err, test.want)
			}
		})
	}
	err := unreadableOf(Decode(&configv1.Snapshot{Tenants: []*configv1.Tenant{{Name: "tenants/a", Subscribers: &configv1.SubscriberPolicy{
		UnknownGrace: &durationpb.Duration{Seconds: 1, Nanos: -1}, OnUnknown: 77, TooLateToDeduplicate: 78, DedupWindow: durationpb.New(time.Hour),
	}}}}))
	for _, want := range []string{"duration", "unknown policy 77", "too late to deduplicate: 78", "dedup window 1h"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}
