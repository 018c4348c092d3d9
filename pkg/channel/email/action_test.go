package email_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/channeltest"
	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rules"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

const profileName = "tenants/sample/smtpProfiles/main"

// notification has one action that sends e-mail about invoices.
func notification(action *configv1.EmailAction) *configv1.Notification {
	return &configv1.Notification{
		Name: "tenants/sample/notifications/n", Active: true, Trigger: &configv1.Trigger{EventTypes: []string{"invoice.posted"}},
		Actions: []*configv1.Action{{Name: "mail", Action: &configv1.Action_Email{Email: action}}},
	}
}

func posted(id string, d *eventv1.DocumentChanged) *event.Event {
	at := time.Date(2027, 1, 15, 23, 30, 0, 0, time.UTC)
	return &event.Event{ID: id, Source: "billing", Type: "invoice.posted", Tenant: "sample", Subject: "account/1", Time: at, ReceivedAt: at, Data: d}
}

func violations(n *configv1.Notification) []string {
	var out []string
	for _, v := range fault.ViolationsOf(rules.Validate(n, channel.List{email.Channel}, nil)) {
		out = append(out, v.String())
	}
	return out
}

// mail is what an action plans for one recipient, and its bytes.
type mail struct {
	channel.Recipient
	planned *email.Planned
	body    []byte
	raw     []byte
}

// plan has a notification's action plan for an event.
func plan(t testing.TB, n *configv1.Notification, o *rules.Occasion) ([]mail, channel.Recipients) {
	t.Helper()
	r, err := rules.Compile(rules.FromProto(n, channel.List{email.Channel}))
	if err != nil {
		t.Fatal(err)
	}
	profile, faults := email.Decode(&configv1.SmtpProfile{Name: profileName, Host: "127.0.0.1", FromAddress: "billing@operator.example", FromName: "Operator"})
	if faults != nil {
		t.Fatal(faults)
	}
	to := r.Recipients(r.Actions[0], o, profileName)
	var out []mail
	for _, recipient := range to.To {
		m, err := r.Render(r.Actions[0], o, profile.Planning(), recipient, channel.Position{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := email.ReadPlanned(m.ContentType, m.Body)
		if err != nil {
			t.Fatal(err)
		}
		b, err := email.Build(p, email.Sending{ID: "dlv_" + o.Event.ID, Planned: o.Event.Time, Now: o.Event.Time, From: profile.From})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, mail{recipient, p, m.Body, b.Bytes})
	}
	return out, to
}

func zone(t testing.TB, name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func user(t testing.TB, id, address, language, zoneName string) channel.User {
	return channel.User{Name: "tenants/sample/users/" + id, DisplayName: strings.ToUpper(id[:1]) + id[1:], Address: address, Language: language, Zone: zone(t, zoneName)}
}

func TestValidate_ListsEveryFault(t *testing.T) {
	valid := func(edit func(*configv1.EmailAction)) *configv1.EmailAction {
		a := &configv1.EmailAction{Subject: "x", Text: "y", Recipients: &configv1.EmailRecipients{Roles: []string{"billing"}}}
		edit(a)
		return a
	}
	for name, tc := range map[string]struct {
		action *configv1.EmailAction
		want   []string
	}{
		"the plain one is right": {valid(func(*configv1.EmailAction) {}), nil},
		"all of it is right": {valid(func(a *configv1.EmailAction) {
			a.SmtpProfile, a.Html, a.ReplyTo = profileName, "<p>{{.Contact.Name}}</p>", "{{.Account.Id}}@portal.example"
			a.ListUnsubscribe, a.ListUnsubscribePost = "https://portal.example/u?a={{.Account.Id}}", true
			a.Recipients.Addresses, a.Recipients.Contacts = []string{"Noc <noc@operator.example>"}, []string{"{{.Contact.Email}}"}
		}), nil},
		"html alone is enough": {valid(func(a *configv1.EmailAction) { a.Text, a.Html = "", "<p>x</p>" }), nil},
		"nothing is there": {&configv1.EmailAction{}, []string{
			"actions[0].email.recipients: must have a role, an address or a contact", "actions[0].email.subject: is required", "actions[0].email.text: or html is required",
		}},
		"everything wrong is listed at once": {valid(func(a *configv1.EmailAction) {
			a.SmtpProfile, a.Subject, a.Text, a.Html, a.ReplyTo = "tenants/other/smtpProfiles/x", "{{.Invoice.Totl}}", "{{.Usage.Net}}", `<a href="{{if .Invoice.Number}}">`, "no address"
			a.ListUnsubscribe, a.ListUnsubscribePost = "http://portal.example", true
			a.Recipients = &configv1.EmailRecipients{
				Roles: []string{"Billing", "noc", "noc"}, Addresses: []string{"a@b.example, c@d.example", "x@y.example", "X@Y.example"}, Contacts: []string{"", "nobody", "{{.Contact.Emial}}"},
			}
		}), []string{
			`smtp_profile: must be an SMTP profile of tenant "sample"`, "recipients.roles[0]: must be 1 to 63", "recipients.roles[2]: is there twice",
			"recipients.addresses[0]: is not exactly one address", "recipients.addresses[2]: is there twice", "recipients.contacts[0]: must not be empty", "recipients.contacts[1]: is not exactly one",
			"reply_to: is not exactly one address", `list_unsubscribe: must begin with "https://"`, "list_unsubscribe_post: must be with",
			"subject: INVALID_TOKEN: .Invoice.Totl does not exist for invoice.posted, the nearest that exists is .Invoice.Total",
			"text: INVALID_TOKEN: .Usage does not exist for invoice.posted", "html: text:1", "recipients.contacts[2]: INVALID_TOKEN: .Contact.Emial does not exist for invoice.posted, the nearest that exists is .Contact.Email",
		}},
		"texts have bounds": {valid(func(a *configv1.EmailAction) {
			a.Subject, a.Text, a.Html = strings.Repeat("x", 5000), strings.Repeat("x", 65537), strings.Repeat("x", 131073)
		}), []string{"subject: must be at most 4096 bytes", "text: must be at most 65536 bytes", "html: must be at most 131072 bytes"}},
		"a range without end": {valid(func(a *configv1.EmailAction) { a.Html = "{{range 1000000000}}x{{end}}" }), []string{"html: range over 1000000000"}},
		"texts cost too much": {valid(func(a *configv1.EmailAction) {
			a.Html = "{{range .Invoice.PaymentReferences}}" + strings.Repeat("{{.|upper}}", 40) + "{{end}}"
		}), []string{"actions[0].email: cost too much"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := violations(notification(tc.action))
			if len(got) != len(tc.want) {
				t.Fatalf("%q, want %q", got, tc.want)
			}
			for i, part := range tc.want {
				if !strings.Contains(got[i], part) {
					t.Errorf("%q lacks %q", got[i], part)
				}
			}
		})
	}
}

func TestOrder_IsThereOnlyWhereItIsAskedFor(t *testing.T) {
	yes := true
	n := notification(&configv1.EmailAction{Subject: "x", Text: "y", Recipients: &configv1.EmailRecipients{Roles: []string{"billing"}}})
	for _, asked := range []*bool{nil, &yes} {
		n.Actions[0].Ordered = asked
		r, err := rules.Compile(rules.FromProto(n, channel.List{email.Channel}))
		if err != nil || r.Actions[0].Ordered != (asked != nil) {
			t.Errorf("asked %v: %v, %v", asked, r.Actions[0].Ordered, err)
		}
	}
}

// The first of users, addresses and contacts stays, with its language and zone; one greylisted recipient holds back nobody.
func TestRecipients_AreComparedWithoutCase(t *testing.T) {
	n := notification(&configv1.EmailAction{Subject: "{{.Invoice.Total | money}}", Text: "{{.Event.Time | datetime}}", Recipients: &configv1.EmailRecipients{
		Roles: []string{"billing", "admin"}, Addresses: []string{"ANA@example.com", "Noc <noc@operator.example>", "zoe@example.com"}, Contacts: []string{"{{.Contact.Email}}", "{{.Account.Id}}"},
	}})
	users := map[string][]channel.User{
		"billing": {user(t, "ana", "ana@Example.com", "es", "Europe/Madrid"), user(t, "bad", "nobody", "es", "Europe/Madrid")},
		"admin":   {user(t, "ana", "ana@Example.com", "es", "Europe/Madrid"), user(t, "eva", "Ana@example.com", "de", "Europe/Berlin")},
	}
	o := &rules.Occasion{
		Event: posted("1", &eventv1.DocumentChanged{
			Account: &eventv1.Account{Id: "7", Language: "ja"}, Document: &eventv1.Document{Total: channeltest.EUR(5, 0)},
			Contact: &eventv1.Contact{Name: "Zoë", Email: "ZOE@example.com"},
		}),
		Zone: zone(t, "America/New_York"), Users: func(role string) []channel.User { return users[role] },
	}
	mails, to := plan(t, n, o)
	var got []string
	keys := map[string]bool{}
	for _, m := range mails {
		got = append(got, fmt.Sprintf("%s %s %q %q", m.ID, m.planned.To.Name, m.planned.Subject, m.planned.Text))
		keys[m.OrderingKey] = true
		if m.Address != m.ID || len(m.OrderingKey) > 63 {
			t.Errorf("%+v", m.Recipient)
		}
	}
	want := []string{
		`ana@example.com Ana "5,00\u00a0€" "16 ene. 2027, 0:30"`, `noc@operator.example Noc "€5.00" "Jan 15, 2027, 6:30 pm"`, `zoe@example.com  "€5.00" "Jan 15, 2027, 6:30 pm"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	// The user whose address is none, and the contact that is an id.
	if len(keys) != 3 || to.Invalid != 2 || to.Why == nil || !strings.Contains(to.Why.Error(), "users/bad is not exactly one address") {
		t.Errorf("keys %v, invalid %d: %v", keys, to.Invalid, to.Why)
	}
	// Alone the contact has its name, and reads the language of the event.
	n.Actions[0].GetEmail().Recipients = &configv1.EmailRecipients{Contacts: []string{"{{.Contact.Email}}"}}
	o.Event.Data.(*eventv1.DocumentChanged).Account.Language = "de"
	if mails, _ = plan(t, n, o); len(mails) != 1 || mails[0].planned.To.Name != "Zoë" || mails[0].planned.Subject != "5,00\u00a0€" {
		t.Errorf("%+v", mails)
	}
	// An event without one has no recipient, and none that is invalid.
	o.Event.Data.(*eventv1.DocumentChanged).Contact = nil
	if mails, to = plan(t, n, &rules.Occasion{Event: o.Event}); len(mails) != 0 || to.Invalid != 0 {
		t.Errorf("%+v %+v", mails, to)
	}
}

func TestRender_BreaksInHeadersBecomeOneBlank(t *testing.T) {
	n := notification(&configv1.EmailAction{
		Subject: "Invoice {{.Invoice.Number}}", Text: "{{.Invoice.Number}}", ReplyTo: "{{.Account.Name}}", ListUnsubscribe: "mailto:u@portal.example?subject={{.Invoice.Number}}",
		Recipients: &configv1.EmailRecipients{Contacts: []string{"{{.Contact.Email}}"}},
	})
	const evil = "7\r\nBcc: eva@example.com\u2028\x00\r\n\r\n<b>"
	mails, _ := plan(t, n, &rules.Occasion{Event: posted("1", &eventv1.DocumentChanged{
		Account: &eventv1.Account{Name: "a@b.example\r\nBcc: eva@example.com"}, Document: &eventv1.Document{Number: evil}, Contact: &eventv1.Contact{Name: evil, Email: "ana@example.com"},
	})})
	p := mails[0].planned
	if p.Subject != "Invoice 7 Bcc: eva@example.com <b>" || p.To.Name != "7 Bcc: eva@example.com <b>" || p.ReplyTo != nil ||
		p.ListUnsubscribe != "mailto:u@portal.example?subject=7%0D%0ABcc%3A%20eva%40example.com%E2%80%A8%00%0D%0A%0D%0A%3Cb%3E" {
		t.Errorf("%q %q %v %q", p.Subject, p.To.Name, p.ReplyTo, p.ListUnsubscribe)
	}
	header, _, _ := strings.Cut(string(mails[0].raw), "\r\n\r\n")
	for line := range strings.SplitSeq(header, "\r\n") {
		if strings.HasPrefix(strings.ToLower(line), "bcc") {
			t.Errorf("a header was added:\n%s", header)
		}
	}
	// An address with a break is none.
	_, to := plan(t, n, &rules.Occasion{Event: posted("1", &eventv1.DocumentChanged{Contact: &eventv1.Contact{Email: "ana@example.com\r\nBcc: eva@example.com"}})})
	if to.Invalid != 1 || len(to.To) != 0 {
		t.Errorf("%+v", to)
	}
}

// What an operator writes into a template reaches the header as what a token gives: no value adds a header.
func TestRender_NoValueAddsAHeader(t *testing.T) {
	const evil = "x\r\nBcc: eva@example.com\r\n\r\n<b>\u2028\u0085\x00"
	names := []string{"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "List-Unsubscribe", "Message-Id", "Mime-Version", "Subject", "To"}
	for where, edit := range map[string]func(a *configv1.EmailAction, d *eventv1.DocumentChanged, u *channel.User){
		"nowhere":              func(*configv1.EmailAction, *eventv1.DocumentChanged, *channel.User) {},
		"the subject":          func(a *configv1.EmailAction, _ *eventv1.DocumentChanged, _ *channel.User) { a.Subject = evil },
		"the subject's tokens": func(_ *configv1.EmailAction, d *eventv1.DocumentChanged, _ *channel.User) { d.Document.Number = evil },
		"the link": func(a *configv1.EmailAction, _ *eventv1.DocumentChanged, _ *channel.User) {
			a.ListUnsubscribe = "https://portal.example/" + evil
		},
		"a link by mail": func(a *configv1.EmailAction, _ *eventv1.DocumentChanged, _ *channel.User) {
			a.ListUnsubscribe = "mailto:u@portal.example?subject=" + evil
		},
		"the answer's address": func(a *configv1.EmailAction, _ *eventv1.DocumentChanged, _ *channel.User) {
			a.ReplyTo = "{{.Account.Name}}" + evil
		},
		"the contact's name": func(_ *configv1.EmailAction, d *eventv1.DocumentChanged, _ *channel.User) { d.Contact.Name = evil },
		"the name of a user": func(_ *configv1.EmailAction, _ *eventv1.DocumentChanged, u *channel.User) { u.DisplayName = evil },
		"the user's own fields": func(_ *configv1.EmailAction, _ *eventv1.DocumentChanged, u *channel.User) {
			u.Language, u.Name = evil, evil
		},
	} {
		t.Run(where, func(t *testing.T) {
			a := &configv1.EmailAction{
				Subject: "Invoice {{.Invoice.Number}}", Text: "x", ListUnsubscribe: "https://portal.example/u",
				Recipients: &configv1.EmailRecipients{Roles: []string{"billing"}, Contacts: []string{"{{.Contact.Email}}"}},
			}
			d := &eventv1.DocumentChanged{Account: &eventv1.Account{Name: "a@b.example"}, Document: &eventv1.Document{Number: "7"}, Contact: &eventv1.Contact{Name: "Ana", Email: "ana@example.com"}}
			u := user(t, "eva", "eva@example.com", "de", "Europe/Berlin")
			edit(a, d, &u)
			mails, _ := plan(t, notification(a), &rules.Occasion{Event: posted("1", d), Users: func(string) []channel.User { return []channel.User{u} }})
			if len(mails) != 2 {
				t.Fatalf("planned %d", len(mails))
			}
			for _, m := range mails {
				parsed, err := netmail.ReadMessage(bytes.NewReader(m.raw))
				if err != nil {
					t.Fatal(err)
				}
				if got := slices.Sorted(maps.Keys(parsed.Header)); !slices.Equal(got, names) {
					t.Errorf("headers %q of\n%s", got, m.raw)
				}
				if link := parsed.Header.Get("List-Unsubscribe"); strings.ContainsAny(strings.Trim(link, "<>"), " <>?=") && !strings.HasPrefix(link, "<mailto:u@portal.example?subject=x%0D%0A") {
					t.Errorf("the link is %q", link)
				}
				for name, values := range parsed.Header {
					if len(values) != 1 || strings.ContainsAny(values[0], "\r\n\x00\u2028\u0085") {
						t.Errorf("%s: %q", name, values)
					}
				}
				if to, err := parsed.Header.AddressList("To"); err != nil || len(to) != 1 || to[0].Address != m.Recipient.Address {
					t.Errorf("to %v, %v", to, err)
				}
			}
		})
	}
}

func TestRender_IsBounded(t *testing.T) {
	n := notification(&configv1.EmailAction{
		Subject: "x", Html: "{{range .Invoice.PaymentReferences}}<p>{{.}}</p>{{end}}", ListUnsubscribe: "https://portal.example/{{.Invoice.Number}}", Recipients: &configv1.EmailRecipients{Addresses: []string{"a@b.example"}},
	})
	r, err := rules.Compile(rules.FromProto(n, channel.List{email.Channel}))
	if err != nil {
		t.Fatal(err)
	}
	profile, _ := email.Decode(&configv1.SmtpProfile{Name: profileName, FromAddress: "a@b.example"})
	for name, document := range map[string]*eventv1.Document{
		"a body beyond its bound":                        {PaymentReferences: slices.Repeat([]string{strings.Repeat("x", 3000)}, 100)},
		"bodies that are within, and together beyond it": {PaymentReferences: slices.Repeat([]string{strings.Repeat("x", 1500)}, 100)},
		"a list that is too long":                        {PaymentReferences: slices.Repeat([]string{"x"}, 1001)},
		"a link that no line of a header can hold":       {Number: strings.Repeat("é", 200)},
	} {
		o := &rules.Occasion{Event: posted("1", &eventv1.DocumentChanged{Document: document})}
		if _, err := r.Render(r.Actions[0], o, profile.Planning(), r.Recipients(r.Actions[0], o, profileName).To[0], channel.Position{}); !errors.Is(err, channel.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLegalNotice_HasNoUnsubscribeLink(t *testing.T) {
	n := notification(&configv1.EmailAction{
		Subject: "x", Text: "y", ListUnsubscribe: "https://portal.example/u", ListUnsubscribePost: true, Recipients: &configv1.EmailRecipients{Addresses: []string{"a@b.example"}},
	})
	for _, legal := range []bool{false, true} {
		n.LegalNotice = legal
		mails, _ := plan(t, n, &rules.Occasion{Event: posted("1", &eventv1.DocumentChanged{})})
		if has := strings.Contains(string(mails[0].raw), "List-Unsubscribe"); has == legal {
			t.Errorf("legal notice %v, a link %v", legal, has)
		}
	}
}

// A thousand users of one role: each gets a delivery, and their texts are rendered once for each language and zone.
func TestRecipients_OfARoleMayBeAThousand(t *testing.T) {
	var users []channel.User
	for i := range 1000 {
		users = append(users, user(t, fmt.Sprintf("u%d", i), fmt.Sprintf("u%d@example.com", i), []string{"de", "en"}[i%2], "Europe/Berlin"))
	}
	n := notification(&configv1.EmailAction{Subject: "{{.Invoice.Total | money}}", Html: "<p>{{.Invoice.Number}}</p>", Recipients: &configv1.EmailRecipients{Roles: []string{"billing"}}})
	o := &rules.Occasion{
		Event: posted("1", &eventv1.DocumentChanged{Document: &eventv1.Document{Total: channeltest.EUR(5, 0)}}),
		Users: func(string) []channel.User { return users },
	}
	mails, to := plan(t, n, o)
	if len(mails) != 1000 || to.Invalid != 0 || mails[0].planned.Subject != "5,00\u00a0€" || mails[1].planned.Subject != "€5.00" {
		t.Errorf("%d", len(mails))
	}
}

func TestBodies_AreTheGoldenBytes(t *testing.T) {
	n := notification(&configv1.EmailAction{
		Subject: "Invoice {{.Invoice.Number}} of {{.Invoice.Total | money}}",
		Html: `<html><body><h1>{{.Account.DisplayName}}</h1><p>Due on <b title="{{.Invoice.DueDate | date}}">{{.Invoice.DueDate | date}}</b>.</p>` +
			`{{if .Invoice.PaymentReferences}}<ul>{{range .Invoice.PaymentReferences}}<li>{{.}}</li>{{end}}</ul>{{end}}<a href="https://portal.example/pay?i={{.Invoice.Id}}">Pay</a></body></html>`,
		ReplyTo: "account-{{.Account.Id}}@portal.example", ListUnsubscribe: "https://portal.example/u?a={{.Account.Id}}", ListUnsubscribePost: true,
		Recipients: &configv1.EmailRecipients{Contacts: []string{"{{.Contact.Email}}"}},
	})
	mails, _ := plan(t, n, &rules.Occasion{Zone: zone(t, "Europe/Madrid"), Event: posted("golden", &eventv1.DocumentChanged{
		Account: &eventv1.Account{Id: "3400", DisplayName: "Müller & Söhne <R&D>", Language: "es"},
		Document: &eventv1.Document{
			Id: "inv 1/2", Number: "2027/1", Total: &money.Money{CurrencyCode: "EUR", Units: 1234, Nanos: 500_000_000},
			DueDate: timestamppb.New(time.Date(2027, 1, 30, 23, 0, 0, 0, time.UTC)), PaymentReferences: []string{"RF18", "a & b"},
		},
		Contact: &eventv1.Contact{Name: "Ana Díaz", Email: "ana@bücher.example"},
	})})
	for file, got := range map[string][]byte{"planned.json": mails[0].body, "message.eml": mails[0].raw} {
		path := filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(path, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || string(want) != string(got) {
			t.Errorf("%s: %v\n%s", file, err, got)
		}
	}
}
