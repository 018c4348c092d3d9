package config

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const placed = "tenants/acme/eventTypes/acme_order.placed"

func anEventType() *configv1.EventType {
	return &configv1.EventType{
		Name: placed, Description: "An order was placed.", Operation: configv1.EventOperation_EVENT_OPERATION_CREATE,
		Fields: []*configv1.EventField{
			{Name: "id", Kind: configv1.FieldKind_FIELD_KIND_TEXT, Required: true, Description: "Its number."},
			{Name: "total", Kind: configv1.FieldKind_FIELD_KIND_MONEY, Required: true},
			{Name: "customer", Kind: configv1.FieldKind_FIELD_KIND_OBJECT, Personal: true, Fields: []*configv1.EventField{
				{Name: "email", Kind: configv1.FieldKind_FIELD_KIND_TEXT, Contact: true},
			}},
		},
	}
}

func (r *running) eventType(edit func(*configv1.EventType)) (*configv1.EventType, error) {
	t := anEventType()
	if edit != nil {
		edit(t)
	}
	return r.types.CreateEventType(r.t.Context(), &configv1.CreateEventTypeRequest{EventType: t})
}

// onOrders is a notification on the declared type, with a filter and a text.
func onOrders(code, filter, text string) *configv1.Notification {
	n := aNotification(code, "params")
	n.Trigger = &configv1.Trigger{EventTypes: []string{"acme_order.placed"}, Filter: filter}
	n.Actions[0].Parameters = []*configv1.Parameter{{Name: "p", Template: text}}
	return n
}

func (r *running) paramsEndpoint() {
	r.t.Helper()
	e := anEndpoint("params")
	e.Profile = configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS
	must[*configv1.Endpoint](r.t)(r.ends.CreateEndpoint(r.t.Context(), &configv1.CreateEndpointRequest{Endpoint: e}))
}

func TestEventTypes_BuiltInOnesAreReadAndNeverChanged(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	var names []string
	for page := ""; ; {
		answer := must[*configv1.ListEventTypesResponse](t)(r.types.ListEventTypes(ctx, &configv1.ListEventTypesRequest{PageSize: 7, PageToken: page}))
		for _, one := range answer.GetEventTypes() {
			names = append(names, one.GetName())
		}
		if page = answer.GetNextPageToken(); page == "" {
			break
		}
	}
	if len(names) != len(event.Types()) || names[0] != "eventTypes/account.cancelled" {
		t.Errorf("%d types: %v", len(names), names)
	}
	usage := must[*configv1.EventType](t)(r.types.GetEventType(ctx, &configv1.GetEventTypeRequest{Name: "eventTypes/usage.charged"}))
	if usage.GetEntity() != "usage" || len(usage.GetTokens()) == 0 || !strings.Contains(usage.GetExample(), `"usage.charged"`) {
		t.Errorf("%v", usage)
	}
	_, err := r.types.GetEventType(ctx, &configv1.GetEventTypeRequest{Name: "eventTypes/no.such"})
	refused(t, err, fault.NotFound, "EVENT_TYPE_NOT_FOUND")
	_, err = r.types.UpdateEventType(ctx, &configv1.UpdateEventTypeRequest{EventType: usage})
	refused(t, err, fault.Invalid, "NAME_INVALID")
	_, err = r.types.DeleteEventType(ctx, &configv1.DeleteEventTypeRequest{Name: "eventTypes/usage.charged"})
	refused(t, err, fault.Invalid, "NAME_INVALID")
}

func TestEventTypes_ATenantDeclaresItsOwn(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	made := must[*configv1.EventType](t)(r.eventType(func(e *configv1.EventType) { e.Entity, e.Example, e.Reserved = "usage", "mine", true }))
	if made.GetEntity() != "acme_order" || made.GetReserved() || !strings.Contains(made.GetExample(), `"acme_order.placed"`) || made.GetDataMessage() != "google.protobuf.Struct" {
		t.Errorf("%v", made)
	}
	tokens := map[string]*configv1.EventToken{}
	for _, token := range made.GetTokens() {
		tokens[token.GetPath()] = token
	}
	if id := tokens[".Data.id"]; id.GetDescription() != "Its number." || id.GetPersonal() || tokens[".Data.total"].GetKind() != "money" || !tokens[".Data.customer.email"].GetContact() {
		t.Errorf("%v", tokens)
	}
	if listed := must[*configv1.ListEventTypesResponse](t)(r.types.ListEventTypes(ctx, &configv1.ListEventTypesRequest{Parent: "tenants/acme"})); len(listed.GetEventTypes()) != 1 ||
		!proto.Equal(listed.GetEventTypes()[0], made) {
		t.Errorf("%v", listed)
	}
	// What was shown and sent back is no change.
	same := must[*configv1.EventType](t)(r.types.UpdateEventType(ctx, &configv1.UpdateEventTypeRequest{EventType: made}))
	if same.GetMetadata().GetRevision() != made.GetMetadata().GetRevision() {
		t.Errorf("revision %d after %d", same.GetMetadata().GetRevision(), made.GetMetadata().GetRevision())
	}
	snapshot := r.snapshot(0)
	if found := snapshot.GetEventTypes(); len(found) != 1 || found[0].GetName() != placed || found[0].GetExample() != "" || snapshot.GetApplyRevision() != made.GetMetadata().GetRevision() {
		t.Errorf("%v", snapshot)
	}
	_, err := r.types.UpdateEventType(ctx, &configv1.UpdateEventTypeRequest{
		EventType: &configv1.EventType{Name: placed, Queue: configv1.EventQueue_EVENT_QUEUE_UNORDERED, Subscriber: true}, UpdateMask: mask("queue", "subscriber"),
	})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if got := fault.ViolationsOf(err); len(got) != 2 || got[0].Field != "event_type.queue" || got[1].Field != "event_type.subscriber" {
		t.Errorf("%v", err)
	}
	_, err = r.tenants.DeleteTenant(ctx, &configv1.DeleteTenantRequest{Name: "tenants/acme"})
	refused(t, err, fault.Conflict, "TENANT_IN_USE")
}

func TestEventTypes_EveryFaultOfADeclaration(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	many := func(e *configv1.EventType) {
		for i := range 10_000 {
			e.Fields = append(e.Fields, &configv1.EventField{Name: fmt.Sprintf("f%d", i), Kind: configv1.FieldKind_FIELD_KIND_TEXT})
		}
	}
	for name, tc := range map[string]struct {
		edit func(*configv1.EventType)
		want []string
	}{
		"two faults at once": {func(e *configv1.EventType) { e.Fields[0].Kind, e.Fields[1].Repeated = 0, true },
			[]string{"event_type.fields[0].kind: is required", "event_type.fields[1].repeated"}},
		"ten thousand fields":    {many, []string{"event_type.fields: must be at most 300 elements"}},
		"an entity of Tollgate":  {func(e *configv1.EventType) { e.Name = "tenants/acme/eventTypes/usage.strange" }, []string{`event_type.name: "usage" is an entity`}},
		"a name of another form": {func(e *configv1.EventType) { e.Name = "tenants/acme/eventTypes/orders" }, []string{"event_type.name: must be two to six words"}},
	} {
		_, err := r.eventType(tc.edit)
		refused(t, err, fault.Invalid, "CONFIG_INVALID")
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not listed: %v", name, want, err)
			}
		}
	}
	if _, err := r.types.GetEventType(t.Context(), &configv1.GetEventTypeRequest{Name: placed}); fault.KindOf(err) != fault.NotFound {
		t.Errorf("something was stored: %v", err)
	}
}

// Notifications are checked against the types of their tenant, and types against the notifications that are on them.
func TestEventTypes_AndNotificationsAgree(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.paramsEndpoint()
	create := func(n *configv1.Notification) error {
		_, err := r.notes.CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: n})
		return err
	}
	if err := create(onOrders("early", "", "x")); err == nil || !strings.Contains(err.Error(), `event type "acme_order.placed" is unknown`) {
		t.Errorf("before the type is declared: %v", err)
	}
	must[*configv1.EventType](t)(r.eventType(nil))
	for name, tc := range map[string]struct{ filter, text, want string }{
		"a field that is not declared":        {`data.colour == "red"`, "x", "undefined field 'colour'"},
		"a field of another kind":             {`data.id > 7`, "x", "no matching overload"},
		"a token that is not declared":        {"", "{{.Data.colour}}", ".Data.colour"},
		"a contact token in a webhook":        {"", "{{.Data.customer.email}}", "CONTACT_TOKEN"},
		"a field of an object not declared":   {`data.customer.phone == ""`, "x", "undefined field 'phone'"},
		"tokens of built-in types are no use": {"", "{{.Account.Id}}", ".Account does not exist"},
	} {
		if err := create(onOrders("wrong", tc.filter, tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := create(onOrders("large", `data.total.units > 100 && data.id.startsWith("A") && has(data.customer)`, "{{.Data.id}}: {{.Data.total}}")); err != nil {
		t.Fatal(err)
	}
	wild := onOrders("wild", "", "{{.Core.EventName}}")
	wild.Trigger.EventTypes = []string{"acme_order.*"}
	if err := create(wild); err != nil {
		t.Fatal(err)
	}

	update := func(edit func(*configv1.EventType)) error {
		changed := anEventType()
		edit(changed)
		_, err := r.types.UpdateEventType(ctx, &configv1.UpdateEventTypeRequest{EventType: changed})
		return err
	}
	err := update(func(e *configv1.EventType) { e.Fields = e.Fields[1:] })
	refused(t, err, fault.Invalid, "NOTIFICATION_BROKEN")
	if err == nil || !strings.Contains(err.Error(), "tenants/acme/notifications/large") || strings.Contains(err.Error(), "notifications/wild") {
		t.Errorf("%v", err)
	}
	if err := update(func(e *configv1.EventType) {
		e.Fields = append(e.Fields, &configv1.EventField{Name: "colour", Kind: configv1.FieldKind_FIELD_KIND_TEXT})
	}); err != nil {
		t.Errorf("a field more: %v", err)
	}
	if err := create(onOrders("red", `data.colour == "red"`, "x")); err != nil {
		t.Errorf("the new field: %v", err)
	}

	remove := func(name string) error {
		_, err := r.types.DeleteEventType(ctx, &configv1.DeleteEventTypeRequest{Name: name})
		return err
	}
	err = remove(placed)
	refused(t, err, fault.Conflict, "EVENT_TYPE_IN_USE")
	for _, want := range []string{"notifications/large", "notifications/red", "notifications/wild"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not listed: %v", want, err)
		}
	}
	// Another type of the entity keeps the wildcard alive.
	other := anEventType()
	other.Name = "tenants/acme/eventTypes/acme_order.cancelled"
	must[*configv1.EventType](t)(r.types.CreateEventType(ctx, &configv1.CreateEventTypeRequest{EventType: other}))
	for _, code := range []string{"large", "red"} {
		if _, err := r.notes.DeleteNotification(ctx, &configv1.DeleteNotificationRequest{Name: "tenants/acme/notifications/" + code}); err != nil {
			t.Fatal(err)
		}
	}
	if err := remove(placed); err != nil {
		t.Errorf("with another type of its entity: %v", err)
	}
	refused(t, remove(other.GetName()), fault.Conflict, "EVENT_TYPE_IN_USE")
}

// A type changes while a notification on it is checked: the notification is checked again, by what stands then.
func TestNotification_IsCheckedAgainWhereItsTypeChanged(t *testing.T) {
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.paramsEndpoint()
	must[*configv1.EventType](t)(r.eventType(nil))
	checks := 0
	changed(t, &notificationKind.fits, func(f *fault.Violations, d draft) error {
		if checks++; checks == 1 {
			without := anEventType()
			without.Fields = without.GetFields()[1:]
			must[*configv1.EventType](t)(r.types.UpdateEventType(ctx, &configv1.UpdateEventTypeRequest{EventType: without}))
		}
		return notificationFits(f, d)
	})
	changed(t, &checking, make(chan struct{}, 2)) // one check is within the other here
	_, err := r.notes.CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: onOrders("late", `data.id == "7"`, "x")})
	if err == nil || !strings.Contains(err.Error(), "undefined field 'id'") || checks != 2 {
		t.Errorf("%v after %d checks", err, checks)
	}
}

func TestSnapshot_OfSomeListsAndOfWhatIsKnown(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	r.endpoint("crm")
	made := must[*configv1.EventType](t)(r.eventType(nil))
	read := func(req *configv1.SnapshotRequest) (*configv1.SnapshotResponse, error) {
		parts, err := r.watching.Snapshot(ctx, req)
		if err != nil {
			return nil, err
		}
		return parts.Recv()
	}
	some := must[*configv1.SnapshotResponse](t)(read(&configv1.SnapshotRequest{Lists: []string{"tenants", "event_types"}}))
	s := some.GetSnapshot()
	if len(s.GetTenants()) != 1 || len(s.GetEventTypes()) != 1 || len(s.GetEndpoints()) != 0 || s.GetRevision() != made.GetMetadata().GetRevision() {
		t.Errorf("%v", s)
	}
	known := &configv1.Position{History: s.GetHistory(), Revision: s.GetRevision()}
	if same := must[*configv1.SnapshotResponse](t)(read(&configv1.SnapshotRequest{Since: known})); same.GetSince().GetRevision() != known.GetRevision() || len(same.GetSnapshot().GetTenants()) != 0 {
		t.Errorf("%v", same)
	}
	r.endpoint("other")
	if next := must[*configv1.SnapshotResponse](t)(read(&configv1.SnapshotRequest{Since: known})); len(next.GetSnapshot().GetEndpoints()) != 1 || len(next.GetSnapshot().GetTenants()) != 0 {
		t.Errorf("%v", next)
	}
	_, err := read(&configv1.SnapshotRequest{Lists: []string{"secrets"}})
	refused(t, err, fault.Invalid, "REQUEST_INVALID")
}
