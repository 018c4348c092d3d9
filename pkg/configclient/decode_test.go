package configclient

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestDecode_ClassHasItsDefaults(t *testing.T) {
	plain := &configv1.DataSafeguardOption{Limit: &money.Money{CurrencyCode: "EUR", Units: 50}}
	full := &configv1.DataSafeguardOption{
		Limit: &money.Money{CurrencyCode: "GBP", Units: 45, Nanos: 500_000_000}, AmountBasis: configv1.AmountBasis_AMOUNT_BASIS_GROSS,
		AlertThresholds: []*configv1.AlertThreshold{
			{Threshold: &configv1.AlertThreshold_Percent{Percent: 50}},
			{Threshold: &configv1.AlertThreshold_Amount{Amount: &money.Money{CurrencyCode: "GBP", Units: 100}}},
		},
		Scope: "usage.roaming", TimeZone: "Europe/London", RenewalDay: 15, RatingBasis: configv1.RatingBasis_RATING_BASIS_WHOLESALE,
		States:       []eventv1.Safeguard_State{eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE},
		DefaultState: eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE, OnUnknown: configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW,
		SecondNotice: &money.Money{CurrencyCode: "GBP", Units: 100},
	}
	s := Decode(&configv1.Snapshot{ClassesOfService: []*configv1.ClassOfService{
		{Name: "tenants/a/classesOfService/full", DataSafeguard: full, DisplayName: "Full"},
		{Name: "tenants/a/classesOfService/none"},
		{Name: "tenants/a/classesOfService/plain", DataSafeguard: plain},
	}})
	if err := unreadableOf(s); err != nil {
		t.Fatal(err)
	}
	zone := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
	for id, want := range map[string]*Offer{
		"none": nil,
		"plain": {
			Option: spend.Data, Currency: "EUR", Limit: 50 * spend.Unit, HasLimit: true, PerPayment: spend.Max,
			Basis: Net, Rating: Retail, Thresholds: []spend.Threshold{{Percent: 80}}, Scope: DefaultDataScope, Zone: time.UTC, RenewalDay: 1,
			States: []spend.State{spend.Active, spend.TemporarilyInactive, spend.PermanentlyInactive}, DefaultState: spend.Active,
		},
		"full": {
			Option: spend.Data, Currency: "GBP", Limit: 45*spend.Unit + spend.Unit/2, HasLimit: true, PerPayment: spend.Max,
			Basis: Gross, Rating: Wholesale, Thresholds: []spend.Threshold{{Percent: 50}, {Amount: 100 * spend.Unit}},
			Scope: "usage.roaming", Zone: mustZone(t, "Europe/London"), RenewalDay: 15,
			States: []spend.State{spend.Active, spend.PermanentlyInactive}, DefaultState: spend.PermanentlyInactive,
			UnknownAllows: true, SecondNotice: 100 * spend.Unit,
		},
	} {
		c, ok := s.Class("a", id)
		if !ok {
			t.Errorf("class %s is not found", id)
			continue
		}
		if diff := cmp.Diff(want, c.Data, zone); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
	if _, ok := s.Class("b", "plain"); ok {
		t.Error("a class of another tenant is found")
	}
}

func mustZone(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := spend.Zone(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestDecode_NamesEveryUnreadableField(t *testing.T) {
	s := Decode(&configv1.Snapshot{
		Tenants: []*configv1.Tenant{{Name: "tenants/a", Outbound: &configv1.OutboundPolicy{Networks: []string{"x"}}}},
		ClassesOfService: []*configv1.ClassOfService{{Name: "tenants/a/classesOfService/c", DataSafeguard: &configv1.DataSafeguardOption{
			Limit: &money.Money{CurrencyCode: "EUR", Nanos: -1, Units: 1}, TimeZone: "Mars/Base", RenewalDay: 31, AmountBasis: 7,
		}}},
		Notifications: []*configv1.Notification{{Name: "notifications/n"}},
		Endpoints:     []*configv1.Endpoint{{Name: "tenants/a/endpoints/e", Profile: 99, Status: 98, Secrets: []string{"whsec_!!"}}},
	})
	err := unreadableOf(s)
	for _, want := range []string{"networks[0]", "nanos", "Mars/Base", "renewal day", "basis 7", "notifications/n", "profile 99", "status 98", "secret 0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("does not name %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "!!") {
		t.Error("a secret is repeated")
	}
}

// unreadableOf are the unreadable resources of a snapshot, joined.
func unreadableOf(s *Snapshot) error {
	var all []error
	for _, f := range s.Unreadable() {
		all = append(all, f.Err)
	}
	return errors.Join(all...)
}

// An unreadable resource stops no other: the rest of its revision is used, and the resource itself has no wrong effect.
func TestDecode_UnreadableResourceLeavesTheRest(t *testing.T) {
	class := func(id, currency string) *configv1.ClassOfService {
		return &configv1.ClassOfService{Name: "tenants/a/classesOfService/" + id, DataSafeguard: &configv1.DataSafeguardOption{
			Limit: &money.Money{CurrencyCode: currency, Units: 1},
		}}
	}
	s := Decode(&configv1.Snapshot{
		Tenants: []*configv1.Tenant{{Name: "tenants/a", DisplayName: "A", Outbound: &configv1.OutboundPolicy{PlainHttp: true, Networks: []string{"x"}},
			Subscribers: &configv1.SubscriberPolicy{TooLateToDeduplicate: 99, OnUnknown: 99}}, {Name: "b"}},
		ClassesOfService: []*configv1.ClassOfService{class("bad", "?"), class("good", "EUR")},
		Notifications:    []*configv1.Notification{{Name: "notifications/n"}, {Name: "tenants/a/notifications/n"}},
		Endpoints: []*configv1.Endpoint{
			{Name: "tenants/a/endpoints/profile", Profile: 99}, {Name: "tenants/a/endpoints/secret", Secrets: []string{"whsec_!!"}}, {Name: "endpoints/x"},
		},
	})
	var names []string
	for _, f := range s.Unreadable() {
		names = append(names, f.Name)
	}
	want := []string{"b", "tenants/a", "tenants/a/classesOfService/bad", "notifications/n", "endpoints/x", "tenants/a/endpoints/profile", "tenants/a/endpoints/secret"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	tenant, ok := s.Tenant("a")
	if !ok || tenant.DisplayName != "A" || tenant.Outbound.PlainHTTP || tenant.UnknownAllows || !tenant.RejectTooLate {
		t.Errorf("the tenant is %+v, %t: what can't be read must be what is safe", tenant, ok)
	}
	if _, ok := s.Class("a", "bad"); ok {
		t.Error("a class that can't be read would be counted by")
	}
	if _, ok := s.Class("a", "good"); !ok || len(s.Tenants()) != 1 || len(s.Notifications()) != 1 || s.targetsOf(webhook.Channel.Target) != 2 {
		t.Error("what can be read is gone")
	}
	profile, _ := s.Target("tenants/a/endpoints/profile")
	secret, _ := s.Target("tenants/a/endpoints/secret")
	if !profile.Value.Planning().Draft || profile.Unreadable == nil || secret.Value.Planning().Draft || secret.Unreadable == nil {
		t.Errorf("endpoints are %+v and %+v", profile, secret)
	}
	if shown := Incidents("X", make([]Unreadable, 0)); shown != nil {
		t.Error(shown)
	}
	many := make([]Unreadable, 30)
	for i := range many {
		many[i] = Unreadable{Name: strconv.Itoa(i), Err: errors.New(strings.Repeat("x", 5000))}
	}
	shown := Incidents("X", many)
	if len(shown) != 21 || shown[20].Detail != "10 more" || len(shown[0].Detail) > 600 {
		t.Errorf("30 resources with long errors are %d incidents, the last %v", len(shown), shown[len(shown)-1])
	}
}

func BenchmarkLoadTenThousandNotifications(b *testing.B) {
	m := &configv1.Snapshot{Revision: 1}
	for i := range 100 {
		m.Tenants = append(m.Tenants, &configv1.Tenant{Name: fmt.Sprintf("tenants/t%d", i)})
		m.Endpoints = append(m.Endpoints, &configv1.Endpoint{Name: fmt.Sprintf("tenants/t%d/endpoints/e", i), Url: "https://x.example"})
	}
	for i := range 10_000 {
		m.Notifications = append(m.Notifications, &configv1.Notification{
			Name: fmt.Sprintf("tenants/t%d/notifications/n%d", i%100, i), Active: true,
			Trigger: &configv1.Trigger{EventTypes: []string{"safeguard.alert"}, Filter: "data.spent.units > 10"},
			Actions: []*configv1.Action{{Name: "notify", Parameters: []*configv1.Parameter{{Name: "text", Template: "You used {{.Option.Spent}}"}}}},
		})
	}
	body, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		read := &configv1.Snapshot{}
		if err := proto.Unmarshal(body, read); err != nil {
			b.Fatal(err)
		}
		Decode(read)
	}
}
