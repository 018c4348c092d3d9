package trigger

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// cases are rules with a state on the events of public reports: a log, and what is to be planned from it.
type ruleCase struct {
	// notification is the message as JSON, without its name.
	notification string
	// events is the file under testdata/cases; an event is received at its own time, but for those in late.
	events string
	late   map[string]string
	// until is when log time ends.
	until string
	// deliveries are firing, due or event time, event, and text of each, in their order where they have one.
	deliveries []string
	unordered  bool
	decisions  []string
}

func cases() map[string]ruleCase {
	return map[string]ruleCase{
		// First values, exactly reached, two at once, a top-up, a before that is not whole, no whole, decimals.
		"thresholds": {
			notification: `{"active": true, "trigger": {"event_types": ["balance.changed"], "key": "data.bucket.id",
				"thresholds": {"field": "data.bucket.used", "before": "data.before.used", "of": "data.bucket.granted", "percent": [50, 75, 90, 100]}},
				"actions": [{"name": "notify", "webhook": {"endpoint": "tenants/acme/endpoints/app"}, "parameters": [{"name": "text", "template": "{{.UsageBucket.Id}} {{.UsageBucket.Used}} at {{.Core.Firing}}"}]}]}`,
			events: "thresholds", until: "2025-01-01T01:00:00Z",
			deliveries: []string{
				"50 of 1: b1 800 at 50", "75 of 1: b1 800 at 75", "100 of 3: b2 1000 at 100", "90 of 4: b1 1000 at 90",
				"100 of 4: b1 1000 at 100", "75 of 7: b1 1500 at 75", "90 of 10: b3 8.1 at 90", "90 of 11: b4 18.9 at 90",
			},
			decisions: []string{"OF_ABSENT of 9, b1"},
		},
		// A reminder unless paid: part payments, one payment for two invoices, and the amount that is open when it is sent.
		"reminder": {
			notification: `{"active": true, "trigger": {"event_types": ["invoice.delivered"], "key": "data.document.id",
				"delayed": {"days": 14, "at": "09:00", "time_zone": "Europe/Berlin", "cancelled_by": {
					"event_types": ["document.balance_changed"], "key": "data.document.id",
					"filter": "data.document.due_amount.units == 0 && data.document.due_amount.nanos == 0"}}},
				"actions": [{"name": "remind", "webhook": {"endpoint": "tenants/acme/endpoints/app"}, "parameters": [{"name": "text", "template": "{{.Invoice.Number}}: {{.Invoice.DueAmount}} {{.Invoice.Currency}} open, due {{.Core.Firing}}"}]}]}`,
			events: "reminder", until: "2025-01-26T00:00:00Z",
			deliveries: []string{"2025-01-25T08:00:00.000Z of 1: INV-31A: 70.00 EUR open, due 2025-01-25T08:00:00.000Z"},
			decisions: []string{
				"CANCELLED of 3, inv-31c, 2025-01-25T08:00:00.000Z", "CANCELLED of 4, inv-31d, 2025-01-25T08:00:00.000Z",
				"CANCELLED of 2, inv-31b, 2025-01-25T08:00:00.000Z",
			},
		},
		// SIMs that fall silent, one that was never used, one whose usage comes late, and one that is terminated.
		"silence": {
			notification: `{"active": true, "trigger": {"event_types": ["subscriber.activated", "usage.charged"], "absence": {"for": "2592000s"}},
				"actions": [{"name": "notify", "webhook": {"endpoint": "tenants/acme/endpoints/app"}, "parameters": [{"name": "text", "template": "{{.Subscriber.Msisdn}} {{.Core.CurrentDateTime}}"}]}]}`,
			events: "silence", late: map[string]string{"8": "2025-01-30T00:00:00Z"}, until: "2025-04-30T00:00:00Z", unordered: true,
			deliveries: []string{
				"2025-01-31T00:00:00.000Z of 2: 34600103202 2025-01-31T00:00:00Z", "2025-02-01T00:00:00.000Z of 8: 34600103204 2025-02-01T00:00:00Z",
				"2025-03-01T06:00:00.000Z of 9: 34600103201 2025-03-01T06:00:00Z", "2025-04-04T00:00:00.000Z of 10: 34600103201 2025-04-04T00:00:00Z",
			},
		},
		// 5, 0, a little less, 0, 4, -1; and a client whose first value is below 0.
		"depleted": {
			notification: `{"active": true, "trigger": {"event_types": ["client.updated"], "depleted": {"field": "data.client.balance"}},
				"actions": [{"name": "notify", "webhook": {"endpoint": "tenants/acme/endpoints/app"}, "parameters": [{"name": "text", "template": "{{.Account.Balance}}"}]}]}`,
			events: "depleted", until: "2025-01-01T01:00:00Z",
			deliveries: []string{"depleted of 2: 0.00", "depleted of 7: -1.00"},
		},
		"restored": {
			notification: `{"active": true, "trigger": {"event_types": ["client.updated"], "restored": {"field": "data.client.balance"}},
				"actions": [{"name": "notify", "webhook": {"endpoint": "tenants/acme/endpoints/app"}, "parameters": [{"name": "text", "template": "{{.Account.Balance}}"}]}]}`,
			events: "depleted", until: "2025-01-01T01:00:00Z",
			deliveries: []string{"restored of 4: 0.00"},
		},
		// To and fro around a value under a cap, to the millisecond.
		"capped": {
			notification: `{"active": true, "cap": {"n": 1, "window": "86400s"}, "trigger": {"event_types": ["balance.changed"], "key": "data.bucket.id",
				"crossing": {"field": "data.bucket.actual_amount", "before": "data.before.actual_amount", "down": {"currency_code": "EUR", "units": 10}}},
				"actions": [{"name": "notify", "webhook": {"endpoint": "tenants/acme/endpoints/app"}, "parameters": [{"name": "text", "template": "{{.UsageBucket.ActualAmount}} {{.UsageBucket.Currency}}"}]}]}`,
			events: "capped", until: "2025-02-04T00:00:00Z",
			deliveries: []string{"down 10 of 1: 9.80 EUR", "down 10 of 4: 9.50 EUR", "down 10 of 10: 9.50 EUR"},
			decisions:  []string{"CAP of 3, c1, down 10", "CAP of 6, c1, down 10", "CAP of 8, c1, down 10", "CAP of 12, c1, down 10"},
		},
	}
}

// snapshot is a configuration with the case's notification.
func (c ruleCase) snapshot(t testing.TB, revision int64) *configv1.Snapshot {
	t.Helper()
	n := &configv1.Notification{}
	if err := protojson.Unmarshal([]byte(c.notification), n); err != nil {
		t.Fatal(err)
	}
	n.Name, n.Version = "tenants/acme/notifications/case", 1
	return snapshot(revision, func(s *configv1.Snapshot) { s.Notifications = []*configv1.Notification{n} })
}

// log are the case's events with the time at which each is received, in order.
func (c ruleCase) log(t testing.TB) []*event.Event {
	t.Helper()
	text, err := os.ReadFile("testdata/cases/" + c.events + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var all []*event.Event
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		e, err := event.ParseJSON(lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if e.ReceivedAt = e.Time; c.late[e.ID] != "" {
			e.ReceivedAt = moment(t, c.late[e.ID])
		}
		all = append(all, e)
	}
	return all
}

func moment(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// compare compares what was planned and decided first.
func (c ruleCase) compare(t testing.TB, ds []*delivery.Delivery, decided []*triggerv1.Decision) {
	t.Helper()
	var got []string
	for _, d := range ds {
		got = append(got, fmt.Sprintf("%s of %s: %s", d.Firing, d.Event.ID, strings.TrimSuffix(strings.TrimPrefix(string(d.Body), `{"text":"`), `"}`)))
		if due, err := time.Parse(time.RFC3339, d.Firing); err == nil && (!d.PlannedAt.Equal(due) || d.Ordered) {
			t.Errorf("%s is planned at %s, ordered %t", d.Firing, d.PlannedAt, d.Ordered)
		}
	}
	want := slices.Clone(c.deliveries)
	if c.unordered {
		slices.Sort(got)
		slices.Sort(want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deliveries:\n%s", diff)
	}
	var why []string
	for _, d := range decided {
		line := strings.TrimPrefix(d.GetReason().String(), "REASON_") + " of " + d.GetEvent().GetId() + ", " + d.GetKey()
		if d.GetFiring() != "" {
			line += ", " + d.GetFiring()
		}
		why = append(why, line)
	}
	if diff := cmp.Diff(c.decisions, why); diff != "" {
		t.Errorf("decisions:\n%s", diff)
	}
}

func TestCases_OneRunOfTheLog(t *testing.T) {
	for name, c := range cases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPartition(t, "events.ordered")
			log := c.log(t)
			p.now = log[0].ReceivedAt
			p.configure(c.snapshot(t, 1))
			byArrival(log)
			for _, e := range log {
				p.now = e.ReceivedAt
				p.append(e)
			}
			p.now = moment(t, c.until)
			p.tick()
			p.run()
			c.compare(t, p.deliveries(), p.decisions())
		})
	}
}

func byArrival(log []*event.Event) {
	slices.SortStableFunc(log, func(a, b *event.Event) int { return a.ReceivedAt.Compare(b.ReceivedAt) })
}
