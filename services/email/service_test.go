package email

import (
	"mime"
	"slices"
	"strings"
	"testing"
	"time"

	server "github.com/emersion/go-smtp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// One event, a notification with two actions: users by role, a fixed address and the contact by one profile, in order; the
// operations centre by the tenant's default.
func TestRun_NotificationReachesEachRecipientByItsProfile(t *testing.T) {
	onServers(t, func(f *fixture) {
		billing, noc := newMailServer(f), newMailServer(f)
		f.tenant(billing.port, noc.port)
		named := f.store("billing", billing.profile(), nil)
		f.store("noc", noc.profile(), func(p *configv1.SmtpProfile) {
			p.FromAddress, p.FromName, p.ReturnPath, p.ReplyTo = "noc@operator.example", "", "bounces@operator.example", "desk@operator.example"
		})
		tenant := must[*configv1.Tenant](f)(f.tenants.GetTenant(f.ctx, &configv1.GetTenantRequest{Name: "tenants/sample"}))
		tenant.DefaultSmtpProfile = "noc"
		must[*configv1.Tenant](f)(f.tenants.UpdateTenant(f.ctx, &configv1.UpdateTenantRequest{Tenant: tenant}))
		for id, role := range map[string]string{"ana": "billing", "bob": "billing", "eva": "sales"} {
			must[*configv1.User](f)(f.users.CreateUser(f.ctx, &configv1.CreateUserRequest{User: &configv1.User{
				Name: "tenants/sample/users/" + id, Address: id + "@example.com", Language: "es", TimeZone: "Europe/Madrid", Roles: []string{role},
			}}))
		}
		stored := must[*configv1.Notification](f)(f.notifications.CreateNotification(f.ctx, &configv1.CreateNotificationRequest{Notification: &configv1.Notification{
			Name: "tenants/sample/notifications/invoices", Active: true, Trigger: &configv1.Trigger{EventTypes: []string{"invoice.posted"}},
			Actions: []*configv1.Action{
				{Name: "customer", Ordered: proto.Bool(true), Action: &configv1.Action_Email{Email: &configv1.EmailAction{
					SmtpProfile: named, Subject: "Invoice {{.Invoice.Number}}: {{.Invoice.Total | money}}", Html: "<p>Dear <b>{{.Contact.Name}}</b></p>",
					Recipients: &configv1.EmailRecipients{Roles: []string{"billing"}, Addresses: []string{"archive@operator.example"}, Contacts: []string{"{{.Contact.Email}}"}},
				}}},
				{Name: "centre", Action: &configv1.Action_Email{Email: &configv1.EmailAction{
					Subject: "Posted {{.Invoice.Number}}", Text: "by {{.Account.Name}}", Recipients: &configv1.EmailRecipients{Addresses: []string{"centre@operator.example"}},
				}}},
			},
		}}))
		r := f.start()
		f.startTrigger(stored.GetMetadata().GetRevision())
		for _, number := range []string{"1", "2"} {
			f.publish(&event.Event{
				ID: number, Source: "billing", Type: "invoice.posted", Tenant: "sample", Subject: "account/1", Time: time.Now().UTC().Truncate(time.Millisecond),
				Data: &eventv1.DocumentChanged{
					Account:  &eventv1.Account{Name: "Acme"},
					Document: &eventv1.Document{Number: number, Total: &money.Money{CurrencyCode: "EUR", Units: 1234, Nanos: 500_000_000}},
					Contact:  &eventv1.Contact{Name: "Zoë & Co", Email: "zoe@example.net"},
				},
			})
		}
		all := f.attempts(settled(10))
		ids := map[string]*deliveryv1.Attempt{}
		for _, a := range all {
			if a.GetSettlement() != deliveryv1.Settlement_SETTLEMENT_DELIVERED || a.GetStatus() != 250 || a.GetNumber() != 1 || len(a.GetSteps()) < 4 || a.GetPhases().GetTotal() == nil {
				t.Errorf("attempt %v", a)
			}
			ids["<"+a.GetDelivery()+"@operator.example>"] = a
		}
		if len(all) != 10 || len(ids) != 10 {
			t.Errorf("%d attempts of %d deliveries", len(all), len(ids))
		}
		got, subjects := billing.received(f, 8), map[string][]string{}
		for _, m := range got {
			subjects[m.to] = append(subjects[m.to], must[string](f)(new(mime.WordDecoder).DecodeHeader(header(m.text, "Subject"))))
			a := ids[header(m.text, "Message-ID")]
			if a == nil || a.GetEndpoint() != named || a.GetSequence() == 0 || m.from != "billing@operator.example" {
				t.Errorf("from %s, of attempt %v:\n%s", m.from, a, m.text)
			}
			for _, want := range []string{"From: \"Operator\" <billing@operator.example>", "Auto-Submitted: auto-generated", "multipart/alternative", "Zo=C3=AB &amp; Co</b>", "Zo=C3=AB & Co"} {
				if !strings.Contains(m.text, want) {
					t.Errorf("%q is not in\n%s", want, m.text)
				}
			}
		}
		for to, amount := range map[string]string{
			"ana@example.com": "1234,50\u00a0€", "bob@example.com": "1234,50\u00a0€", "archive@operator.example": "€1,234.50", "zoe@example.net": "€1,234.50",
		} {
			if got := subjects[to]; !slices.Equal(got, []string{"Invoice 1: " + amount, "Invoice 2: " + amount}) {
				t.Errorf("%s received %q", to, got)
			}
		}
		for _, m := range noc.received(f, 2) {
			if m.to != "centre@operator.example" || m.from != "bounces@operator.example" || header(m.text, "From") != "<noc@operator.example>" ||
				header(m.text, "Reply-To") != "<desk@operator.example>" || !strings.Contains(m.text, "by Acme") {
				t.Errorf("%+v", m)
			}
		}
		if err := r.stop(); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

var greylisted = refusal{450, server.EnhancedCode{4, 2, 0}, "greylisted"}

// Greylisting holds the ordering key of its recipient, and nothing else; the wait outlives a restart.
func TestRun_GreylistedRecipientHoldsNobodyElse(t *testing.T) {
	onServers(t, func(f *fixture) {
		m := newMailServer(f)
		m.answer = func(at, who string, n int) refusal {
			if at == "RCPT" && who == "grey@mail.example" && n == 1 {
				return greylisted
			}
			return refusal{}
		}
		f.tenant(m.port)
		name := f.store("billing", m.profile(), nil)
		grey, other := ordered(t, name, "grey@mail.example", 2), ordered(t, name, "ana@mail.example", 3)
		alone := newDelivery(t, name, "x", "eva@mail.example")
		r := f.start()
		f.plan(append(append(grey, other...), alone)...)
		all := f.attempts(func(all []*deliveryv1.Attempt) bool { return settled(4)(all) && len(of(grey[0], all)) == 1 })
		first := of(grey[0], all)[0]
		// It is counted from the attempt's end.
		if wait := first.GetNextAttempt().AsTime().Sub(first.GetStarted().AsTime()) - first.GetPhases().GetTotal().AsDuration(); wait < 48*time.Second || wait > 61*time.Second {
			t.Errorf("repeated after %s", wait)
		}
		if first.GetStatus() != 450 || first.GetEnhancedStatus() != "4.2.0" || first.GetErrorClass() != "reply" || first.GetFault() != deliveryv1.Fault_FAULT_RECIPIENT || first.GetUncounted() {
			t.Errorf("attempt %v", first)
		}
		for i, got := range m.received(f, 4) {
			if got.to == "grey@mail.example" {
				t.Errorf("message %d is one that waits: %v", i, got)
			}
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		f.ahead = 61 * time.Second
		f.start()
		again := f.settlement(grey[1])
		both := f.settlement(grey[0])
		if len(again) != 1 || len(both) != 2 || both[1].GetNumber() != 2 || both[1].GetSettlement() != deliveryv1.Settlement_SETTLEMENT_DELIVERED {
			t.Errorf("attempts of the first %v, of the second %v", both, again)
		}
		got := m.received(f, 6)
		if len(got) != 6 || header(got[4].text, "Message-ID") != "<"+grey[0].ID+"@operator.example>" || header(got[5].text, "Message-ID") != "<"+grey[1].ID+"@operator.example>" {
			t.Errorf("received %v", got[4:])
		}
	})
}

var noMailboxHere = refusal{550, server.EnhancedCode{5, 1, 1}, "no such mailbox"}

// A refusal for good is a dead letter; where the mailbox does not exist the configuration has the address, and the next
// delivery to it is cancelled without a dead letter, until the suppression is deleted.
func TestRun_AddressThatDoesNotExistIsSuppressed(t *testing.T) {
	onServers(t, func(f *fixture) {
		m := newMailServer(f)
		m.answer = func(at, who string, _ int) refusal {
			switch {
			case at == "RCPT" && strings.EqualFold(who, "gone+x@mail.example"):
				return noMailboxHere
			case at == "RCPT" && who == "blocked@mail.example":
				return refusal{550, server.EnhancedCode{5, 7, 1}, "your network is blocked"}
			}
			return refusal{}
		}
		f.tenant(m.port)
		name := f.store("billing", m.profile(), nil)
		list := must[configv1.ConfigWatchService_WatchSuppressionsClient](f)(f.watching.WatchSuppressions(f.ctx, &configv1.WatchSuppressionsRequest{}))
		f.start()
		gone, blocked := newDelivery(t, name, "1", "gone+x@mail.example"), newDelivery(t, name, "1", "blocked@mail.example")
		f.plan(gone, blocked)
		for _, d := range []*deliveryv1.Attempt{f.settlement(gone)[0], f.settlement(blocked)[0]} {
			if d.GetSettlement() != deliveryv1.Settlement_SETTLEMENT_DEAD || d.GetReason() != "refused" || d.GetNumber() != 1 || d.GetStatus() != 550 || d.GetFault() != deliveryv1.Fault_FAULT_RECIPIENT {
				t.Errorf("attempt %v", d)
			}
		}
		const suppression = "tenants/sample/suppressions/gone%2Bx%40mail.example"
		for added := []string(nil); len(added) == 0; {
			if added = must[*configv1.WatchSuppressionsResponse](f)(list.Recv()).GetAdded(); len(added) > 0 && (len(added) > 1 || added[0] != suppression) {
				t.Errorf("suppressed %v", added)
			}
		}
		stored := must[*configv1.Suppression](f)(f.suppressions.GetSuppression(f.ctx, &configv1.GetSuppressionRequest{Name: suppression}))
		if stored.GetSource() != "email" || !strings.Contains(stored.GetReason(), "550 5.1.1 no such mailbox") || stored.GetAddress() != "gone+x@mail.example" || stored.GetTime() == nil {
			t.Errorf("stored %v", stored)
		}

		next := newDelivery(t, name, "2", "Gone+X@MAIL.example")
		f.plan(next)
		cancelled := f.settlement(next)
		if a := cancelled[0]; len(cancelled) != 1 || a.GetSettlement() != deliveryv1.Settlement_SETTLEMENT_CANCELLED || a.GetReason() != "suppressed" || len(a.GetSteps()) != 0 {
			t.Errorf("attempts %v", cancelled)
		}
		if n := m.times("RCPT", "gone+x@mail.example") + m.times("RCPT", "Gone+X@mail.example"); n != 1 {
			t.Errorf("the server was asked %d times", n)
		}
		if dead := f.dead(); !dead[gone.ID] || !dead[blocked.ID] || dead[next.ID] {
			t.Errorf("dead letters %v", dead)
		}

		m.respond(func(string, string, int) refusal { return refusal{} })
		must[*configv1.Suppression](f)(f.suppressions.DeleteSuppression(f.ctx, &configv1.DeleteSuppressionRequest{Name: suppression}))
		// The service gets to know it after a while; each delivery before that is cancelled.
		for n := 0; ; n++ {
			d := newDelivery(t, name, "again"+string(rune('a'+n%26))+string(rune('a'+n/26%26)), "gone+x@mail.example")
			f.plan(d)
			if last := f.settlement(d); last[0].GetSettlement() == deliveryv1.Settlement_SETTLEMENT_DELIVERED {
				break
			}
		}
	})
}

// A server that closes its service is the profile's failure: no delivery uses an attempt, a neighbour is not disturbed, and
// what waits goes by the profile as it is edited.
func TestRun_ProfileThatFailsUsesNoAttempt(t *testing.T) {
	onServers(t, func(f *fixture) {
		closing, good, other := newMailServer(f), newMailServer(f), newMailServer(f)
		closing.answer = func(at, _ string, _ int) refusal {
			if at == "RCPT" {
				return refusal{421, server.EnhancedCode{4, 7, 0}, "too many connections"}
			}
			return refusal{}
		}
		f.tenant(closing.port, good.port, other.port)
		failing := f.store("failing", closing.profile(), nil)
		healthy := f.store("healthy", good.profile(), nil)
		f.start()
		waits := newDelivery(t, failing, "1", "ana@mail.example")
		f.plan(waits)
		first := of(waits, f.attempts(func(all []*deliveryv1.Attempt) bool { return len(of(waits, all)) == 1 }))[0]
		if !first.GetUncounted() || first.GetNumber() != 1 || first.GetStatus() != 421 || first.GetErrorClass() != "reply" || first.GetFault() != deliveryv1.Fault_FAULT_RECEIVER || first.GetSettlement() != 0 {
			t.Errorf("attempt %v", first)
		}
		for n := range 20 {
			f.plan(newDelivery(t, healthy, "h"+string(rune('a'+n)), "ana@mail.example"))
		}
		good.received(f, 20)
		all := f.attempts(settled(20))
		for _, a := range all {
			if a.GetEndpoint() == healthy && (a.GetNumber() != 1 || a.GetStatus() != 250) {
				t.Errorf("the neighbour's attempt %v", a)
			}
		}
		for { // reports are of a second at most
			p := must[*configv1.SmtpProfile](f)(f.profiles.GetSmtpProfile(f.ctx, &configv1.GetSmtpProfileRequest{Name: failing}))
			if h := p.GetHealth(); h.GetState() == configv1.EndpointState_ENDPOINT_STATE_FAILING {
				if h.GetLastStatus() != 421 || h.GetFailures() == 0 || h.GetWaiting() != 1 || h.GetActivation() != 1 {
					t.Errorf("health %v", h)
				}
				break
			}
		}
		must[*configv1.SmtpProfile](f)(f.profiles.UpdateSmtpProfile(f.ctx, &configv1.UpdateSmtpProfileRequest{SmtpProfile: func() *configv1.SmtpProfile {
			p := other.profile()
			p.Name, p.FromAddress, p.Status = failing, "accounts@operator.example", 0
			return p
		}()}))
		attempts := f.settlement(waits)
		last := attempts[len(attempts)-1]
		if last.GetNumber() != 1 || last.GetUncounted() || last.GetSettlement() != deliveryv1.Settlement_SETTLEMENT_DELIVERED {
			t.Errorf("attempts %v", attempts)
		}
		// The sender is that of now, the message that of before.
		if got := other.received(f, 1)[0]; got.from != "accounts@operator.example" || header(got.text, "Message-ID") != "<"+waits.ID+"@operator.example>" {
			t.Errorf("%+v", got)
		}
	})
}
