package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func (r *running) policy(p *configv1.SubscriberPolicy) error {
	_, err := r.tenants.UpdateTenant(r.t.Context(), &configv1.UpdateTenantRequest{
		Tenant: &configv1.Tenant{Name: "tenants/acme", Subscribers: p}, UpdateMask: mask("subscribers"),
	})
	return err
}

func TestTenant_ListsEveryViolationOfItsSubscribers(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.tenant("other")
	r.class("basic")
	r.class("gone")
	must[*configv1.ClassOfService](t)(r.classes.DeleteClassOfService(ctx, &configv1.DeleteClassOfServiceRequest{Name: aClass("gone").GetName(), Force: true}))
	theirs := aClass("theirs")
	theirs.Name = "tenants/other/classesOfService/theirs"
	must[*configv1.ClassOfService](t)(r.classes.CreateClassOfService(ctx, &configv1.CreateClassOfServiceRequest{ClassOfService: theirs}))
	const (
		grace  = "tenant.subscribers.unknown_grace"
		window = "tenant.subscribers.dedup_window"
		class  = "tenant.subscribers.default_class_of_service"
	)
	for _, test := range []struct {
		name   string
		policy *configv1.SubscriberPolicy
		want   []string
	}{
		{"nothing set is 30 seconds, and rejected then", &configv1.SubscriberPolicy{}, nil},
		{"usage of the unknown may be rejected at once", &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(0)}, nil},
		{"it may wait a day", &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(24 * time.Hour)}, nil},
		{"it may not wait longer", &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(24*time.Hour + 1)}, []string{grace}},
		{"it may not wait less than not at all", &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(-1)}, []string{grace}},
		{"a duration is one", &configv1.SubscriberPolicy{UnknownGrace: &durationpb.Duration{Seconds: 1, Nanos: -1}}, []string{grace}},
		{"ids may be remembered a day", &configv1.SubscriberPolicy{DedupWindow: durationpb.New(24 * time.Hour)}, nil},
		{"or five weeks", &configv1.SubscriberPolicy{DedupWindow: durationpb.New(35 * 24 * time.Hour)}, nil},
		{"not less than a day", &configv1.SubscriberPolicy{DedupWindow: durationpb.New(24*time.Hour - 1)}, []string{window}},
		{"nor more than five weeks", &configv1.SubscriberPolicy{DedupWindow: durationpb.New(35*24*time.Hour + 1)}, []string{window}},
		{"a window is a duration", &configv1.SubscriberPolicy{DedupWindow: &durationpb.Duration{Seconds: 90000, Nanos: -1}}, []string{window}},
		{"a default class exists", &configv1.SubscriberPolicy{DefaultClassOfService: "basic"}, nil},
		{"a class that never was is none", &configv1.SubscriberPolicy{DefaultClassOfService: "basik"}, []string{class}},
		{"a deleted class is none", &configv1.SubscriberPolicy{DefaultClassOfService: "gone"}, []string{class}},
		{"another tenant's class is none", &configv1.SubscriberPolicy{DefaultClassOfService: "theirs"}, []string{class}},
		{"the class is named by its id", &configv1.SubscriberPolicy{DefaultClassOfService: "tenants/acme/classesOfService/basic"}, []string{class}},
		{"everything wrong is listed at once", &configv1.SubscriberPolicy{
			UnknownGrace: durationpb.New(-time.Second), DefaultClassOfService: "no", OnUnknown: 77, TooLateToDeduplicate: 77,
		}, []string{grace, "tenant.subscribers.on_unknown", "tenant.subscribers.too_late_to_deduplicate", class}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := r.policy(test.policy)
			var got []string
			for _, v := range fault.ViolationsOf(err) {
				got = append(got, v.Field)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || (err == nil) != (test.want == nil) {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestDelete_RefusesTheClassOfUnknownNumbers(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.class("basic")
	r.class("gold")
	remove := func(id string) error {
		_, err := r.classes.DeleteClassOfService(ctx, &configv1.DeleteClassOfServiceRequest{Name: aClass(id).GetName(), Force: true})
		return err
	}
	if err := r.policy(&configv1.SubscriberPolicy{DefaultClassOfService: "basic"}); err != nil {
		t.Fatal(err)
	}
	refused(t, remove("basic"), fault.Conflict, "CLASS_OF_SERVICE_IN_USE")
	if err := remove("gold"); err != nil {
		t.Errorf("another class: %v", err)
	}
	if err := r.policy(nil); err != nil {
		t.Fatal(err)
	}
	if err := remove("basic"); err != nil {
		t.Errorf("once it is not named: %v", err)
	}
}

func TestDelete_NeedsForceWhereSubscribersMayHaveTheClass(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	r.class("gold")
	name := aClass("gold").GetName()
	_, err := r.classes.DeleteClassOfService(t.Context(), &configv1.DeleteClassOfServiceRequest{Name: name})
	refused(t, err, fault.Conflict, "FORCE_REQUIRED")
	for _, want := range []string{"CLASS_OF_SERVICE_UNKNOWN", "Undelete", "Authorize and Charge", "on_unknown", "subscriber.cos_changed", "force"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("does not have %s: %v", want, err)
		}
	}
	if c, err := r.classes.GetClassOfService(t.Context(), &configv1.GetClassOfServiceRequest{Name: name}); err != nil || c.GetMetadata().GetDeleteTime() != nil {
		t.Errorf("deleted all the same: %v %v", c, err)
	}
	if _, err := r.classes.DeleteClassOfService(t.Context(), &configv1.DeleteClassOfServiceRequest{Name: name, Force: true}); err != nil {
		t.Errorf("forced: %v", err)
	}
}
