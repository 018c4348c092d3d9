package trigger

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// fanned are n notifications with so many actions each.
func fanned(n, actions int) func(*configv1.Snapshot) {
	return func(s *configv1.Snapshot) {
		s.Notifications = nil
		for i := range n {
			var to []*configv1.Action
			for a := range actions {
				to = append(to, action(fmt.Sprintf("a%02d", a), "crm"))
			}
			s.Notifications = append(s.Notifications, rule(fmt.Sprintf("n%03d", i), []string{"usage.charged"}, "", to...))
		}
	}
}

// One event can't be cut into batches: what it leads to beyond a bound is one decision with how much it is, the same
// at every replay.
func TestPlan_OneEventHasABoundOfDeliveries(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, fanned(150, 20)))
	p.append(usage("1", "447700900001", 1, p.now))
	p.run()
	if n := len(p.deliveries()); n != maxPlanned {
		t.Errorf("planned %d", n)
	}
	ds := p.decisions()
	if len(ds) != 1 || ds[0].GetReason() != triggerv1.Decision_REASON_FAN_OUT || ds[0].GetCount() != 1000 || ds[0].GetNotification() != "n100" || ds[0].GetAction() != "a00" {
		t.Errorf("decided %v", ds)
	}
	// Only what was planned takes a sequence of the ordering key.
	p.append(usage("2", "447700900001", 1, p.now))
	p.run()
	all := p.deliveries()
	if last, first := all[maxPlanned-1], all[maxPlanned]; first.Sequence != last.Sequence+1 || first.Previous != last.ID {
		t.Errorf("the ordering key goes from %d to %d", last.Sequence, first.Sequence)
	}
}

func TestPlan_OneEventHasABoundInBytes(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, fanned(20, 20)))
	e := usage("1", "447700900001", 1, p.now)
	e.Data.(*eventv1.UsageCharged).Service = strings.Repeat("x", 100_000)
	p.append(e)
	p.run()
	if n := len(p.deliveries()); n < 80 || n > 90 {
		t.Errorf("planned %d of 100 KB", n)
	}
	if ds := p.decisions(); len(ds) != 1 || int(ds[0].GetCount())+len(p.deliveries()) != 400 {
		t.Errorf("decided %v", ds)
	}
}

// Filters that cost more than the bound of an event are not evaluated, and are one decision. The cost does not depend on time.
func TestFanOut_DoesNotEvaluateFiltersBeyondTheBound(t *testing.T) {
	var first *triggerv1.Decision
	for range 2 {
		p := newPartition(t, "events.ordered")
		p.configure(snapshot(1, func(s *configv1.Snapshot) {
			s.Notifications = nil
			for i := range 200 {
				s.Notifications = append(s.Notifications, rule(fmt.Sprintf("n%03d", i), []string{"usage.charged"}, "data.service.matches('(a|b)*c')", action("notify", "crm")))
			}
		}))
		e := usage("1", "447700900001", 1, p.now)
		e.Data.(*eventv1.UsageCharged).Service = strings.Repeat("a", 150_000)
		_, next, left := p.books[1].index.Match(e)
		p.append(e)
		p.run()
		ds := p.decisions()
		if len(ds) != 1 || left == 0 || ds[0].GetReason() != triggerv1.Decision_REASON_FAN_OUT || ds[0].GetCount() != int64(left) || ds[0].GetNotification() != next.Code {
			t.Fatalf("%d are left, decided %v", left, ds)
		}
		if first == nil {
			first = ds[0]
		} else if !proto.Equal(first, ds[0]) {
			t.Errorf("decided %v, then %v", first, ds[0])
		}
	}
}

// What the texts of an event cost beyond their bound is left out, as one decision: each action alone is within its own.
func TestFanOut_LeavesTextsThatCostTooMuchUnrendered(t *testing.T) {
	for name, tc := range map[string]struct{ elements, planned int }{
		"a list of 1,000":            {1000, 3}, // 900,000 units an action
		"one of a hundredth of that": {10, 20},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			p.configure(snapshot(1, func(s *configv1.Snapshot) {
				n := rule("texts", []string{"invoice.posted"}, "")
				for i := range 20 {
					a := action(fmt.Sprintf("a%02d", i), "app")
					a.Parameters = []*configv1.Parameter{{Name: "x", Template: "{{range .Invoice.PaymentReferences}}" + strings.Repeat("{{.|lower}}", 16) + "{{end}}"}}
					n.Actions = append(n.Actions, a)
				}
				s.Notifications = []*configv1.Notification{n}
			}))
			references := make([]string, tc.elements)
			for i := range references {
				references[i] = "R"
			}
			p.append(&event.Event{
				ID: "1", Source: "billing", Type: "invoice.posted", Tenant: "acme", Subject: "account/1", Time: p.now,
				Data: &eventv1.DocumentChanged{Document: &eventv1.Document{Id: "i-1", PaymentReferences: references}},
			})
			p.run()
			ds := p.decisions()
			if n := len(p.deliveries()); n != tc.planned || n == 20 != (len(ds) == 0) {
				t.Fatalf("planned %d, decided %v", n, ds)
			}
			if len(ds) > 0 && (ds[0].GetReason() != triggerv1.Decision_REASON_FAN_OUT || ds[0].GetAction() != "a03" || ds[0].GetCount() != 17) {
				t.Errorf("decided %v", ds)
			}
		})
	}
}

// The figures that the documents have.
func TestBounds_AreThoseOfTheDocuments(t *testing.T) {
	deliveries := fmt.Sprintf("%d,%03d", maxPlanned/1000, maxPlanned%1000)
	for path, want := range map[string][]string{
		"../../deploy/docs/notifications.md": {
			fmt.Sprintf("| one event | %s deliveries, %d MiB of them; what is above is one decision `FAN_OUT` on `triggers.decisions`, with a count |", deliveries, maxBytes>>20),
			fmt.Sprintf("| one event | %d states of notifications, 512 KiB of them;", fold.MaxRules),
		},
		"../../deploy/docs/reference/grpc.md": {
			fmt.Sprintf("| `REASON_FAN_OUT` | %d | The event leads to more than %s deliveries, or %d MiB of them,", triggerv1.Decision_REASON_FAN_OUT, deliveries, maxBytes>>20),
			fmt.Sprintf("| `REASON_TOO_LARGE` | %d | The rendered body would be larger than %d KiB. |", triggerv1.Decision_REASON_TOO_LARGE, channel.MaxBody>>10),
		},
	} {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range want {
			if !strings.Contains(string(page), line) {
				t.Errorf("%s does not have %q", path, line)
			}
		}
	}
}
