package trigger

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// places is a line per delivery: event, notification/action, endpoint, sequence.
func places(ds []*delivery.Delivery) []string {
	var lines []string
	for _, d := range ds {
		endpoint := d.Endpoint[strings.LastIndexByte(d.Endpoint, '/')+1:]
		lines = append(lines, fmt.Sprintf("%s %s/%s %s %d", d.Event.ID, d.Notification, d.Action, endpoint, d.Sequence))
	}
	return lines
}

func TestPlan_OneDeliveryPerMatch(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.append(usage("before-any-revision", "44", 5, epoch))
	p.configure(snapshot(7, nil))
	p.pass(1500 * time.Millisecond)
	p.append(usage("u-1", "44", 5, epoch), usage("u-2", "44", 0, epoch), usage("u-3", "44", 5, epoch.Add(time.Second)))
	p.run()
	ds := p.deliveries()
	if diff := cmp.Diff([]string{"u-1 spent/notify crm 1", "u-3 spent/notify crm 2"}, places(ds)); diff != "" {
		t.Fatal(diff)
	}
	const endpoint = "tenants/acme/endpoints/crm"
	want := &delivery.Delivery{
		ID:     delivery.NewID(epoch.Add(time.Second), "acme", "rating", "44", "u-3", "spent", "notify", "", endpoint),
		Tenant: "acme", Notification: "spent", NotificationVersion: 1, Action: "notify", Endpoint: endpoint,
		Event: delivery.EventReference{
			Source: "rating", ID: "u-3", Type: "usage.charged", Subject: "44", Time: epoch.Add(time.Second),
			Topic: "events.ordered", Partition: 0, Offset: 4,
		},
		Ordered: true, Sequence: 2, Previous: ds[0].ID,
		ContentType: "application/cloudevents+json", Body: ds[1].Body, PlannedAt: p.now, Revision: 7,
		Topic: webhook.Channel.Topic, Partition: stream.AnyPartition,
	}
	if diff := cmp.Diff(want, ds[1]); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{`"id":"u-3"`, `"sequence":"0000000000000000002","previous":"` + ds[0].ID + `","notification":"spent","data":{`} {
		if !bytes.Contains(ds[1].Body, []byte(part)) {
			t.Errorf("body lacks %s: %s", part, ds[1].Body)
		}
	}
	r := p.out[1]
	if string(r.Key) != endpoint || !r.Time.Equal(p.now) {
		t.Errorf("record of key %s at %s", r.Key, r.Time)
	}
	if p.decisions() != nil {
		t.Errorf("decisions %v", p.decisions())
	}
}

func TestPlan_TextsHaveTheTimeOfTheLogAndTheTenant(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, func(s *configv1.Snapshot) { s.Notifications[0].Actions[0] = action("notify", "app") }))
	p.pass(90 * time.Minute)
	p.append(usage("u-1", "44", 5, epoch))
	p.run()
	if got, want := string(p.deliveries()[0].Body), `{"event":"u-1 of Acme Mobile at 2026-03-01T01:30:00Z"}`; got != want {
		t.Errorf("body %s, want %s", got, want)
	}
}

func TestPlan_OrdersByNotificationThenAction(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, func(s *configv1.Snapshot) {
		any := []string{"usage.*"}
		s.Notifications = []*configv1.Notification{
			rule("b", any, "", action("z", "crm"), action("a", "app"), action("c", "crm")),
			rule("a", any, "", action("x", "crm")),
		}
	}))
	p.append(usage("u-1", "44", 5, epoch), usage("u-2", "45", 5, epoch), usage("u-3", "44", 5, epoch))
	p.run()
	want := []string{
		"u-1 a/x crm 1", "u-1 b/a app 1", "u-1 b/c crm 2", "u-1 b/z crm 3",
		"u-2 a/x crm 1", "u-2 b/a app 1", "u-2 b/c crm 2", "u-2 b/z crm 3",
		"u-3 a/x crm 4", "u-3 b/a app 2", "u-3 b/c crm 5", "u-3 b/z crm 6",
	}
	if diff := cmp.Diff(want, places(p.deliveries())); diff != "" {
		t.Error(diff)
	}
}

func TestPlan_DuplicateEventPlansNothing(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, nil))
	p.append(usage("u-1", "44", 5, epoch))
	p.pass(time.Hour)
	p.append(usage("u-1", "44", 5, epoch), usage("u-2", "44", 5, epoch))
	p.run()
	if diff := cmp.Diff([]string{"u-1 spent/notify crm 1", "u-2 spent/notify crm 2"}, places(p.deliveries())); diff != "" {
		t.Error(diff)
	}
}

// Without an order there is no record, and a repeat is planned again: under the same id, which the dispatcher knows.
func TestPlan_RepeatWithoutOrderKeepsItsID(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, func(s *configv1.Snapshot) { s.Notifications[0].Actions[0].Ordered = proto.Bool(false) }))
	p.append(usage("u-1", "44", 5, epoch))
	p.pass(time.Hour)
	p.append(usage("u-1", "44", 5, epoch))
	p.run()
	ds := p.deliveries()
	if len(ds) != 2 || ds[0].ID != ds[1].ID || ds[0].Ordered || ds[0].Sequence != 0 || ds[0].Previous != "" {
		t.Errorf("%+v", ds)
	}
}

func TestPlan_LeavesOutWhatHasNoRecipient(t *testing.T) {
	failing := func(subject string) *event.Event {
		return &event.Event{
			ID: "f-1", Source: "tollgate/webhook", Type: "endpoint.failing", Tenant: "acme", Subject: subject, Time: epoch,
			Data: &eventv1.EndpointChanged{Endpoint: "tenants/acme/" + strings.Replace(subject, "/", "s/", 1)},
		}
	}
	tests := map[string]struct {
		edit  func(*configv1.Snapshot)
		event *event.Event
		want  []string
	}{
		"for a draft endpoint": {
			func(s *configv1.Snapshot) { s.Endpoints[0].Status = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT }, usage("u", "44", 5, epoch), nil,
		},
		"for an endpoint that is gone": {
			func(s *configv1.Snapshot) { s.Endpoints = s.Endpoints[1:] }, usage("u", "44", 5, epoch), nil,
		},
		"by an inactive notification": {
			func(s *configv1.Snapshot) { s.Notifications[0].Active = false }, usage("u", "44", 5, epoch), nil,
		},
		"but a disabled endpoint's deliveries are: the dispatcher settles them": {
			func(s *configv1.Snapshot) { s.Endpoints[0].Status = configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED }, usage("u", "44", 5, epoch),
			[]string{"u spent/notify crm 1"},
		},
		"about an endpoint for itself": {
			func(s *configv1.Snapshot) {
				s.Notifications[0] = rule("n", []string{"endpoint.*"}, "", action("a", "crm"), action("b", "app"))
			}, failing("endpoint/crm"), []string{"f-1 n/b app 1"},
		},
		"but an endpoint hears of others": {
			func(s *configv1.Snapshot) {
				s.Notifications[0] = rule("n", []string{"endpoint.*"}, "", action("a", "crm"), action("b", "app"))
			}, failing("endpoint/other"), []string{"f-1 n/a crm 1", "f-1 n/b app 1"},
		},
		"for another tenant": {nil, func() *event.Event { e := usage("u", "44", 5, epoch); e.Tenant = "other"; return e }(), nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			p.configure(snapshot(1, tc.edit))
			p.append(tc.event)
			p.run()
			if diff := cmp.Diff(tc.want, places(p.deliveries())); diff != "" {
				t.Error(diff)
			}
			if p.decisions() != nil {
				t.Errorf("decisions %v", p.decisions())
			}
		})
	}
}

func TestPlan_SuppressedDeliveryTakesNoSequence(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(3, func(s *configv1.Snapshot) {
		s.Notifications = append(s.Notifications, rule("breaks", []string{"usage.charged"}, "100 / data.net.units > 0", action("notify", "app")))
		s.Endpoints[0].Profile = configv1.PayloadProfile_PAYLOAD_PROFILE_TOLLGATE
	}))
	large := usage("u-2", "44", 5, epoch)
	large.Data.(*eventv1.UsageCharged).Service = strings.Repeat("x", channel.MaxBody)
	third := usage("u-3", "44", 0, epoch)
	large.Correlation, third.Correlation = "of uuu", "of uuu"
	p.append(usage("u-1", "44", 5, epoch), large, third, usage("u-4", "44", 7, epoch))
	p.run()
	want := []string{
		"u-1 breaks/notify app 1", "u-1 spent/notify crm 1", "u-2 breaks/notify app 2", "u-4 breaks/notify app 3", "u-4 spent/notify crm 2",
	}
	if diff := cmp.Diff(want, places(p.deliveries())); diff != "" {
		t.Error(diff)
	}
	ds := p.decisions()
	if len(ds) != 2 {
		t.Fatalf("decisions %v", ds)
	}
	for _, r := range p.out {
		tenant, _ := r.Header(event.HeaderTenant)
		subject, _ := r.Header(event.HeaderSubject)
		correlation, _ := r.Header(event.HeaderCorrelation)
		if r.Topic == stream.TriggersDecisions && string(tenant)+" "+string(subject)+" "+string(correlation) != "acme 44 of uuu" {
			t.Errorf("a Decision's headers: tenant %q, subject %q, correlation %q", tenant, subject, correlation)
		}
	}
	if d := ds[0]; d.Reason != triggerv1.Decision_REASON_TOO_LARGE || d.Notification != "spent" || d.Action != "notify" ||
		d.Endpoint != "tenants/acme/endpoints/crm" || d.GetEvent().GetId() != "u-2" || d.GetEvent().GetOffset() != 2 || d.Revision != 3 {
		t.Errorf("%v", d)
	}
	if d := ds[1]; d.Reason != triggerv1.Decision_REASON_FILTER_ERROR || d.Notification != "breaks" || d.Action != "" ||
		d.GetEvent().GetId() != "u-3" || !strings.Contains(d.Detail, "division by zero") || len(d.Id) != 32 {
		t.Errorf("%v", d)
	}
}

// An event is evaluated by exactly one revision: that in force at its position.
func TestPlan_RevisionHoldsFromItsPositionOn(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, nil))
	p.append(usage("u-1", "44", 5, epoch))
	p.configure(snapshot(2, func(s *configv1.Snapshot) {
		s.Notifications[0].Version = 2
		s.Notifications[0].Trigger.Filter = "data.net.units > 5"
	}))
	p.append(usage("u-2", "44", 5, epoch), usage("u-3", "44", 6, epoch))
	p.run()
	ds := p.deliveries()
	if diff := cmp.Diff([]string{"u-1 spent/notify crm 1", "u-3 spent/notify crm 2"}, places(ds)); diff != "" {
		t.Fatal(diff)
	}
	if ds[0].NotificationVersion != 1 || ds[1].NotificationVersion != 2 || ds[1].Revision != 2 {
		t.Errorf("%+v", ds[1])
	}
}

func TestPlan_OrderingKeyOutOfUseBeginsAnew(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, nil))
	days := 0
	uses := func(id, subject string, day int) {
		p.pass(time.Duration(day-days) * 24 * time.Hour)
		days = day
		p.append(usage(id, subject, 5, p.now))
		p.run()
	}
	uses("u-1", "44", 0)
	uses("u-2", "44", 60)
	uses("u-3", "44", 149) // 89 days after the last use
	uses("u-4", "45", 149)
	uses("u-5", "45", 240) // 91 days
	uses("u-6", "44", 240)
	want := []string{"u-1 spent/notify crm 1", "u-2 spent/notify crm 2", "u-3 spent/notify crm 3", "u-4 spent/notify crm 1", "u-5 spent/notify crm 1", "u-6 spent/notify crm 1"}
	if diff := cmp.Diff(want, places(p.deliveries())); diff != "" {
		t.Error(diff)
	}
}

func TestCompile_UnchangedNotificationIsCompiledOnce(t *testing.T) {
	one := book(snapshot(1, nil), nil)
	two := book(snapshot(2, func(s *configv1.Snapshot) {
		s.Notifications = append(s.Notifications, rule("new", []string{"usage.*"}, "", action("a", "crm")))
	}), one)
	three := book(snapshot(3, func(s *configv1.Snapshot) { s.Notifications[0].Trigger.Filter = "data.roaming" }), two)
	const name = "tenants/acme/notifications/spent"
	if one.compiled[name].rule != two.compiled[name].rule {
		t.Error("compiled again")
	}
	if two.compiled[name].rule == three.compiled[name].rule {
		t.Error("a change was missed")
	}
}

// One that this binary can't compile stops no partition: it is inactive in its revision, an incident names it, and the
// others go on. The revision that mends it ends the incident.
func TestCompile_FailureMakesTheNotificationInactive(t *testing.T) {
	p := newPartition(t, "events.ordered")
	bad := snapshot(1, func(s *configv1.Snapshot) {
		broken := rule("broken", []string{"usage.charged"}, "data.nothing", action("notify", "crm"))
		asleep := rule("asleep", []string{"usage.charged"}, "data.nothing", action("notify", "crm"))
		asleep.Active = false
		wordless := rule("wordless", []string{"usage.charged"}, "", action("notify", "crm"))
		wordless.Actions[0].Parameters[0].Template = "{{.Nothing}}"
		s.Notifications = []*configv1.Notification{asleep, broken, wordless, rule("spent", []string{"usage.charged"}, "", action("notify", "crm"))}
	})
	p.configure(bad)
	p.append(usage("1", "447700900001", 1, p.now))
	p.run()
	if planned := p.deliveries(); len(planned) != 1 || planned[0].Notification != "spent" {
		t.Errorf("planned %v", planned)
	}
	newest := p.books[1]
	latest := func() (*Book, bool) { return newest, newest != nil }
	shown := inactive(latest)
	if len(shown) != 2 || shown[1].Resource != "tenants/acme/notifications/wordless" || shown[1].Code != IncidentNotification || shown[0].Code != IncidentNotification || shown[0].Resource != "tenants/acme/notifications/broken" || !strings.Contains(shown[0].Detail, "nothing") {
		t.Errorf("incidents %v", shown)
	}
	newest = book(snapshot(2, nil), nil)
	if shown := inactive(latest); shown != nil {
		t.Errorf("the mended revision still has %v", shown)
	}
}

// An endpoint whose form of body this binary does not know is planned nothing for, whichever form of the snapshot its
// replica has read.
func TestPlan_RefusesAnUnknownFormat(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, func(s *configv1.Snapshot) { s.Endpoints[0].Profile = 99 }))
	p.append(usage("1", "447700900001", 1, p.now))
	p.run()
	for _, d := range p.deliveries() {
		if strings.HasSuffix(d.Endpoint, "/crm") {
			t.Errorf("planned %v", d)
		}
	}
}

var _ fold.Fold[body, *Book] = (*evaluation)(nil)

// The goal is two seconds.
func BenchmarkLoadTenThousandNotifications(b *testing.B) {
	s := snapshot(1, nil)
	s.Notifications = nil
	for i := range 10_000 {
		s.Notifications = append(s.Notifications, rule(fmt.Sprintf("n%d", i), []string{"safeguard.*"},
			fmt.Sprintf("data.spent.units > %d && subject.startsWith('44')", i), action("notify", "crm")))
	}
	for b.Loop() {
		book(s, nil)
	}
}

// One id and source for several subjects are as many events: the dispatcher knows repeats by the delivery's id, and must
// not take the one's for the other's.
func TestPlan_OneIDOfSeveralSubjectsIsADeliveryOfEach(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(7, nil))
	p.append(usage("u-1", "44", 5, epoch), usage("u-1", "45", 5, epoch), usage("u-1", "46", 5, epoch))
	p.run()
	ids := map[string]bool{}
	for _, d := range p.deliveries() {
		ids[d.ID] = true
	}
	if len(ids) != 3 {
		t.Errorf("%d deliveries of 3 subjects: %v", len(ids), ids)
	}
}
