package provision

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// orders are the types that acme declares.
func orders() []*configv1.EventType {
	most := 100.0
	fields := []*configv1.EventField{
		{Name: "item", Kind: configv1.FieldKind_FIELD_KIND_TEXT, Required: true, MaxLength: 10},
		{Name: "pieces", Kind: configv1.FieldKind_FIELD_KIND_INTEGER, Maximum: &most},
		{Name: "buyer", Kind: configv1.FieldKind_FIELD_KIND_OBJECT, Fields: []*configv1.EventField{
			{Name: "email", Kind: configv1.FieldKind_FIELD_KIND_TEXT, Contact: true}, {Name: "vip", Kind: configv1.FieldKind_FIELD_KIND_BOOLEAN},
		}},
	}
	return []*configv1.EventType{
		{Name: "tenants/acme/eventTypes/acme_order.placed", Operation: configv1.EventOperation_EVENT_OPERATION_CREATE, Fields: fields},
		{Name: "tenants/acme/eventTypes/acme_order.seen", Operation: configv1.EventOperation_EVENT_OPERATION_OTHER, Fields: fields},
	}
}

func order(t testing.TB, key string, data map[string]any) *provisionv1.DecideRequest {
	t.Helper()
	s, err := structpb.NewStruct(data)
	if err != nil {
		t.Fatal(err)
	}
	body, err := anypb.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return &provisionv1.DecideRequest{Tenant: "acme", Type: "acme_order.placed", ObjectId: "9", Data: body, IdempotencyKey: key}
}

func TestDecide_DeclaredTypesAreAskedAboutAndCheckedAsTheyAreDeclared(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.types = orders()
		answer := `{"data":{"pieces":"7","buyer":{"vip":true}}}`
		h, hook := f.http("stock", func(w http.ResponseWriter, _ []byte) { _, _ = w.Write([]byte(answer)) })
		hook.EventTypes, hook.MayChange = []string{"acme_order.placed"}, []string{"pieces", "buyer"}
		f.save()
		r := f.start()
		of := func() map[string]any {
			return map[string]any{"item": "card", "pieces": 3, "buyer": map[string]any{"email": "b@example.com"}}
		}
		res := f.decided(r, order(t, "k1", of()))
		var got structpb.Struct
		if err := res.GetData().UnmarshalTo(&got); err != nil {
			t.Fatal(err)
		}
		if res.GetDecision() != provisionv1.Decision_DECISION_ALLOW || got.GetFields()["pieces"].GetNumberValue() != 7 ||
			!got.GetFields()["buyer"].GetStructValue().GetFields()["vip"].GetBoolValue() || got.GetFields()["item"].GetStringValue() != "card" {
			t.Errorf("got %v", res)
		}
		var q struct {
			Event map[string]any
			Data  map[string]any
		}
		if err := json.Unmarshal(h.bodies[0], &q); err != nil || q.Event["events_id"] != "acme_order.placed" || q.Data["item"] != "card" {
			t.Errorf("it is asked %s, %v", h.bodies[0], err)
		}
		e := f.events(1)[0]
		if e.Type != "acme_order.placed" || e.Subject != "acme_order/9" || e.Data.(*structpb.Struct).GetFields()["pieces"].GetNumberValue() != 7 {
			t.Errorf("published is %+v", e)
		}
		if x := f.executions(1)[0]; strings.Contains(string(x.GetSent()), "b@example.com") || !strings.Contains(string(x.GetSent()), `"card"`) {
			t.Errorf("logged is %s", x.GetSent())
		}
		for key, body := range map[string]string{
			"too many": `{"data":{"pieces":101}}`, "another kind": `{"data":{"pieces":"many"}}`, "none of its fields": `{"data":{"price":1}}`,
			"may not change": `{"data":{"item":"sim"}}`, "required": `{"data":{"item":null}}`,
		} {
			answer = body
			if res := f.decided(r, order(t, key, of())); res.GetDecidedBy() != provisionv1.DecidedBy_DECIDED_BY_FAILURE_POLICY || res.GetHandlers()[0].GetOutcome() != provisionv1.Outcome_OUTCOME_FAULT {
				t.Errorf("%s: got %v", key, res)
			}
		}
		answer = `{}`
		test, err := f.test(r, &provisionv1.TestRunRequest{Name: hook.GetName()})
		if err != nil || test.GetType() != "acme_order.placed" || !strings.Contains(string(test.GetSent()), `"item"`) {
			t.Errorf("a test run: %v, %v", test, err)
		}
		// What the caller sends is checked too.
		_, err = f.decide(r, order(t, "bad", map[string]any{"pieces": 1000, "item": "card", "buyer": 3}))
		wantFault(t, err, fault.Invalid, reason.RequestInvalid)
		if n := len(fault.ViolationsOf(fault.FromGRPC(err))); n != 2 {
			t.Errorf("%d violations: %v", n, err)
		}
		seen := order(t, "seen", of())
		seen.Type = "acme_order.seen"
		_, err = f.decide(r, seen)
		wantFault(t, err, fault.Invalid, reason.RequestInvalid)
		unknown := order(t, "unknown", of())
		unknown.Type = "acme_order.lost"
		_, err = f.decide(r, unknown)
		wantFault(t, err, fault.Invalid, reason.RequestInvalid)
	})
}

func TestAfter_DeclaredTypesAreAskedAboutAsTheyAreDeclaredNow(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.types = orders()
		h, hook := f.http("seen", echo)
		hook.EventTypes = []string{"acme_order.seen"}
		f.save()
		f.start()
		f.listening()
		now := time.Now().UTC().Truncate(time.Millisecond)
		e := &event.Event{ID: "o1", Source: "shop", Type: "acme_order.seen", Tenant: "acme", Subject: "acme_order/9", Time: now, ReceivedAt: now}
		good, err := structpb.NewStruct(map[string]any{"item": "card", "pieces": 3, "colour": "red"})
		if err != nil {
			t.Fatal(err)
		}
		e.Data = good
		other := *e
		other.ID = "o2"
		if other.Data, err = structpb.NewStruct(map[string]any{"item": 5}); err != nil {
			t.Fatal(err)
		}
		f.publish(e, &other)
		for _, x := range f.executions(2) {
			want := provisionv1.Outcome_OUTCOME_ALLOWED
			if x.GetEventId() == "o2" {
				want = provisionv1.Outcome_OUTCOME_FAULT
			}
			if x.GetResult().GetOutcome() != want || x.GetStage() != provisionv1.Execution_STAGE_AFTER {
				t.Errorf("logged is %v", x)
			}
		}
		if n := h.asked(); n != 1 || strings.Contains(string(h.bodies[0]), "red") {
			t.Errorf("asked %d times: %s", n, h.bodies)
		}
	})
}
