package queue

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// key is a key of the tenant sample that may read what its grants name.
func key(secret string, contact, personal bool, grants ...*configv1.QueueGrant) access.Key {
	return access.Key{
		Name: "tenants/sample/apiKeys/" + secret, Tenant: "sample", Hash: access.HashOf(secret),
		Rights: access.Rights{Scopes: access.ScopesOf(access.Subscribe), Grants: access.GrantsOf(grants), Contact: contact, Personal: personal},
	}
}

func grant(entity string, operations ...configv1.QueueOperation) *configv1.QueueGrant {
	return &configv1.QueueGrant{Entity: entity, Operations: operations}
}

func TestGrants_DecideWhatIsSent(t *testing.T) {
	f := onEmbedded(t)
	r := f.replica(nil)
	clients := grant("client", configv1.QueueOperation_QUEUE_OPERATION_UPDATE)
	unscoped := key("unscoped", true, true, clients)
	unscoped.Rights.Scopes = access.ScopesOf(access.Publish)
	r.server.Authorizer().Replace([]access.Key{
		key("bare", false, false, clients), key("contact", true, false, clients), key("all", true, true, clients, grant("subscriber", configv1.QueueOperation_QUEUE_OPERATION_CREATE)),
		key("personal", false, true, clients), key("none", true, true), unscoped,
	})
	created := clientUpdated("created", "1")
	created.Type = "client.created"
	other := clientUpdated("other", "1")
	other.Tenant = "other"
	custom := clientUpdated("custom", "1")
	custom.Type, custom.Data = "client.custom_fields_updated", &eventv1.ClientCustomFieldsUpdated{Id: "1"}
	control := &event.Event{ID: "r", Source: "tollgate", Type: event.TypeRevision, Tenant: "sample", Subject: "client/1", Time: time.Now().UTC().Truncate(time.Millisecond), Data: &controlv1.Revision{Revision: 1}}
	f.publish(created, other, control, clientUpdated("updated", "1"), custom)

	for secret, want := range map[string]struct{ contact, name bool }{"bare": {}, "contact": {contact: true, name: true}, "all": {contact: true, name: true}, "personal": {}} {
		c := r.as(secret).subscribe(&ingestv1.Subscription{Tenant: "sample", Types: []string{"client.*"}, Start: earliest()})
		got := c.next(2)
		if ids := show(got); ids != "updated custom" {
			t.Fatalf("%s gets %q: events of another tenant or operation, or control records, came", secret, ids)
		}
		data, err := got[0].GetEvent().GetData().UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		contact := data.(*eventv1.ClientChanged).GetContact()
		if (contact.GetEmail() != "") != want.contact || (contact.GetName() != "") != want.name {
			t.Errorf("%s sees the contact %v", secret, contact)
		}
		if data.(*eventv1.ClientChanged).GetClient().GetDisplayName() == "" && secret != "bare" && secret != "contact" {
			t.Errorf("%s does not see the display name: %v", secret, data)
		}
	}
	for name, tc := range map[string]struct {
		secret, tenant string
		types          []string
		words          string
	}{
		"a type without its grant": {"bare", "sample", []string{"client.created", "client.updated", "usage.charged"}, "client.created, usage.charged"},
		"a wildcard without any":   {"none", "sample", []string{"client.*"}, "client.*"},
		"another tenant":           {"all", "other", []string{"client.*"}, `"other"`},
		"a key without the scope":  {"unscoped", "sample", []string{"client.*"}, "SUBSCRIBE"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.as(tc.secret).try(&ingestv1.Subscription{Tenant: tc.tenant, Types: tc.types, Start: earliest()})
			if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A filter that saw what is left out would give it away.
func TestFilter_SeesWhatIsSent(t *testing.T) {
	f := onEmbedded(t)
	r := f.replica(nil)
	clients := grant("client", configv1.QueueOperation_QUEUE_OPERATION_UPDATE)
	r.server.Authorizer().Replace([]access.Key{key("bare", false, false, clients), key("contact", true, false, clients)})
	f.publish(clientUpdated("a", "1"), clientUpdated("b", "2"))
	filter := `data.contact.email.startsWith("ada") || subject == "client/2"`
	for secret, want := range map[string]string{"contact": "a", "bare": "b"} {
		c := r.as(secret).subscribe(&ingestv1.Subscription{Tenant: "sample", Types: []string{"client.updated"}, Filter: filter, Start: earliest()})
		seen := map[string]bool{}
		for _, e := range c.next(map[string]int{"contact": 2, "bare": 1}[secret]) {
			seen[e.GetEvent().GetId()] = true
		}
		if !seen[want] || secret == "bare" && seen["a"] {
			t.Errorf("%s gets %v", secret, seen)
		}
	}
}

func TestFilter_FailureIsCountedAndNotSent(t *testing.T) {
	f := onEmbedded(t)
	r := f.replica(nil)
	c := r.subscribe(&ingestv1.Subscription{
		Tenant: "sample", Types: []string{"client.updated"}, Start: latest(),
		Filter: `subject.matches("^client/[0-9]+$") && 10 / (size(id) - 1) > 0`,
	})
	f.publish(clientUpdated("x", "1"), clientUpdated("okay", "1"))
	res, err := c.stream.Recv()
	if err != nil || show(res.GetEvents()) != "okay" || res.GetFilterErrors() != 1 {
		t.Errorf("%v, %v", res, err)
	}
}

func TestSubscribe_EndsWithItsKey(t *testing.T) {
	f := onEmbedded(t)
	r := f.replica(nil)
	mine := key("mine", true, true, grant("client", configv1.QueueOperation_QUEUE_OPERATION_UPDATE))
	r.server.Authorizer().Replace([]access.Key{mine})
	want := fc76()
	want.Types = []string{"client.updated"}
	// It reads nothing, so that a response waits for it while the key is withdrawn.
	large := clientUpdated("large", "1")
	large.Data.(*eventv1.ClientChanged).Client.DisplayName = strings.Repeat("x", 800<<10)
	f.publish(large, large, large)
	want.Ordered = false
	c := r.as("mine").subscribe(want)
	f.until("something is on its way", func() bool { _, unacked, _ := r.queue.count(); return unacked > 0 })
	r.server.Authorizer().Replace(nil)
	f.until("the stream has ended", func() bool { n, _, _ := r.queue.count(); return n == 0 })
	if err := c.ends(); status.Code(err) != codes.Unauthenticated || fault.ReasonOf(err) != "API_KEY_ENDED" {
		t.Errorf("it ends with %v", err)
	}
}

func TestTypes_AreReadFromTheirTopics(t *testing.T) {
	for pattern, want := range map[string]string{
		"client.*": stream.EventsOrdered, "billrun.failed": stream.EventsUnordered, "safeguard.*": stream.Safeguards,
		"billrun.*": stream.EventsOrdered + " " + stream.EventsUnordered, "*": strings.Join(topicNames[:], " "),
	} {
		var f fault.Violations
		s, err := newSelection(t.Context(), "sample", []string{pattern}, "", &catalog{}, &access.Caller{Operator: true}, &f)
		if err != nil || f.Len() > 0 {
			t.Fatalf("%s: %v, %v", pattern, err, f.Err("X"))
		}
		var got []string
		for _, number := range s.topics() {
			got = append(got, topicNames[number])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s is read from %v", pattern, got)
		}
	}
}

// A type that a tenant declares, with a field of each audience.
func orders(t *testing.T) *event.Type {
	t.Helper()
	var f fault.Violations
	declared := event.Declare("acme_order.placed", &configv1.EventType{Fields: []*configv1.EventField{
		{Name: "number", Kind: configv1.FieldKind_FIELD_KIND_TEXT}, {Name: "buyer", Kind: configv1.FieldKind_FIELD_KIND_TEXT, Personal: true},
		{Name: "mail", Kind: configv1.FieldKind_FIELD_KIND_TEXT, Contact: true},
	}}, &f)
	if declared == nil {
		t.Fatal(f.Err("X"))
	}
	return declared
}

func order(t *testing.T, id string) *event.Event {
	t.Helper()
	data, err := structpb.NewStruct(map[string]any{"number": id, "buyer": "Ada", "mail": "ada@example.com", "more": "not declared"})
	if err != nil {
		t.Fatal(err)
	}
	e := clientUpdated(id, "1")
	e.Type, e.Data = "acme_order.placed", data
	return e
}

func TestDeclaredTypes_AreSentByTheirGrants(t *testing.T) {
	f := onEmbedded(t)
	f.catalog.types["acme_order.placed"] = orders(t)
	r := f.replica(nil)
	placed := grant("acme_order", configv1.QueueOperation_QUEUE_OPERATION_OTHER)
	r.server.Authorizer().Replace([]access.Key{key("bare", false, false, placed), key("personal", false, true, placed), key("all", true, true, placed)})
	f.publish(order(t, "a"), order(t, "b"))
	for secret, want := range map[string]string{"bare": "number", "personal": "buyer number", "all": "buyer mail more number"} {
		c := r.as(secret).subscribe(&ingestv1.Subscription{Tenant: "sample", Types: []string{"acme_order.*"}, Filter: `data.number == "b"`, Start: earliest()})
		e := c.next(1)[0]
		data, err := e.GetEvent().GetData().UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(data.(*structpb.Struct).GetFields())), " "); got != want || show([]*ingestv1.QueuedEvent{e}) != "b" {
			t.Errorf("%s gets %s with %s", secret, e.GetEvent().GetId(), got)
		}
	}
}

// An event of a type that this replica does not know was accepted by another one: it is sent, not passed over.
func TestDeclaredTypes_UnknownOnesAreWaitedFor(t *testing.T) {
	f := onEmbedded(t)
	r := f.replica(nil)
	c := r.subscribe(&ingestv1.Subscription{Tenant: "sample", Name: "waits", Types: []string{"*"}, Start: earliest()})
	f.catalog.mu.Lock()
	f.catalog.away, f.catalog.hidden["acme_order.placed"] = true, orders(t)
	f.catalog.mu.Unlock()
	f.publish(clientUpdated("before", "1"), order(t, "new"))
	if ids := c.ids(1); ids != "before" {
		t.Errorf("%q comes", ids)
	}
	if _, err := r.try(&ingestv1.Subscription{Tenant: "sample", Types: []string{"acme_order.placed"}, Start: earliest()}); fault.ReasonOf(err) != "TYPE_UNVERIFIED" {
		t.Errorf("a name that can't be looked for: %v", err)
	}
	f.catalog.mu.Lock()
	f.catalog.away = false
	f.catalog.mu.Unlock()
	if ids := c.ids(1); ids != "new" {
		t.Errorf("%q comes", ids)
	}
	// One that nobody declares any more is passed over once that is known.
	gone := order(t, "gone")
	gone.Type = "acme_order.gone"
	f.publish(gone, clientUpdated("after", "1"))
	if ids := c.ids(1); ids != "after" {
		t.Errorf("%q comes", ids)
	}
}
