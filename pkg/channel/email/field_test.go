package email_test

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/rules"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// parsed is a message as a reader's parser gives it.
func parsed(t testing.TB, raw []byte) (subject, text, html string, to *netmail.Address) {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if subject, err = (&mime.WordDecoder{}).DecodeHeader(m.Header.Get("Subject")); err != nil {
		t.Fatal(err)
	}
	list, err := m.Header.AddressList("To")
	if err != nil || len(list) != 1 {
		t.Fatalf("To is %q: %v", m.Header.Get("To"), err)
	}
	decoded := func(r io.Reader) string {
		b, err := io.ReadAll(quotedprintable.NewReader(r))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), "\r\n", "\n")
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if kind == "text/plain" {
		return subject, decoded(m.Body), "", list[0]
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for p, err := parts.NextRawPart(); err == nil; p, err = parts.NextRawPart() {
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
			html = decoded(p)
		} else {
			text = decoded(p)
		}
	}
	return subject, text, html, list[0]
}

// Names with & < > " ' in subject, text, HTML, link and address: each is escaped for its place and no other, nothing that
// billing wrote is decoded, and a value is never a template. (Field case 34.)
func TestField_NamesWithSigns(t *testing.T) {
	n := notification(&configv1.EmailAction{
		Subject:    "Invoice for {{.Account.DisplayName}}",
		Html:       `<p title="{{.Account.DisplayName}}">Dear {{.Contact.Name}}, <a href="https://portal.example/i?n={{.Account.DisplayName}}">{{.Account.DisplayName}}</a></p>`,
		Recipients: &configv1.EmailRecipients{Contacts: []string{"{{.Contact.Email}}"}},
	})
	for _, tc := range []struct{ account, contact, html, link string }{
		{`Müller & Söhne <R&D> "Nord"`, "Müller & Söhne <R&D>, Nord", "Müller &amp; Söhne &lt;R&amp;D&gt; &#34;Nord&#34;", "?n=m%c3%bcller%20%26%20s%c3%b6hne%20%3cr%26d%3e%20%22nord%22"},
		{"O'Brien &amp; Daughters", "O'Brien", "O&#39;Brien &amp;amp; Daughters", "?n=o%27brien%20%26amp%3b%20daughters"},
		{"{{.Tenant.Name}} {{range .}}", "{{.Tenant.Name}}", "{{.Tenant.Name}} {{range .}}", "?n=%7b%7b.tenant.name%7d%7d%20%7b%7brange%20.%7d%7d"},
		{"<script>alert(1)</script>", "=?utf-8?q?forged?=", "&lt;script&gt;alert(1)&lt;/script&gt;", "?n=%3cscript%3ealert%281%29%3c%2fscript%3e"},
	} {
		t.Run(tc.account, func(t *testing.T) {
			mails, _ := plan(t, n, &rules.Occasion{Event: posted("fc34", &eventv1.DocumentChanged{
				Account: &eventv1.Account{Id: "3400", DisplayName: tc.account}, Contact: &eventv1.Contact{Name: tc.contact, Email: "ana@example.com"},
			})})
			subject, text, html, to := parsed(t, mails[0].raw)
			if want := "Invoice for " + tc.account; subject != want {
				t.Errorf("subject %q, want %q", subject, want)
			}
			if !strings.Contains(html, `title="`+tc.html+`"`) || !strings.Contains(html, ">"+tc.html+"</a>") || !strings.Contains(strings.ToLower(html), tc.link) {
				t.Errorf("HTML %s", html)
			}
			if !strings.Contains(text, "Dear "+tc.contact+", "+tc.account) {
				t.Errorf("text %q", text)
			}
			if to.Name != tc.contact || to.Address != "ana@example.com" {
				t.Errorf("To is %q <%s>", to.Name, to.Address)
			}
			// Some readers decode what looks encoded within quotes.
			header, _, _ := bytes.Cut(mails[0].raw, []byte("\r\n\r\n"))
			if bytes.Contains(header, []byte("forged")) || bytes.Contains(header, []byte("Subject: =?utf-8?q?forged")) {
				t.Errorf("%s", header)
			}
		})
	}
}

// A due date is one day for everybody, an instant is local, and amounts are written as their reader's language does, never
// rounded up. (Field case 36.)
func TestField_DayAndAmount(t *testing.T) {
	n := notification(&configv1.EmailAction{
		Subject: "{{.Invoice.Total | money}}", Text: "due {{.Invoice.DueDate | date}}, posted {{.Event.Time | datetime}}",
		Recipients: &configv1.EmailRecipients{Roles: []string{"billing"}},
	})
	users := []channel.User{
		user(t, "ana", "ana@example.com", "es", "Europe/Madrid"), user(t, "bob", "bob@example.com", "en-US", "America/Los_Angeles"),
		user(t, "ken", "ken@example.com", "ja", "Asia/Tokyo"), user(t, "eva", "eva@example.com", "de", "Europe/Berlin"),
	}
	texts := []string{
		"due 31 de enero de 2027, posted 16 ene. 2027, 0:30", "due January 31, 2027, posted Jan 15, 2027, 3:30 pm",
		"due 2027年1月31日, posted 2027/01/16 8:30", "due 31. Januar 2027, posted 16.01.2027, 00:30",
	}
	for _, tc := range []struct {
		name   string
		amount *money.Money
		want   [4]string
	}{
		{"EUR 1234.5", &money.Money{CurrencyCode: "EUR", Units: 1234, Nanos: 500_000_000}, [4]string{"1234,50\u00a0€", "€1,234.50", "€1,234.50", "1.234,50\u00a0€"}},
		{"JPY 1234", &money.Money{CurrencyCode: "JPY", Units: 1234}, [4]string{"1234\u00a0¥", "¥1,234", "￥1,234", "1.234\u00a0¥"}},
		{"KWD 1.5", &money.Money{CurrencyCode: "KWD", Units: 1, Nanos: 500_000_000}, [4]string{"1,500\u00a0KWD", "KWD\u00a01.500", "KWD\u00a01.500", "1,500\u00a0KWD"}},
		{"EUR -0.5", &money.Money{CurrencyCode: "EUR", Nanos: -500_000_000}, [4]string{"-0,50\u00a0€", "-€0.50", "-€0.50", "-0,50\u00a0€"}},
		{"EUR 49.996", &money.Money{CurrencyCode: "EUR", Units: 49, Nanos: 996_000_000}, [4]string{"49,996\u00a0€", "€49.996", "€49.996", "49,996\u00a0€"}},
	} {
		mails, _ := plan(t, n, &rules.Occasion{
			Event: posted("fc36", &eventv1.DocumentChanged{Document: &eventv1.Document{
				Total: tc.amount, DueDate: timestamppb.New(time.Date(2027, 1, 30, 23, 0, 0, 0, time.UTC)),
			}}),
			Zone: zone(t, "Europe/Madrid"), Users: func(string) []channel.User { return users },
		})
		for i, m := range mails {
			if subject, text, _, _ := parsed(t, m.raw); subject != tc.want[i] || strings.TrimSpace(text) != texts[i] {
				t.Errorf("%s to %s: %q %q, want %q %q", tc.name, m.ID, subject, text, tc.want[i], texts[i])
			}
		}
	}
}
