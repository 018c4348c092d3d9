package trigger

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// Quiet hours are those of each recipient; a legal notice has none, and replaces nothing.
func TestTiming_IsPlannedForEachRecipient(t *testing.T) {
	for name, legal := range map[string]bool{"a notification": false, "a legal notice": true} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			p.configure(mailing(&configv1.EmailRecipients{Roles: []string{"billing"}, Addresses: []string{"noc@operator.example"}}, func(s *configv1.Snapshot, a *configv1.Action) {
				a.Quiet = &configv1.QuietHours{Hours: []*configv1.Hours{{Start: "22:00", End: "08:00"}}, TimeZone: "Asia/Tokyo"}
				a.Collapse = "{{.Invoice.Number}}"
				a.ExpiresAfter = durationpb.New(20 * time.Hour)
				s.Users = append(s.Users, &configv1.User{Name: "tenants/acme/users/eve", Address: "eve@example.com", Roles: []string{"billing"}})
				s.Notifications[0].LegalNotice = legal
			}))
			p.pass(5 * time.Hour) // 6 in Madrid, 21 in Los Angeles, 14 in Tokyo
			p.append(invoiced(p, "1", &eventv1.Contact{}))
			p.pass(90 * time.Minute)
			p.append(invoiced(p, "2", &eventv1.Contact{}))
			p.run()
			want := map[string]string{
				"1 ana@example.com": "2026-03-01T07:00:00Z", "2 ana@example.com": "2026-03-01T07:00:00Z",
				"1 bob@example.com": "", "2 bob@example.com": "2026-03-01T16:00:00Z",
				// Of those whose zone is not known, by the action's.
				"1 eve@example.com": "", "2 eve@example.com": "", "1 noc@operator.example": "", "2 noc@operator.example": "",
			}
			ds, _ := p.mailed()
			if len(ds) != len(want) || len(p.decisions()) != 0 {
				t.Fatalf("planned %d, decided %v", len(ds), p.decisions())
			}
			for _, d := range ds {
				quiet := ""
				if !d.NotBefore.IsZero() {
					quiet = d.NotBefore.Format(time.RFC3339)
				}
				wanted := want[d.Event.ID+" "+d.Recipient]
				collapse := d.Event.ID + "\n" + d.Recipient
				if legal {
					wanted, collapse = "", ""
				}
				if quiet != wanted || d.Collapse != collapse || !d.ExpiresAt.Equal(d.PlannedAt.Add(20*time.Hour)) {
					t.Errorf("%s of %s: not before %q, want %q; collapse %q; expires %s", d.Event.ID, d.Recipient, quiet, wanted, d.Collapse, d.ExpiresAt)
				}
			}
		})
	}
}

// A collapse that can't be kept is held back, and takes no position.
func TestTiming_CollapseWithoutAnEndIsTooLarge(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, func(s *configv1.Snapshot) { s.Notifications[0].Actions[0].Collapse = "{{.Usage.Service}}" }))
	large := usage("u-1", "44", 5, epoch)
	large.Data.(*eventv1.UsageCharged).Service = strings.Repeat("x", 2000)
	p.append(large, usage("u-2", "44", 5, epoch))
	p.run()
	if ds := p.deliveries(); len(ds) != 1 || ds[0].Event.ID != "u-2" || ds[0].Sequence != 1 || ds[0].Collapse != "" {
		t.Errorf("planned %v", places(ds))
	}
	if ds := p.decisions(); len(ds) != 1 || ds[0].GetReason() != triggerv1.Decision_REASON_TOO_LARGE || !strings.Contains(ds[0].GetDetail(), "collapse takes 2000 bytes, at most 1024") {
		t.Errorf("decided %v", ds)
	}
}
