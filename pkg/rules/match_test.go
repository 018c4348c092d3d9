package rules

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/channeltest"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func index(t testing.TB, notifications ...Notification) *Index {
	t.Helper()
	var rules []*Rule
	for _, n := range notifications {
		r, err := Compile(n)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, r)
	}
	return NewIndex(rules)
}

func fired(matches []Match) string {
	var codes []string
	for _, m := range matches {
		code := m.Rule.Code
		if m.Err != nil {
			code += " failed"
		}
		codes = append(codes, code)
	}
	return strings.Join(codes, ", ")
}

func TestMatch(t *testing.T) {
	rule := func(code string, edit func(*Notification)) Notification {
		return notification(func(n *Notification) {
			n.Code, n.Trigger.EventTypes = code, []string{"safeguard.*"}
			if edit != nil {
				edit(n)
			}
		})
	}
	x := index(t,
		rule("z-all", nil),
		rule("a-all", nil),
		rule("b-off", func(n *Notification) { n.Active = false }),
		rule("c-other-tenant", func(n *Notification) {
			n.Tenant = "other"
			n.Actions[0].Part = webhook.Action{Endpoint: "tenants/other/endpoints/x"}
		}),
		rule("d-reached", func(n *Notification) { n.Trigger.EventTypes = []string{"safeguard.reached"} }),
		rule("e-spent", func(n *Notification) { n.Trigger.Filter = "data.spent.units >= 40 && subject.startsWith('4477')" }),
		rule("f-envelope", func(n *Notification) {
			n.Trigger.Filter = `time == timestamp("2026-03-14T12:00:00.123Z") && received_at == time && source == "tollgate/safeguard" && tenant == "acme" && correlation == "c-1" && id.size() == 32 && type.endsWith("alert")`
		}),
		rule("g-enum", func(n *Notification) {
			n.Trigger.Filter = "data.state == Safeguard.State.STATE_ACTIVE && data.period_end > time && data.period_end - time < duration('999h')"
		}),
		rule("h-no", func(n *Notification) { n.Trigger.Filter = "data.threshold.percent > 80" }),
		rule("i-fails", func(n *Notification) { n.Trigger.Filter = "1 / (data.threshold.percent - 80) > 0" }),
		rule("j-dear", func(n *Notification) { n.Trigger.Filter = "data.language.matches('(a*)*b')" }),
		rule("k-absent", func(n *Notification) {
			n.Trigger.Filter = "!has(data.forecast) && data.forecast == timestamp(0) && data.late.units == 0"
		}),
		rule("l-two-messages", func(n *Notification) {
			n.Trigger.EventTypes = append(n.Trigger.EventTypes, "subscriber.activated")
			n.Trigger.Filter = "data.class_of_service == 'gold'"
		}),
	)
	if got, want := fired(fires(x, channeltest.Alert())), "a-all, e-spent, f-envelope, g-enum, i-fails failed, k-absent, l-two-messages, z-all"; got != want {
		t.Errorf("fired %s, want %s", got, want)
	}
	if got, want := fired(fires(x, channeltest.Activated())), "l-two-messages"; got != want {
		t.Errorf("fired %s, want %s", got, want)
	}

	other := channeltest.Alert()
	other.Tenant = "none"
	if got := fires(x, other); got != nil {
		t.Errorf("fired %s for a tenant without rules", fired(got))
	}

	dear := channeltest.Alert()
	dear.Data.(*eventv1.Safeguard).Language = strings.Repeat("a", 300_000)
	if got := fired(fires(x, dear)); !strings.Contains(got, "j-dear failed") {
		t.Errorf("fired %s: a filter past its bound did not fail", got)
	}

	wrong := channeltest.Alert()
	wrong.Data = channeltest.Activated().Data
	if got := fired(fires(x, wrong)); !strings.Contains(got, "a-all failed") {
		t.Errorf("fired %s: data of another type was taken", got)
	}
	wrong.Data = nil
	if got := fired(fires(x, wrong)); !strings.Contains(got, "a-all failed") {
		t.Errorf("fired %s: an event without data was taken", got)
	}
}

// A filter over the data yields what the same comparison in Go yields.
func TestFilter_AgreesWithGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(-5, 60).Draw(t, "limit")
		percent := rapid.Int32Range(0, 100).Draw(t, "percent")
		r, err := Compile(notification(func(n *Notification) {
			n.Trigger.EventTypes = []string{"safeguard.*"}
			n.Trigger.Filter = fmt.Sprintf("data.spent.units > %d || has(data.threshold) && data.threshold.percent >= %d", limit, percent)
		}))
		if err != nil {
			t.Fatal(err)
		}
		e := channeltest.Alert()
		data := e.Data.(*eventv1.Safeguard)
		data.Spent = channeltest.EUR(rapid.Int64Range(0, 60).Draw(t, "spent"), 0)
		data.Threshold = nil
		if rapid.Bool().Draw(t, "has") {
			data.Threshold = &eventv1.Threshold{Percent: rapid.Int32Range(0, 100).Draw(t, "of")}
		}
		want := data.Spent.Units > limit || data.Threshold != nil && data.Threshold.Percent >= percent
		if got := len(fires(NewIndex([]*Rule{r}), e)) == 1; got != want {
			t.Fatalf("fired %v, want %v", got, want)
		}
	})
}

// The goal is 100,000 events a second on one core with a hundred rules over ten types, of which one in a hundred fires.
func BenchmarkMatch(b *testing.B) {
	types := []string{
		"usage.charged", "safeguard.alert", "safeguard.reached", "safeguard.released", "safeguard.renewed", "safeguard.late",
		"safeguard.overshoot", "subscriber.activated", "subscriber.terminated", "invoice.posted",
	}
	filters := map[string]string{
		"usage.charged": "data.roaming && data.net.units >= %d", "subscriber.activated": "data.class_of_service == 'x%d'",
		"subscriber.terminated": "data.reason == 'x%d'", "invoice.posted": "data.document.total.units > 1000 + %d",
	}
	var notifications []Notification
	for i := range 100 {
		typ := types[i%len(types)]
		filter, ok := filters[typ]
		if !ok {
			filter = "data.spent.units > 1000 + %d"
		}
		notifications = append(notifications, notification(func(n *Notification) {
			n.Code = fmt.Sprintf("n%d", i)
			n.Trigger = Trigger{EventTypes: []string{typ}, Filter: fmt.Sprintf(filter, 100-i/10)}
			n.Actions[0].Parameters = []Parameter{{"text", "{{.Core.EventName}} at {{.Core.CurrentDateTime}}"}}
		}))
	}
	x := index(b, notifications...)
	usage := func(units int64) *event.Event {
		return &event.Event{
			ID: "u-1", Source: "rating", Type: "usage.charged", Tenant: "acme", Subject: "447700900123", Time: channeltest.Noon, ReceivedAt: channeltest.Noon,
			Data: &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: channeltest.EUR(units, 0), Gross: channeltest.EUR(units, 0), Quantity: 1 << 20, Unit: "byte"},
		}
	}
	quiet, loud := usage(1), usage(91)
	other := &event.Event{Type: "client.created", Tenant: "acme", Data: &eventv1.ClientChanged{}}

	b.Run("no rule is for its type", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			fires(x, other)
		}
	})
	b.Run("ten filters, none true", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if fires(x, quiet) != nil {
				b.Fatal("fired")
			}
		}
	})
	for _, profile := range []webhook.Profile{webhook.Tollgate, webhook.Parameters} {
		to := (&webhook.Endpoint{Profile: profile}).Planning()
		b.Run("ten filters, one in a hundred fires and is rendered as "+profile.String(), func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				if n%100 != 0 {
					fires(x, quiet)
					continue
				}
				for _, m := range fires(x, loud) {
					if _, err := m.Rule.Render(m.Rule.Actions[0], &Occasion{Event: loud, Now: channeltest.Noon}, to, channel.Recipient{}, channel.Position{Sequence: 1, Previous: "dlv_x"}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
	b.Run("rendered as tollgate", func(b *testing.B) {
		b.ReportAllocs()
		e := channeltest.Alert()
		e.Data.(*eventv1.Safeguard).Forecast = timestamppb.New(channeltest.Noon)
		r, err := Compile(notification(nil))
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := r.Render(r.Actions[0], &Occasion{Event: e, Now: channeltest.Noon}, channel.Planning{}, channel.Recipient{}, channel.Position{Sequence: 1, Previous: "dlv_x"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(notification(func(n *Notification) {
			n.Trigger.EventTypes = []string{"safeguard.*"}
			n.Trigger.Filter = "data.spent.units >= 40 && subject.startsWith('4477')"
			n.Actions[0].Parameters = []Parameter{{"text", "{{.Option.Spent}} of {{.Option.Limit}}"}}
		})); err != nil {
			b.Fatal(err)
		}
	}
}

// fires is what an event fires where its filters cost little.
func fires(x *Index, e *event.Event) []Match {
	matches, _, _ := x.Match(e)
	return matches
}

// The filters of one event have a bound together, however many rules there are: which are left does not depend on how
// long it took.
func TestFilters_OfOneEventShareOneBound(t *testing.T) {
	var all []Notification
	for i := range 200 {
		all = append(all, notification(func(n *Notification) {
			n.Code, n.Trigger.EventTypes = fmt.Sprintf("n%03d", i), []string{"safeguard.*"}
			n.Trigger.Filter = "data.language.matches('(a|b)*c')"
		}))
	}
	x := index(t, all...)
	e := channeltest.Alert()
	e.Data.(*eventv1.Safeguard).Language = strings.Repeat("a", 150_000)
	matches, next, left := x.Match(e)
	again, nextAgain, leftAgain := x.Match(e)
	if left < 100 || left > 199 || next == nil || next.Code != fmt.Sprintf("n%03d", 200-left) {
		t.Errorf("%d rules are left, from %v on", left, next)
	}
	if len(matches) != len(again) || next != nextAgain || left != leftAgain {
		t.Error("evaluated otherwise the second time")
	}
	if matches, next, left := x.Match(channeltest.Alert()); len(matches) != 0 || next != nil || left != 0 {
		t.Errorf("an ordinary event: %d matches, %d left", len(matches), left)
	}
}
