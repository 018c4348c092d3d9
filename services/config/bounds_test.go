package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	validate "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// changed lets a test have another value for a while.
func changed[T any](t *testing.T, at *T, value T) {
	t.Helper()
	before := *at
	*at = value
	t.Cleanup(func() { *at = before })
}

// One caller's expression takes as long as it takes; the others' changes do not wait for it.
func TestChange_DoesNotWaitForTheCheckOfAnother(t *testing.T) {
	r := start(t)
	r.tenant("acme")
	r.endpoint("crm")
	entered, release := make(chan struct{}), make(chan struct{})
	changed(t, &notificationKind.fits, func(f *fault.Violations, d draft) error {
		close(entered)
		<-release
		return notificationFits(f, d)
	})
	made := make(chan error, 1)
	go func() {
		_, err := r.notes.CreateNotification(t.Context(), &configv1.CreateNotificationRequest{Notification: aNotification("slow", "crm")})
		made <- err
	}()
	<-entered
	r.tenant("other") // no transaction has the database
	close(release)
	if err := <-made; err != nil {
		t.Error(err)
	}
}

// What was checked is what is stored: a resource that changed meanwhile is checked anew.
func TestChange_IsCheckedAgainWhereTheResourceChanged(t *testing.T) {
	r := start(t)
	r.tenant("acme")
	r.endpoint("crm")
	r.notification("n", "crm")
	checks := 0
	changed(t, &notificationKind.fits, func(f *fault.Violations, d draft) error {
		checks++
		if checks == 1 {
			// Another caller is faster, as a whole change of its own: its check is the second.
			_, err := r.notes.UpdateNotification(t.Context(), &configv1.UpdateNotificationRequest{
				Notification: &configv1.Notification{Name: "tenants/acme/notifications/n", Description: "theirs"}, UpdateMask: mask("description"),
			})
			if err != nil {
				t.Error(err)
			}
		}
		return notificationFits(f, d)
	})
	changed(t, &checking, make(chan struct{}, 2)) // one check is within the other here
	got := must[*configv1.Notification](t)(r.notes.UpdateNotification(t.Context(), &configv1.UpdateNotificationRequest{
		Notification: &configv1.Notification{Name: "tenants/acme/notifications/n", DisplayName: "ours"}, UpdateMask: mask("display_name"),
	}))
	if got.GetDisplayName() != "ours" || got.GetDescription() != "theirs" || checks != 3 {
		t.Errorf("%v after %d checks", got, checks)
	}
}

// A reference is looked at again in the transaction: it may have gone while the rest was checked.
func TestChange_IsRefusedWhereItsReferenceWasDeletedMeanwhile(t *testing.T) {
	r := start(t)
	r.tenant("acme")
	r.endpoint("crm")
	changed(t, &notificationKind.fits, func(f *fault.Violations, d draft) error {
		if _, err := r.ends.DeleteEndpoint(t.Context(), &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/crm"}); err != nil {
			t.Error(err)
		}
		return nil
	})
	// The first look, after the check, would find it gone as well: the second is the one that counts.
	changed(t, &notificationKind.validateWithin, validateTargets)
	_, err := r.notes.CreateNotification(t.Context(), &configv1.CreateNotificationRequest{Notification: aNotification("n", "crm")})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
}

func TestChange_PanicOfACheckFailsItsRequestAlone(t *testing.T) {
	r := start(t)
	r.tenant("acme")
	r.endpoint("crm")
	changed(t, &notificationKind.validate, func(*fault.Violations, resource) { panic("broken") })
	if _, err := r.notes.CreateNotification(t.Context(), &configv1.CreateNotificationRequest{Notification: aNotification("n", "crm")}); err == nil {
		t.Error("accepted")
	}
	if len(checking) > 0 {
		t.Error("its place is not given back")
	}
	r.tenant("other")
}

func TestResource_HasABoundInBytes(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	r.endpoint("crm")
	n := aNotification("n", "crm")
	for i := range 30 {
		n.Actions[0].Parameters = append(n.Actions[0].Parameters, &configv1.Parameter{Name: fmt.Sprintf("x%d", i), Template: strings.Repeat("y", 16<<10)})
	}
	_, err := r.notes.CreateNotification(t.Context(), &configv1.CreateNotificationRequest{Notification: n})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if !strings.Contains(err.Error(), "must be at most 262144 bytes") {
		t.Error(err)
	}
	n = aNotification("n", "crm")
	n.Actions[0].Name = strings.Repeat("a", 100_000)
	_, err = r.notes.CreateNotification(t.Context(), &configv1.CreateNotificationRequest{Notification: n})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if text := err.Error(); !strings.Contains(text, "must be at most 100 bytes, has 100000") || len(text) > 1000 {
		t.Errorf("%.2000s", text)
	}
}

// Every text and list of every resource has a bound in its .proto, and each is held.
func TestFields_HaveABoundThatIsChecked(t *testing.T) {
	t.Parallel()
	var walk func(m protoreflect.MessageDescriptor, path string, seen map[protoreflect.FullName]bool)
	fields := 0
	walk = func(m protoreflect.MessageDescriptor, path string, seen map[protoreflect.FullName]bool) {
		if seen[m.FullName()] || m.ParentFile().Package() != "tollgate.config.v1" {
			return // google.type.Money and the like: the resource's bound holds them
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			rules, _ := proto.GetExtension(f.Options(), validate.E_Field).(*validate.FieldRules)
			text := func(r *validate.StringRules) bool { return r.GetMaxBytes() > 0 || r.GetMaxLen() > 0 }
			name := path + "." + string(f.Name())
			switch {
			case f.IsMap(): // encoded in the order of its keys, so that bodies can be compared
				fields++
				if of := rules.GetMap(); of.GetMaxPairs() == 0 || !text(of.GetKeys().GetString()) || !text(of.GetValues().GetString()) {
					t.Errorf("%s has no max_pairs, or keys or values without a bound", name)
				}
			case f.IsList():
				fields++
				if rules.GetRepeated().GetMaxItems() == 0 {
					t.Errorf("%s has no max_items", name)
				}
				if f.Kind() == protoreflect.StringKind && !text(rules.GetRepeated().GetItems().GetString()) {
					t.Errorf("%s: its elements have no bound", name)
				}
			case f.Kind() == protoreflect.StringKind:
				fields++
				if !text(rules.GetString()) {
					t.Errorf("%s has no bound", name)
				}
			case f.Kind() == protoreflect.BytesKind && rules.GetBytes().GetMaxLen() == 0:
				t.Errorf("%s has no bound", name)
			}
			if f.Message() != nil && !f.IsMap() {
				walk(f.Message(), name, seen)
			}
		}
	}
	for _, k := range kinds {
		walk(k.make().ProtoReflect().Descriptor(), k.name, map[protoreflect.FullName]bool{})
	}
	if fields < 30 {
		t.Errorf("%d fields were looked at", fields)
	}

	r := start(t)
	r.tenant("acme")
	long := strings.Repeat("ä", 201)
	_, err := r.ends.CreateEndpoint(t.Context(), &configv1.CreateEndpointRequest{Endpoint: &configv1.Endpoint{
		Name: "tenants/acme/endpoints/x", DisplayName: long, CaCertificates: strings.Repeat("x", 70_000), Url: "https://x.example/" + strings.Repeat("y", 3000),
	}})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	for _, want := range []string{"endpoint.display_name: must be at most 200 characters", "endpoint.url: ", "endpoint.ca_certificates: ", "endpoint.secrets: must have"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not listed: %v", want, err)
		}
	}
	thresholds := aClass("y")
	for i := range 21 {
		thresholds.DataSafeguard.AlertThresholds = append(thresholds.DataSafeguard.AlertThresholds, percent(int32(i+1)))
	}
	_, err = r.classes.CreateClassOfService(t.Context(), &configv1.CreateClassOfServiceRequest{ClassOfService: thresholds})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if want := "data_safeguard.alert_thresholds: must be at most 20 elements"; !strings.Contains(err.Error(), want) {
		t.Errorf("%q is not listed: %v", want, err)
	}
	// Ninety thousand states would be compared each with each.
	c := aClass("x")
	c.DataSafeguard.States = make([]eventv1.Safeguard_State, 90_000)
	_, err = r.classes.CreateClassOfService(t.Context(), &configv1.CreateClassOfServiceRequest{ClassOfService: c})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if want := "data_safeguard.states: must be at most 8 elements"; !strings.Contains(err.Error(), want) {
		t.Errorf("%q is not listed: %v", want, err)
	}
}

// endpointKind is one of the kinds of target.
var endpointKind = kinds[slices.IndexFunc(kinds, func(k *kind) bool { return k.name == "endpoint" })]

func TestTenant_HasABoundOfResourcesOfAKind(t *testing.T) {
	r := start(t)
	changed(t, &tenantKind.most, 2)
	changed(t, &endpointKind.most, 2)
	r.tenant("acme")
	r.tenant("other")
	_, err := r.tenants.CreateTenant(t.Context(), &configv1.CreateTenantRequest{Tenant: &configv1.Tenant{Name: "tenants/third"}})
	refused(t, err, fault.Invalid, "TOO_MANY")
	r.endpoint("one")
	r.endpoint("two")
	third := func() error {
		_, err := r.ends.CreateEndpoint(t.Context(), &configv1.CreateEndpointRequest{Endpoint: anEndpoint("three")})
		return err
	}
	refused(t, third(), fault.Invalid, "TOO_MANY")
	r.restart() // they are counted again
	refused(t, third(), fault.Invalid, "TOO_MANY")
	if _, err := r.ends.DeleteEndpoint(t.Context(), &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/one"}); err != nil {
		t.Fatal(err)
	}
	if err := third(); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	_, err = r.ends.UndeleteEndpoint(t.Context(), &configv1.UndeleteEndpointRequest{Name: "tenants/acme/endpoints/one"})
	refused(t, err, fault.Invalid, "TOO_MANY")
}

func TestEventType_HasABoundOfNotifications(t *testing.T) {
	r := start(t)
	changed(t, &maxNotificationsAType, 2)
	r.tenant("acme")
	r.endpoint("crm")
	r.notification("a", "crm")
	r.notification("b", "crm")
	c := aNotification("c", "crm")
	_, err := r.notes.CreateNotification(t.Context(), &configv1.CreateNotificationRequest{Notification: c})
	refused(t, err, fault.Invalid, "TOO_MANY")
	c.Active = false
	must[*configv1.Notification](t)(r.notes.CreateNotification(t.Context(), &configv1.CreateNotificationRequest{Notification: c}))
	c.Active = true
	_, err = r.notes.UpdateNotification(t.Context(), &configv1.UpdateNotificationRequest{Notification: c})
	refused(t, err, fault.Invalid, "TOO_MANY")
	must[*configv1.Notification](t)(r.notes.UpdateNotification(t.Context(), &configv1.UpdateNotificationRequest{
		Notification: &configv1.Notification{Name: "tenants/acme/notifications/a", Description: "x"}, UpdateMask: mask("description"),
	})) // those that are there can be changed
}

func TestTenantAndInstallation_HaveABoundInBytes(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]map[string]held{
		"a tenant":        {"tenants/acme": {number: 5, bytes: maxTenantBytes}},
		"an installation": {"": {number: 5, bytes: maxInstallationBytes}},
		"resources":       {"": {number: maxInstallation}},
	} {
		q := queries{index: &index{held: of}}
		add := draft{next: anEndpoint("x"), action: actionCreate}
		err := bounds(t.Context(), q, endpointKind, add)
		if fault.ReasonOf(err) != "TOO_MANY" || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		smaller := draft{next: anEndpoint("x"), stored: anEndpoint("x"), action: actionUpdate}
		smaller.next.(*configv1.Endpoint).Url = ""
		if err := bounds(t.Context(), q, endpointKind, smaller); err != nil {
			t.Errorf("%s: what makes it smaller is refused: %v", name, err)
		}
	}
}

func TestRequests_HaveBounds(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	paths := make([]string, 101)
	for i := range paths {
		paths[i] = "display_name"
	}
	_, err := r.tenants.UpdateTenant(t.Context(), &configv1.UpdateTenantRequest{Tenant: &configv1.Tenant{Name: "tenants/acme"}, UpdateMask: mask(paths...)})
	refused(t, err, fault.Invalid, "UPDATE_MASK_INVALID")
	_, err = r.tenants.ListTenants(t.Context(), &configv1.ListTenantsRequest{PageToken: strings.Repeat("a", 1000)})
	refused(t, err, fault.Invalid, "REQUEST_INVALID")
	_, err = r.tenants.GetTenant(t.Context(), &configv1.GetTenantRequest{Name: "tenants/" + strings.Repeat("a", 1<<20)})
	if fault.KindOf(err) != fault.NotFound || len(err.Error()) > 500 {
		t.Errorf("%.1000v", err)
	}
}
