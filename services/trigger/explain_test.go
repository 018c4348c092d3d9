package trigger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

func (f *fixture) explained(c triggerv1.RuleServiceClient, req *triggerv1.ExplainRequest) *triggerv1.ExplainResult {
	f.Helper()
	req.Parent = "tenants/acme"
	m, err := last(c.Explain(f.ctx, req))
	if err != nil {
		f.Fatal(err)
	}
	return m.GetResult()
}

func atPosition(p *triggerv1.EventPosition) *triggerv1.ExplainRequest {
	return &triggerv1.ExplainRequest{Event: &triggerv1.ExplainRequest_Position{Position: p}}
}

// outcomesOf are a line per notification: its code and what came of it.
func outcomesOf(r *triggerv1.ExplainResult) (lines []string) {
	for _, n := range r.GetNotifications() {
		lines = append(lines, n.GetNotification()+" "+strings.TrimPrefix(n.GetOutcome().String(), "OUTCOME_"))
	}
	return lines
}

// Of each kind of "why not": by the revision that the event was worked by, whatever was changed since.
func TestExplain_NamesWhyANotificationDidOrDidNotFire(t *testing.T) {
	onServers(t, func(f *fixture) {
		c := f.asking()
		inactive := rule("inactive", []string{"usage.charged"}, "", action("notify", "crm"))
		inactive.Active = false
		all := []*configv1.Notification{
			rule("breaks", []string{"usage.charged"}, "10 / (data.net.units - 2) > 0", action("notify", "crm")),
			capped(rule("capped", []string{"usage.charged"}, "", action("notify", "crm")), 1),
			rule("fires", []string{"usage.charged"}, "data.net.units > 1", action("notify", "crm")),
			inactive,
			rule("more", []string{"usage.charged"}, "data.net.units > 5 && data.roaming", action("notify", "crm")),
			rule("nowhere", []string{"usage.charged"}, "", action("notify", "draft")),
			rule("other", []string{"balance.changed"}, "", action("notify", "crm")),
			stateful(f.T, "passes", `"trigger": {"event_types": ["usage.charged"], "crossing": {"field": "data.net", "up": {"units": 5}}}`),
			stateful(f.T, "waits", `"trigger": {"event_types": ["usage.charged"], "absence": {"for": "86400s"}}`),
		}
		draft := func(s *configv1.Snapshot) {
			s.Endpoints = append(s.Endpoints, &configv1.Endpoint{
				Name: "tenants/acme/endpoints/draft", Profile: configv1.PayloadProfile_PAYLOAD_PROFILE_TOLLGATE, Status: configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT,
			})
		}
		f.configure(snapshot(1, func(s *configv1.Snapshot) { s.Notifications = all; draft(s) }))
		now := time.Now().UTC().Truncate(time.Millisecond)
		f.publish(stream.EventsOrdered, usage("u-1", "44", 2, now), usage("u-2", "44", 3, now), usage("u-2", "44", 3, now))
		f.deliveries(3) // fires twice, capped once
		f.configure(snapshot(2, func(s *configv1.Snapshot) { s.Notifications = all[:1] }))

		first := f.find("u-1")
		r := f.explained(c, atPosition(first))
		want := []string{"breaks FILTER_ERROR", "capped FIRED", "fires FIRED", "inactive INACTIVE", "more FILTER_FALSE", "nowhere NO_TARGET", "passes NO_CHANGE", "waits PENDING"}
		if !slices.Equal(outcomesOf(r), want) || r.GetRevision() != 1 || r.GetRevisionAssumed() {
			f.Errorf("the first: revision %d, %v", r.GetRevision(), strings.Join(outcomesOf(r), "\n"))
		}
		for _, n := range r.GetNotifications() {
			switch n.GetNotification() {
			case "more":
				if parts := n.GetFilterParts(); len(parts) < 3 || parts[2].GetExpression() != "data.net.units" || parts[2].GetValue() != "2" {
					f.Errorf("parts: %v", parts)
				}
			case "fires":
				if d := n.GetDeliveries(); len(d) != 1 || !strings.HasPrefix(d[0].GetId(), "dlv_") || d[0].GetTarget() != "tenants/acme/endpoints/crm" {
					f.Errorf("deliveries: %v", d)
				}
			case "waits":
				if n.GetPendingUntil().AsTime().Sub(now) != 24*time.Hour {
					f.Errorf("waits: %v", n)
				}
			}
		}
		second := f.nth("u-2", 0)
		r = f.explained(c, atPosition(second))
		if got := outcomesOf(r); !slices.Contains(got, "capped HELD_BACK") || !slices.Contains(got, "fires FIRED") {
			f.Errorf("the second: %v", got)
		}
		for _, n := range r.GetNotifications() {
			if n.GetNotification() == "capped" && (len(n.GetDecisions()) != 1 || n.GetDecisions()[0].GetReason() != triggerv1.Decision_REASON_CAP || n.GetDecisions()[0].GetEvent().GetSubject() != "**") {
				f.Errorf("capped: %v", n)
			}
		}
		// The repeat of a producer, found by its place; and one notification, of a type that is not its own.
		if got := outcomesOf(f.explained(c, atPosition(f.nth("u-2", 1)))); !slices.Contains(got, "fires REPEATED") || !slices.Contains(got, "capped REPEATED") {
			f.Errorf("the repeat: %v", got)
		}
		req := atPosition(first)
		req.Notification = "breaks"
		if got := outcomesOf(f.explained(c, req)); !slices.Equal(got, []string{"breaks FILTER_ERROR"}) {
			f.Errorf("one of them: %v", got)
		}
		// By its id, and not at all.
		search := &triggerv1.EventSearch{Id: "u-1", Subject: "44"}
		if r := f.explained(c, &triggerv1.ExplainRequest{Event: &triggerv1.ExplainRequest_Search{Search: search}}); r.GetPosition().GetOffset() != first.GetOffset() {
			f.Errorf("found at %v", r.GetPosition())
		}
		search.From, search.To = timestamppb.New(now.Add(-2*time.Hour)), timestamppb.New(now.Add(-time.Hour))
		_, err := last(c.Explain(f.ctx, &triggerv1.ExplainRequest{Parent: "tenants/acme", Event: &triggerv1.ExplainRequest_Search{Search: search}}))
		if fault.ReasonOf(err) != "EVENT_NOT_FOUND" {
			f.Error(err)
		}
		_, err = last(c.Explain(f.ctx, &triggerv1.ExplainRequest{Parent: "tenants/none", Event: &triggerv1.ExplainRequest_Search{Search: &triggerv1.EventSearch{}}}))
		for _, part := range []string{"parent", "search.id", "search.subject"} {
			if !strings.Contains(fmt.Sprint(err), part) {
				f.Errorf("%s is not named in %v", part, err)
			}
		}
	})
}

// What a timer came to stands behind the event that set it.
func TestExplain_FollowsTimersToTheirEnd(t *testing.T) {
	onServers(t, func(f *fixture) {
		old := time.Now().Add(-20 * 24 * time.Hour)
		paid, open := invoice("i-1", "a", old), invoice("i-2", "b", old)
		other := invoice("i-3", "c", old)
		f.publish(stream.EventsOrdered) // nothing: topics are there
		c := f.asking()
		reminds := stateful(f.T, "reminds", strings.Replace(unlessPaid, `"days": 14, "at": "09:00"`, `"days": 0`, 1))
		late := stateful(f.T, "later", unlessPaid)
		f.configure(snapshot(1, func(s *configv1.Snapshot) { s.Notifications = []*configv1.Notification{late, reminds} }))
		f.publish(stream.EventsOrdered, paid, open, other, payment("p-1", "a", "c"))
		f.deliveries(3)
		got := outcomesOf(f.explained(c, atPosition(f.find("i-2"))))
		if len(got) != 2 || got[1] != "reminds FIRED" {
			f.Errorf("one that was due at once: %v", got)
		}
		answered := outcomesOf(f.explained(c, atPosition(f.find("p-1"))))
		if len(answered) != 2 || answered[0] != "later ANSWERED" {
			f.Errorf("the payment: %v", answered)
		}
	})
}

// An event of a log without order is worked by the last revision before it.
func TestExplain_OfAnEventWithoutOrder(t *testing.T) {
	onServers(t, func(f *fixture) {
		c := f.asking()
		f.configure(journey(1))
		f.publish(stream.EventsUnordered, failed("b-1"))
		f.deliveries(1)
		var at *triggerv1.EventPosition
		f.await(stream.EventsUnordered, func(records []stream.Record) bool {
			for _, r := range records {
				if id, _ := r.Header(event.HeaderID); string(id) == "b-1" {
					at = &triggerv1.EventPosition{Topic: stream.EventsUnordered, Partition: r.Partition, Offset: r.Offset}
				}
			}
			return at != nil
		})
		f.configure(snapshot(2, func(s *configv1.Snapshot) { s.Notifications = nil }))
		r := f.explained(c, atPosition(at))
		if got := outcomesOf(r); !slices.Equal(got, []string{"runs FIRED"}) || r.GetRevision() != 1 || r.GetRevisionAssumed() {
			f.Errorf("revision %d: %v", r.GetRevision(), got)
		}
	})
}

// nth is the place of the n-th record of an event.
func (f *fixture) nth(id string, n int) (at *triggerv1.EventPosition) {
	f.Helper()
	f.await(stream.EventsOrdered, func(records []stream.Record) bool {
		found := 0
		for _, r := range records {
			if got, _ := r.Header(event.HeaderID); string(got) == id {
				if found == n {
					at = &triggerv1.EventPosition{Topic: stream.EventsOrdered, Partition: r.Partition, Offset: r.Offset}
				}
				found++
			}
		}
		return at != nil
	})
	return at
}
