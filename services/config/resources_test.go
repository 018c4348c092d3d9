package config

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/daemon/frametest"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/fieldmask"
)

func TestConfig_ShippedFileIsTheDefaults(t *testing.T) {
	t.Parallel()
	const path = "../../deploy/config/config.yaml"
	frametest.ShippedFile(t, "config", DefaultConfig())
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"TOLLGATE_CONFIG_DATABASE", "TOLLGATE_GRPC_ADVERTISE", "TOLLGATE_SHUTDOWN_TIMEOUT"} {
		if !strings.Contains(string(content), name) {
			t.Errorf("%s does not name %s", path, name)
		}
	}
}

func TestValidate_ListsEveryViolation(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.tenant("other")
	r.endpoint("good")
	must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: &configv1.Endpoint{
		Name: "tenants/other/endpoints/theirs", Url: "https://x.example", Secrets: []string{secretA}}}))
	for name, tc := range map[string]struct {
		call func() error
		want []string
	}{
		"a tenant": {func() error {
			_, err := r.tenants.CreateTenant(ctx, &configv1.CreateTenantRequest{Tenant: &configv1.Tenant{
				Name: "tenants/new", DisplayName: strings.Repeat("x", 201),
				Outbound: &configv1.OutboundPolicy{Ports: []uint32{0, 8443, 70000}, Networks: []string{"10.0.0.0/8", "10.1.2.3", "10.1.2.3/8"}},
			}})
			return err
		}, []string{
			"tenant.outbound.ports[0]", "tenant.outbound.ports[2]", "tenant.outbound.networks[1]", "tenant.outbound.networks[2]", "tenant.display_name",
		}},
		"a class of service": {func() error {
			_, err := r.classes.CreateClassOfService(ctx, &configv1.CreateClassOfServiceRequest{ClassOfService: &configv1.ClassOfService{
				Name: "tenants/missing/classesOfService/gold",
				DataSafeguard: &configv1.DataSafeguardOption{
					Limit: &money.Money{CurrencyCode: "EUR", Units: -1}, AmountBasis: 9, RenewalDay: 29, TimeZone: "Mars/Base",
					Scope: "usage.nonsense",
					AlertThresholds: []*configv1.AlertThreshold{
						{}, {Threshold: &configv1.AlertThreshold_Percent{Percent: 1001}}, {Threshold: &configv1.AlertThreshold_Percent{Percent: 80}},
						{Threshold: &configv1.AlertThreshold_Percent{Percent: 80}},
						{Threshold: &configv1.AlertThreshold_Amount{Amount: &money.Money{CurrencyCode: "GBP", Units: 1}}},
						{Threshold: &configv1.AlertThreshold_Amount{Amount: &money.Money{CurrencyCode: "eur", Units: 1}}},
					},
				},
			}})
			return err
		}, []string{
			"class_of_service.name", "class_of_service.data_safeguard.limit", "class_of_service.data_safeguard.amount_basis",
			"class_of_service.data_safeguard.alert_thresholds[0]", "class_of_service.data_safeguard.alert_thresholds[1]",
			"class_of_service.data_safeguard.alert_thresholds[3]", "class_of_service.data_safeguard.alert_thresholds[4].amount",
			"class_of_service.data_safeguard.alert_thresholds[5].amount",
			"class_of_service.data_safeguard.scope", "class_of_service.data_safeguard.time_zone", "class_of_service.data_safeguard.renewal_day",
		}},
		"a class whose options all lack something": {func() error {
			_, err := r.classes.CreateClassOfService(ctx, &configv1.CreateClassOfServiceRequest{ClassOfService: &configv1.ClassOfService{
				Name: "tenants/acme/classesOfService/gold", DataSafeguard: &configv1.DataSafeguardOption{},
				OverspendSafeguard: &configv1.OverspendSafeguardOption{}, PaymentSafeguard: &configv1.PaymentSafeguardOption{}}})
			return err
		}, []string{
			"class_of_service.data_safeguard.limit", "class_of_service.overspend_safeguard.currency_code",
			"class_of_service.payment_safeguard.limit",
		}},
		"an endpoint": {func() error {
			_, err := r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: &configv1.Endpoint{
				Name: "tenants/acme/endpoints/e", Url: "http://127.0.0.1:99/", Profile: 99, Status: 99, PersonalData: 99,
				Secrets: []string{"whsec_QUFB", "plain", maskedA}, CaCertificates: "no pem", Timeout: durationpb.New(time.Hour), Concurrency: 513,
				Headers: []*configv1.CustomHeader{
					{Name: "X-Ok", Value: "v"}, {Name: "x-ok", Value: "v"}, {Name: "Webhook-Id", Value: "v"}, {Name: "a b", Value: "v"},
					{Name: "Y", Value: "v\r\nZ: w"},
				},
			}})
			return err
		}, []string{
			"endpoint.url", "endpoint.url", "endpoint.url", "endpoint.profile", "endpoint.status", "endpoint.personal_data",
			"endpoint.secrets", "endpoint.secrets[0]", "endpoint.secrets[1]", "endpoint.secrets[2]", "endpoint.ca_certificates",
			"endpoint.headers[1].name", "endpoint.headers[2].name", "endpoint.headers[3].name", "endpoint.headers[4].value",
			"endpoint.timeout", "endpoint.concurrency",
		}},
		"an endpoint without anything": {func() error {
			_, err := r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: &configv1.Endpoint{Name: "tenants/acme/endpoints/e"}})
			return err
		}, []string{"endpoint.url", "endpoint.secrets"}},
		"a notification": {func() error {
			n := aNotification("n", "absent")
			n.Trigger.EventTypes = []string{"no.such_type"}
			n.Actions = append(n.Actions, &configv1.Action{Name: "notify"}, &configv1.Action{Name: "theirs", Action: &configv1.Action_Webhook{
				Webhook: &configv1.WebhookAction{Endpoint: "tenants/other/endpoints/theirs"}}})
			_, err := r.notes.CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: n})
			return err
		}, []string{
			"notification.trigger.event_types[0]", "notification.actions[1].name", "notification.actions[1]",
			"notification.actions[2].webhook.endpoint", "notification.actions[0].webhook.endpoint",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			before := r.snapshot(0)
			err := tc.call()
			refused(t, err, fault.Invalid, "CONFIG_INVALID")
			var got []string
			for _, v := range fault.ViolationsOf(err) {
				got = append(got, v.Field)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			if strings.Contains(err.Error(), "QUFB") {
				t.Errorf("a secret is repeated: %v", err)
			}
			if !proto.Equal(before, r.snapshot(0)) {
				t.Error("what was refused was stored")
			}
		})
	}
}

func TestNames_HaveTheirForm(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	for _, name := range []string{
		"", "acme", "tenants/", "tenants/Acme", "tenants/a b", "tenants/-a", "tenants/acme/x", "tenants/" + strings.Repeat("a", 64), "tenants/a\x00",
	} {
		_, err := r.tenants.CreateTenant(t.Context(), &configv1.CreateTenantRequest{Tenant: &configv1.Tenant{Name: name}})
		refused(t, err, fault.Invalid, "NAME_INVALID")
		if v := fault.ViolationsOf(err); len(v) != 1 || v[0].Field != "tenant.name" {
			t.Errorf("%q: %v", name, v)
		}
	}
	for _, name := range []string{"tenants/acme/endpoints/", "tenants/acme/endpoints/E", "tenants/acme/notifications/e", "endpoints/e"} {
		e := anEndpoint("e")
		e.Name = name
		_, err := r.ends.CreateEndpoint(t.Context(), &configv1.CreateEndpointRequest{Endpoint: e})
		refused(t, err, fault.Invalid, "NAME_INVALID")
	}
	_, err := r.tenants.CreateTenant(t.Context(), &configv1.CreateTenantRequest{})
	refused(t, err, fault.Invalid, "NAME_INVALID")
	r.endpoint("e")
	r.notification("ALERT.80_percent-a", "e")
}

func TestUpdate_RefusesAnOldEtag(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	first := r.endpoint("e")
	update := func(etag, name string) (*configv1.Endpoint, error) {
		e := proto.CloneOf(first)
		e.Metadata, e.DisplayName = &configv1.Metadata{Etag: etag}, name
		return r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: e})
	}
	second := must[*configv1.Endpoint](t)(update(first.GetMetadata().GetEtag(), "mine"))
	if second.GetMetadata().GetEtag() == first.GetMetadata().GetEtag() || second.GetMetadata().GetRevision() != 3 {
		t.Errorf("%v", second.GetMetadata())
	}
	_, err := update(first.GetMetadata().GetEtag(), "theirs")
	refused(t, err, fault.Conflict, "ETAG_MISMATCH")
	_, err = r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: first.GetName(), Etag: first.GetMetadata().GetEtag()})
	refused(t, err, fault.Conflict, "ETAG_MISMATCH")
	if _, err := update("", "without"); err != nil {
		t.Errorf("without an etag: %v", err)
	}
	// It is as it was at first: the etag of then, sent again, is still an old one.
	again := must[*configv1.Endpoint](t)(update("", first.GetDisplayName()))
	if again.GetDisplayName() != first.GetDisplayName() || again.GetMetadata().GetEtag() == first.GetMetadata().GetEtag() {
		t.Errorf("%v after %v", again, first)
	}
	_, err = update(first.GetMetadata().GetEtag(), "replayed")
	refused(t, err, fault.Conflict, "ETAG_MISMATCH")
}

func TestUpdate_WithoutAChangeTakesNoRevision(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	first := r.endpoint("e")
	same := must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: anEndpoint("e")}))
	if diff := cmp.Diff(first, same, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	checked := must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: anEndpoint("f"), ValidateOnly: true}))
	if checked.GetName() != "tenants/acme/endpoints/f" {
		t.Errorf("%v", checked)
	}
	_, err := r.ends.GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: "tenants/acme/endpoints/f"})
	refused(t, err, fault.NotFound, "ENDPOINT_NOT_FOUND")
	bad := anEndpoint("g")
	bad.Url = "x"
	_, err = r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: bad, ValidateOnly: true})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if n := r.snapshot(0).GetRevision(); n != 2 {
		t.Errorf("revision %d", n)
	}
}

func TestUpdate_ChangesWhatItsMaskNames(t *testing.T) {
	t.Parallel()
	stored := &configv1.ClassOfService{
		Name: "tenants/acme/classesOfService/c", DisplayName: "old",
		DataSafeguard: &configv1.DataSafeguardOption{Limit: &money.Money{CurrencyCode: "EUR", Units: 50}, RenewalDay: 3, Scope: "usage.roaming"},
	}
	given := &configv1.ClassOfService{
		Name: "tenants/acme/classesOfService/c", DisplayName: "new",
		DataSafeguard: &configv1.DataSafeguardOption{Limit: &money.Money{CurrencyCode: "EUR", Units: 60}},
	}
	for name, tc := range map[string]struct {
		paths []string
		want  func(*configv1.ClassOfService)
	}{
		"nothing named is everything":      {nil, func(c *configv1.ClassOfService) { proto.Merge(clear(c), given) }},
		"a star is everything":             {[]string{"*"}, func(c *configv1.ClassOfService) { proto.Merge(clear(c), given) }},
		"a field":                          {[]string{"display_name"}, func(c *configv1.ClassOfService) { c.DisplayName = "new" }},
		"a field of a field":               {[]string{"data_safeguard.limit"}, func(c *configv1.ClassOfService) { c.DataSafeguard.Limit.Units = 60 }},
		"deeper":                           {[]string{"data_safeguard.limit.units"}, func(c *configv1.ClassOfService) { c.DataSafeguard.Limit.Units = 60 }},
		"one that is absent is cleared":    {[]string{"data_safeguard.scope"}, func(c *configv1.ClassOfService) { c.DataSafeguard.Scope = "" }},
		"the whole message":                {[]string{"data_safeguard"}, func(c *configv1.ClassOfService) { c.DataSafeguard = given.GetDataSafeguard() }},
		"what the server keeps is ignored": {[]string{"name", "metadata", "metadata.etag"}, func(*configv1.ClassOfService) {}},
	} {
		t.Run(name, func(t *testing.T) {
			want := proto.CloneOf(stored)
			tc.want(want)
			if err := fieldmask.Check(classKind.make().ProtoReflect().Descriptor(), classKind.label, mask(tc.paths...)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, fieldmask.Merge(stored, given, mask(tc.paths...)), protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
	err := fieldmask.Check(classKind.make().ProtoReflect().Descriptor(), classKind.label, mask("display_nam", "data_safeguard.limits", "data_safeguard.alert_thresholds.percent", "display_name.x", ""))
	if n := len(fault.ViolationsOf(err)); n != 5 {
		t.Errorf("%d of 5 paths that lead nowhere are named: %v", n, err)
	}
}

func clear(c *configv1.ClassOfService) *configv1.ClassOfService {
	proto.Reset(c)
	return c
}

func TestDelete_RefusesWhatIsInUse(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.endpoint("e")
	note := r.notification("n", "e")
	_, err := r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/e"})
	refused(t, err, fault.Conflict, "ENDPOINT_IN_USE")
	if err == nil || !strings.Contains(err.Error(), note.GetName()) {
		t.Errorf("%v does not name the notification", err)
	}
	_, err = r.tenants.DeleteTenant(ctx, &configv1.DeleteTenantRequest{Name: "tenants/acme"})
	refused(t, err, fault.Conflict, "TENANT_IN_USE")

	note.Active = false
	must[*configv1.Notification](t)(r.notes.UpdateNotification(ctx, &configv1.UpdateNotificationRequest{Notification: note, UpdateMask: mask("active")}))
	must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/e"}))
	note.Active, note.Metadata = true, nil
	_, err = r.notes.UpdateNotification(ctx, &configv1.UpdateNotificationRequest{Notification: note, UpdateMask: mask("active")})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	must[*configv1.Notification](t)(r.notes.DeleteNotification(ctx, &configv1.DeleteNotificationRequest{Name: note.GetName()}))
	_, err = r.notes.UndeleteNotification(ctx, &configv1.UndeleteNotificationRequest{Name: note.GetName()})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	must[*configv1.Tenant](t)(r.tenants.DeleteTenant(ctx, &configv1.DeleteTenantRequest{Name: "tenants/acme"}))
	_, err = r.ends.UndeleteEndpoint(ctx, &configv1.UndeleteEndpointRequest{Name: "tenants/acme/endpoints/e"})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if s := r.snapshot(0); len(s.GetTenants())+len(s.GetEndpoints())+len(s.GetNotifications()) != 0 {
		t.Errorf("%v", s)
	}
}

func TestDelete_CanBeUndoneForAWhile(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	name := r.endpoint("e").GetName()
	undelete := func() (*configv1.Endpoint, error) {
		return r.ends.UndeleteEndpoint(ctx, &configv1.UndeleteEndpointRequest{Name: name})
	}
	_, err := undelete()
	refused(t, err, fault.AlreadyExists, "NOT_DELETED")
	must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: name}))
	_, err = r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: name})
	refused(t, err, fault.NotFound, "ENDPOINT_NOT_FOUND")
	_, err = r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: anEndpoint("e")})
	refused(t, err, fault.NotFound, "ENDPOINT_NOT_FOUND")
	_, err = r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: anEndpoint("e")})
	refused(t, err, fault.AlreadyExists, "NAME_TAKEN")
	_, err = r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: anEndpoint("e"), AllowMissing: true})
	refused(t, err, fault.AlreadyExists, "NAME_TAKEN")
	if e := must[*configv1.Endpoint](t)(r.ends.GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: name})); e.GetMetadata().GetDeleteTime() == nil {
		t.Error("a deleted one is not marked")
	}
	r.pass(undeletable)
	back := must[*configv1.Endpoint](t)(undelete())
	if back.GetMetadata().GetDeleteTime() != nil || back.GetUrl() == "" {
		t.Errorf("%v", back)
	}
	must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: name}))
	r.pass(undeletable + time.Second)
	_, err = undelete()
	refused(t, err, fault.NotFound, "DELETED_FOR_GOOD")
}

func TestUpdate_MayCreate(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	_, err := r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: anEndpoint("e")})
	refused(t, err, fault.NotFound, "ENDPOINT_NOT_FOUND")
	for range 2 {
		e := must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: anEndpoint("e"), AllowMissing: true}))
		if e.GetMetadata().GetRevision() != 2 {
			t.Errorf("%v", e)
		}
	}
	n := aNotification("n", "e")
	n.Version = 77
	for want := int64(1); want < 4; want++ {
		n.Description = strings.Repeat("x", int(want))
		got := must[*configv1.Notification](t)(r.notes.UpdateNotification(ctx, &configv1.UpdateNotificationRequest{Notification: n, AllowMissing: true}))
		if got.GetVersion() != want {
			t.Errorf("version %d, want %d", got.GetVersion(), want)
		}
	}
}

func TestEndpoint_HostIsOneThatItsTenantMayUse(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	e := anEndpoint("e")
	e.Url = "https://127.0.0.1:8443/hook"
	_, err := r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: e})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	must[*configv1.Tenant](t)(r.tenants.UpdateTenant(ctx, &configv1.UpdateTenantRequest{Tenant: &configv1.Tenant{
		Name: "tenants/acme", Outbound: &configv1.OutboundPolicy{Ports: []uint32{8443}, Networks: []string{"127.0.0.0/8"}}}}))
	must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: e}))
}

func TestDatabase_FileIsReadableByItsUserAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	if r.db.Postgres() {
		t.Skip("PostgreSQL has no file of ours")
	}
	r.tenant("acme")
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(r.db.Config.Path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("config.db%s has mode %v", suffix, info.Mode().Perm())
		}
	}
}
