package trigger

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel/channeltest"
	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// mailed are the e-mails planned so far.
func (p *partition) mailed() (ds []*delivery.Delivery, planned []*email.Planned) {
	p.t.Helper()
	for _, r := range p.out {
		if r.Topic != email.Channel.Topic {
			continue
		}
		d, err := delivery.Decode(r)
		if err != nil {
			p.t.Fatal(err)
		}
		m, err := email.ReadPlanned(d.ContentType, d.Body)
		if err != nil {
			p.t.Fatal(err)
		}
		ds, planned = append(ds, d), append(planned, m)
	}
	return ds, planned
}

// mailing is a configuration whose only notification sends e-mail about invoices.
func mailing(to *configv1.EmailRecipients, edit func(*configv1.Snapshot, *configv1.Action)) *configv1.Snapshot {
	return snapshot(1, func(s *configv1.Snapshot) {
		a := &configv1.Action{Name: "mail", Action: &configv1.Action_Email{Email: &configv1.EmailAction{
			Subject: "Invoice {{.Invoice.Number}}: {{.Invoice.Total | money}}", Text: "{{.Event.Time | datetime}}", Html: "<p>{{.Contact.Name}}</p>", Recipients: to,
		}}}
		s.Tenants[0].DefaultSmtpProfile, s.Tenants[0].TimeZone = "main", "Europe/Madrid"
		s.SmtpProfiles = []*configv1.SmtpProfile{
			{Name: "tenants/acme/smtpProfiles/main", Host: "mail.example", FromAddress: "billing@operator.example"},
			{Name: "tenants/acme/smtpProfiles/draft", Host: "mail.example", FromAddress: "x@draft.example", Status: configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT},
		}
		s.Users = []*configv1.User{
			{Name: "tenants/acme/users/ana", DisplayName: "Ana", Address: "ana@example.com", Language: "es", TimeZone: "Europe/Madrid", Roles: []string{"billing", "admin", "billing"}},
			{Name: "tenants/acme/users/bob", DisplayName: "Bob", Address: "bob@example.com", Language: "en-US", TimeZone: "America/Los_Angeles", Roles: []string{"billing"}},
		}
		s.Notifications = []*configv1.Notification{rule("invoices", []string{"invoice.posted"}, "", a)}
		if edit != nil {
			edit(s, a)
		}
	})
}

func invoiced(p *partition, id string, contact *eventv1.Contact) *event.Event {
	return &event.Event{
		ID: id, Source: "billing", Type: "invoice.posted", Tenant: "acme", Subject: "account/1", Time: p.now,
		Data: &eventv1.DocumentChanged{Document: &eventv1.Document{Number: id, Total: channeltest.EUR(1234, 500_000_000)}, Contact: contact},
	}
}

func TestRecipients_EachHasADeliveryOfItsOwn(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(mailing(&configv1.EmailRecipients{
		Roles: []string{"billing", "admin"}, Addresses: []string{"BOB@example.com", "noc@operator.example"}, Contacts: []string{"{{.Contact.Email}}"},
	}, nil))
	p.append(invoiced(p, "1", &eventv1.Contact{Name: "Zoë", Email: "zoe@example.com"}))
	p.run()
	ds, planned := p.mailed()
	want := map[string]string{
		"ana@example.com": "Invoice 1: 1234,50\u00a0€", "bob@example.com": "Invoice 1: €1,234.50", "noc@operator.example": "Invoice 1: €1,234.50", "zoe@example.com": "Invoice 1: €1,234.50",
	}
	local := map[string]string{
		"ana@example.com": "1 mar. 2026, 1:00", "bob@example.com": "Feb 28, 2026, 4:00 pm", "noc@operator.example": "Mar 1, 2026, 1:00 am", "zoe@example.com": "Mar 1, 2026, 1:00 am",
	}
	ids := map[string]bool{}
	for i, d := range ds {
		ids[d.ID] = true
		if want[d.Recipient] != planned[i].Subject || local[d.Recipient] != planned[i].Text || d.Endpoint != "tenants/acme/smtpProfiles/main" || planned[i].Domain != "operator.example" || d.Ordered || d.Sequence != 0 {
			t.Errorf("%s: %q %q of %+v", d.Recipient, planned[i].Subject, planned[i].Text, d)
		}
	}
	if len(ds) != len(want) || len(ids) != len(want) || len(p.decisions()) != 0 {
		t.Errorf("planned %d with %d ids, decided %v", len(ds), len(ids), p.decisions())
	}
}

// Whoever can't be reached is a Decision, and the others get theirs.
func TestRecipients_WhoCannotBeReachedIsADecision(t *testing.T) {
	contact := &configv1.EmailRecipients{Contacts: []string{"{{.Contact.Email}}"}}
	for name, tc := range map[string]struct {
		to      *configv1.EmailRecipients
		edit    func(*configv1.Snapshot, *configv1.Action)
		address string
		planned int
		reason  triggerv1.Decision_Reason
		count   int64
	}{
		"two addresses in one":   {contact, nil, "a@b.example, c@d.example", 0, triggerv1.Decision_REASON_INVALID_RECIPIENT, 1},
		"a header in an address": {contact, nil, "a@b.example\r\nBcc: c@d.example", 0, triggerv1.Decision_REASON_INVALID_RECIPIENT, 1},
		"no contact":             {contact, nil, "", 0, triggerv1.Decision_REASON_NO_RECIPIENT, 0},
		"no user has the role":   {&configv1.EmailRecipients{Roles: []string{"noc"}}, nil, "", 0, triggerv1.Decision_REASON_NO_RECIPIENT, 0},
		"a contact that is none beside users": {
			&configv1.EmailRecipients{Roles: []string{"billing"}, Contacts: []string{"{{.Contact.Email}}"}}, nil, "nobody", 2, triggerv1.Decision_REASON_INVALID_RECIPIENT, 1,
		},
		"no contact beside users": {&configv1.EmailRecipients{Roles: []string{"billing"}, Contacts: []string{"{{.Contact.Email}}"}}, nil, "", 2, 0, 0},
		"no profile":              {contact, func(s *configv1.Snapshot, _ *configv1.Action) { s.Tenants[0].DefaultSmtpProfile = "" }, "a@b.example", 0, 0, 0},
		"a profile that is a draft": {contact, func(_ *configv1.Snapshot, a *configv1.Action) {
			a.GetEmail().SmtpProfile = "tenants/acme/smtpProfiles/draft"
		}, "a@b.example", 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			p.configure(mailing(tc.to, tc.edit))
			p.append(invoiced(p, "1", &eventv1.Contact{Email: tc.address}))
			p.run()
			ds, _ := p.mailed()
			decided := p.decisions()
			if len(ds) != tc.planned || len(decided) != min(int(tc.reason), 1) {
				t.Fatalf("planned %d, decided %v", len(ds), decided)
			}
			if tc.reason == 0 {
				return
			}
			d := decided[0]
			if d.GetReason() != tc.reason || d.GetCount() != tc.count || d.GetAction() != "mail" || d.GetEndpoint() != "tenants/acme/smtpProfiles/main" ||
				tc.address != "" && strings.Contains(d.GetDetail(), tc.address) {
				t.Errorf("decided %v", d)
			}
		})
	}
}

// A body, a subject or a link beyond its bound is a Decision that names it; the other notifications about the event, and the
// events behind it, get theirs.
func TestRecipients_WhatIsTooLargeIsADecision(t *testing.T) {
	for name, tc := range map[string]struct {
		edit     func(*configv1.EmailAction)
		document *eventv1.Document
		detail   string
	}{
		"html":           {func(a *configv1.EmailAction) { a.Html = "{{range .Invoice.PaymentReferences}}<p>{{.}}</p>{{end}}" }, &eventv1.Document{PaymentReferences: slices.Repeat([]string{strings.Repeat("x", 3000)}, 100)}, "body"},
		"a list":         {func(a *configv1.EmailAction) { a.Html = "{{range .Invoice.PaymentReferences}}<p>{{.}}</p>{{end}}" }, &eventv1.Document{PaymentReferences: slices.Repeat([]string{"x"}, 1001)}, "list"},
		"a subject":      {func(a *configv1.EmailAction) { a.Subject = "{{.Invoice.Number}}" }, &eventv1.Document{Number: strings.Repeat("x", 17<<10)}, "subject"},
		"an unsubscribe": {func(a *configv1.EmailAction) { a.ListUnsubscribe = "https://portal.example/{{.Invoice.Number}}" }, &eventv1.Document{Number: strings.Repeat("é", 200)}, "link"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			p.configure(mailing(&configv1.EmailRecipients{Addresses: []string{"a@b.example"}}, func(s *configv1.Snapshot, a *configv1.Action) {
				other := proto.CloneOf(s.Notifications[0])
				other.Name = "tenants/acme/notifications/zz-other"
				other.Actions[0].GetEmail().Subject = "Posted"
				s.Notifications = append(s.Notifications, other)
				tc.edit(a.GetEmail())
			}))
			large := invoiced(p, "1", nil)
			large.Data.(*eventv1.DocumentChanged).Document = tc.document
			p.append(large, invoiced(p, "2", nil))
			p.run()
			ds, _ := p.mailed()
			decided := p.decisions()
			if len(ds) != 3 || len(decided) != 1 || decided[0].GetReason() != triggerv1.Decision_REASON_TOO_LARGE || decided[0].GetNotification() != "invoices" ||
				!strings.Contains(decided[0].GetDetail(), tc.detail) || strings.Contains(decided[0].GetDetail(), "xxx") {
				t.Errorf("planned %d, decided %v", len(ds), decided)
			}
		})
	}
}

// An ordered action orders the e-mails of one recipient: whoever is greylisted holds back nobody else.
func TestRecipients_OrderIsThatOfOneRecipient(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(mailing(&configv1.EmailRecipients{Roles: []string{"billing"}}, func(_ *configv1.Snapshot, a *configv1.Action) { a.Ordered = proto.Bool(true) }))
	p.append(invoiced(p, "1", nil), invoiced(p, "2", nil))
	p.run()
	ds, _ := p.mailed()
	if len(ds) != 4 {
		t.Fatalf("planned %d", len(ds))
	}
	for i, d := range ds[2:] {
		first := ds[i]
		if d.Recipient != first.Recipient || first.Sequence != 1 || d.Sequence != 2 || d.Previous != first.ID {
			t.Errorf("%+v after %+v", d, first)
		}
	}
}

// A role of more users than one event may lead to deliveries: the rest is one Decision with a count.
func TestRecipients_OfALargeRoleAreBounded(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(mailing(&configv1.EmailRecipients{Roles: []string{"all"}}, func(s *configv1.Snapshot, _ *configv1.Action) {
		for i := range maxPlanned + 500 {
			s.Users = append(s.Users, &configv1.User{Name: fmt.Sprintf("tenants/acme/users/u%04d", i), Address: fmt.Sprintf("u%d@example.com", i), Roles: []string{"all"}})
		}
	}))
	p.append(invoiced(p, "1", nil))
	p.run()
	ds, _ := p.mailed()
	decided := p.decisions()
	if len(ds) != maxPlanned || len(decided) != 1 || decided[0].GetReason() != triggerv1.Decision_REASON_FAN_OUT || decided[0].GetCount() != 500 {
		t.Errorf("planned %d, decided %v", len(ds), decided)
	}
}

// The tenant's default is another one from a revision on: what is planned from there on goes to it.
func TestDefaultTarget_IsThatOfTheRevision(t *testing.T) {
	p := newPartition(t, "events.ordered")
	to := &configv1.EmailRecipients{Addresses: []string{"a@b.example"}}
	p.configure(mailing(to, nil))
	p.append(invoiced(p, "1", nil))
	second := mailing(to, func(s *configv1.Snapshot, _ *configv1.Action) {
		s.Tenants[0].DefaultSmtpProfile = "other"
		s.SmtpProfiles = append(s.SmtpProfiles, &configv1.SmtpProfile{Name: "tenants/acme/smtpProfiles/other", FromAddress: "x@other.example"})
	})
	second.Revision, second.ApplyRevision = 2, 2
	p.configure(second)
	p.append(invoiced(p, "2", nil))
	p.run()
	ds, planned := p.mailed()
	if len(ds) != 2 || ds[0].Endpoint != "tenants/acme/smtpProfiles/main" || ds[1].Endpoint != "tenants/acme/smtpProfiles/other" || planned[1].Domain != "other.example" {
		t.Errorf("%+v", ds)
	}
}

// The admins of a tenant with a default profile hear that an endpoint fails or is suspended; not by the profile that fails.
func TestBuiltIn_AdminsHearOfAnEndpointThatFails(t *testing.T) {
	failing := func(p *partition, id, kind, endpoint string) *event.Event {
		return &event.Event{
			ID: id, Source: "tollgate/webhook", Type: kind, Tenant: "acme", Subject: "endpoint/main", Time: p.now,
			Data: &eventv1.EndpointChanged{Endpoint: endpoint, Reason: "failing", LastAnswer: "503", Failures: 25, Percent: 50, FailingSince: timestamppb.New(p.now)},
		}
	}
	for name, tc := range map[string]struct {
		edit   func(*configv1.Snapshot, *configv1.Action)
		want   int
		reason triggerv1.Decision_Reason
	}{
		"a default profile":       {nil, 2, 0},
		"none":                    {func(s *configv1.Snapshot, _ *configv1.Action) { s.Tenants[0].DefaultSmtpProfile = "" }, 0, 0},
		"nobody is of role admin": {func(s *configv1.Snapshot, _ *configv1.Action) { s.Users = nil }, 0, triggerv1.Decision_REASON_NO_RECIPIENT},
		"one of its own beside it": {func(s *configv1.Snapshot, a *configv1.Action) {
			s.Notifications[0].Trigger.EventTypes = []string{"endpoint.failing"}
			a.GetEmail().Subject, a.GetEmail().Html = "x", "y"
		}, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			p.configure(mailing(&configv1.EmailRecipients{Addresses: []string{"noc@operator.example"}}, tc.edit))
			p.append(
				failing(p, "1", "endpoint.failing", "tenants/acme/endpoints/main"), failing(p, "2", "endpoint.suspended", "tenants/acme/endpoints/main"),
				failing(p, "3", "endpoint.failing", "tenants/acme/smtpProfiles/main"), failing(p, "4", "endpoint.reactivated", "tenants/acme/endpoints/main"),
			)
			p.run()
			ds, planned := p.mailed()
			if len(ds) != tc.want {
				t.Fatalf("planned %d: %+v", len(ds), ds)
			}
			for _, d := range p.decisions() {
				if d.GetReason() != tc.reason {
					t.Errorf("decided %v", d)
				}
			}
			if tc.want != 2 {
				return
			}
			if ds[0].Recipient != "ana@example.com" || ds[0].Notification != "built-in:endpoint-health" || planned[0].Subject != "Acme Mobile: tenants/acme/endpoints/main fails" ||
				planned[1].Subject != "Acme Mobile: tenants/acme/endpoints/main is suspended" || !strings.Contains(planned[0].Text, "at 50 % of the way") || !strings.Contains(planned[0].Text, "Last answer: 503\n") {
				t.Errorf("%+v\n%+v", ds[0], planned[0])
			}
		})
	}
}
