package trigger

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

const orderPlaced = "acme_order.placed"

// declaring adds the type with one field of a kind, and two notifications on it: one at each event, one a day later.
func declaring(kind configv1.FieldKind) func(*configv1.Snapshot) {
	return func(s *configv1.Snapshot) {
		s.EventTypes = []*configv1.EventType{{
			Name: "tenants/acme/eventTypes/" + orderPlaced, Fields: []*configv1.EventField{{Name: "id", Kind: kind}, {Name: "note", Kind: configv1.FieldKind_FIELD_KIND_TEXT, Personal: true}},
		}}
		each := rule("each", []string{orderPlaced}, "", action("notify", "crm"))
		each.Actions[0].Parameters[0].Template = "order {{.Data.id}}"
		later := rule("later", []string{orderPlaced}, "", action("notify", "app"))
		later.Actions[0].Parameters[0].Template = "order {{.Data.id}}"
		later.Trigger.Kind = &configv1.Trigger_Delayed{Delayed: &configv1.Delayed{Days: 1}}
		s.Notifications = append(s.Notifications, each, later)
	}
}

func placed(id, data string, at time.Time) *event.Event {
	s := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(data), s); err != nil {
		panic(err)
	}
	return &event.Event{ID: id, Source: "shop", Type: orderPlaced, Tenant: "acme", Subject: "order/" + id, Time: at, Data: s}
}

func bodies(t *testing.T, p *partition) (all []string) {
	t.Helper()
	for _, d := range p.deliveries() {
		all = append(all, d.Notification+": "+string(d.Body))
	}
	return all
}

// Events of a declared type are delivered with what is declared, and nothing else leaves; its timers hold them.
func TestDeclared_EventsAreDeliveredAndTimersFire(t *testing.T) {
	p := newPartition(t, stream.EventsOrdered)
	p.configure(snapshot(1, declaring(configv1.FieldKind_FIELD_KIND_TEXT)))
	p.append(placed("1", `{"id":"A7","note":"by the gate","undeclared":"secret"}`, p.now))
	p.run()
	p.pass(25 * time.Hour)
	p.tick()
	p.run()
	got := bodies(t, p)
	if len(got) != 2 || !strings.Contains(got[0], `"data":{"id":"A7"},"parameters":{"event":"order A7"}`) || got[1] != `later: {"event":"order A7"}` {
		t.Errorf("%v", got)
	}
	for _, body := range got {
		if strings.Contains(body, "secret") || strings.Contains(body, "gate") {
			t.Errorf("%s", body)
		}
	}
	if decisions := p.decisions(); len(decisions) != 0 {
		t.Errorf("%v", decisions)
	}
}

// A declaration changes, or goes, between an event's acceptance and its turn, and between a timer's setting and its
// firing: it matches nothing, a Decision has the reason, and the partition goes on.
func TestDeclared_EventsOfAnotherDeclarationStopNothing(t *testing.T) {
	p := newPartition(t, stream.EventsOrdered)
	p.configure(snapshot(1, declaring(configv1.FieldKind_FIELD_KIND_TEXT)))
	p.append(placed("1", `{"id":"A7"}`, p.now))
	p.configure(snapshot(2, declaring(configv1.FieldKind_FIELD_KIND_INTEGER)))
	p.append(placed("2", `{"id":"B8"}`, p.now), placed("3", `{"id":9}`, p.now))
	p.run()
	var failed []string
	for _, d := range p.decisions() {
		if d.GetReason() != triggerv1.Decision_REASON_FILTER_ERROR || !strings.Contains(d.GetDetail(), "data.id") {
			t.Errorf("%v", d)
		}
		failed = append(failed, d.GetNotification()+" "+d.GetEvent().GetId())
	}
	if got := strings.Join(failed, ", "); got != "each 2, later 2" {
		t.Errorf("failed %s", got)
	}
	// The timer of the first event fires by a declaration that its data does not fit.
	p.out = nil
	p.pass(25 * time.Hour)
	p.tick()
	p.run()
	if got := bodies(t, p); len(got) != 1 || got[0] != `later: {"event":"order 9"}` {
		t.Errorf("%v", got)
	}
	if d := p.decisions(); len(d) != 1 || d[0].GetReason() != triggerv1.Decision_REASON_RENDER_ERROR || d[0].GetEvent().GetId() != "1" {
		t.Errorf("%v", d)
	}
	// The type is gone, with events of it still in the log.
	p.configure(snapshot(3, nil))
	p.append(placed("4", `{"id":1}`, p.now), usage("u", "491701234567", 5, p.now))
	p.out = nil
	p.run()
	if got := bodies(t, p); len(got) != 1 || !strings.HasPrefix(got[0], "spent: ") {
		t.Errorf("%v", got)
	}
}

// A book compiles again what a change of types concerns, and nothing else.
func TestBook_ReusesRulesWhoseTypesDidNotChange(t *testing.T) {
	first := book(snapshot(1, declaring(configv1.FieldKind_FIELD_KIND_TEXT)), nil)
	same := book(snapshot(2, declaring(configv1.FieldKind_FIELD_KIND_TEXT)), first)
	other := book(snapshot(3, declaring(configv1.FieldKind_FIELD_KIND_INTEGER)), same)
	find := func(b *Book, code string) any {
		c, ok := b.find("tenants/acme/notifications/" + code)
		if !ok || c.err != nil {
			t.Fatalf("%s: %v", code, c.err)
		}
		return c.rule
	}
	if find(first, "each") != find(same, "each") || find(first, "spent") != find(other, "spent") {
		t.Error("a rule was compiled again")
	}
	if find(same, "each") == find(other, "each") {
		t.Error("a rule on a type that changed was not compiled again")
	}
}
