package email

import (
	"fmt"
	"net"
	"net/mail"
	"strings"
	"testing"

	server "github.com/emersion/go-smtp"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/services/email/smtp"
)

// refusals35 are the answers of the server of field case 35.
func refusals35(at, who string, n int) refusal {
	no := func(code int, a, b, c int, text string) refusal {
		return refusal{code, server.EnhancedCode{a, b, c}, text}
	}
	name, _, _ := strings.Cut(who, "@")
	switch at + " " + name {
	case "RCPT r01", "RCPT ana+billing":
		return no(550, 5, 1, 1, "no such mailbox")
	case "RCPT r02":
		return no(550, 5, 7, 1, "your network is blocked")
	case "RCPT r03":
		return refusal{code: 550, text: "no such user here"}
	case "RCPT r04":
		return no(552, 5, 2, 2, "mailbox full")
	case "RCPT r05":
		return no(553, 5, 1, 3, "bad address")
	case "RCPT r06":
		if n == 1 {
			return no(450, 4, 2, 0, "greylisted")
		}
	case ". r07":
		if n == 1 {
			return no(451, 4, 7, 1, "try again later")
		}
	case ". r08":
		return no(554, 5, 7, 1, "looks like spam")
	case ". r09":
		return no(550, 5, 1, 1, "no such mailbox")
	case "RCPT r10":
		if n == 1 {
			return no(421, 4, 7, 0, "too many connections")
		}
	}
	return refusal{}
}

// Field case 35.
func TestSend_WhoseRefusal(t *testing.T) {
	m := newMailServer(t)
	m.answer = refusals35
	s := newSending(t, m.profile(), loopback(m.port))
	const (
		delivered = "delivered"
		dead      = "dead"
		again     = "again"
	)
	result := func(o delivery.Outcome) string {
		switch {
		case o.Result == delivery.Accepted:
			return delivered
		case o.Result == delivery.Refused && o.Fault == delivery.FaultRecipient:
			return dead
		case o.Result == delivery.Failed && o.Fault == delivery.FaultRecipient && !o.Uncounted:
			return again
		case o.Result == delivery.Failed && o.Uncounted:
			return "profile"
		case o.Result == delivery.Withdrawn:
			return o.Reason
		}
		return fmt.Sprintf("%+v", o)
	}
	var first string
	for _, c := range []struct {
		to         string
		want       []string
		class      string
		suppressed bool
	}{
		{"r01@mail.example", []string{dead, "suppressed"}, "reply", true},
		{"r02@mail.example", []string{dead, dead}, "reply", false},
		{"r03@mail.example", []string{dead}, "reply", false},
		{"r04@mail.example", []string{dead}, "reply", false},
		{"r05@mail.example", []string{dead}, "reply", true},
		{"r06@mail.example", []string{again, delivered}, "", false},
		{"r07@mail.example", []string{again, delivered}, "", false},
		{"r08@mail.example", []string{dead}, "reply", false},
		{"r09@mail.example", []string{dead}, "reply", false},
		{"r10@mail.example", []string{"profile", delivered}, "", false},
		{"ana+billing@mail.example", []string{dead, "suppressed"}, "reply", true},
		{"josé@mail.example", []string{dead, dead}, "smtputf8_not_offered", false},
		{"ana@mail.example", []string{delivered, delivered}, "", false},
		{"R01@MAIL.EXAMPLE", []string{"suppressed"}, "", true},
	} {
		d := s.delivery(c.to)
		before := m.mails
		for n, want := range c.want {
			o := s.Send(t.Context(), d, s.p, n+1)
			if got := result(o); got != want {
				t.Errorf("%s, attempt %d: %s (%s %s), want %s", c.to, n+1, got, o.ErrorClass, o.Error, want)
			}
			if n == 0 && c.class != "" && o.ErrorClass != c.class {
				t.Errorf("%s: class %q, want %q", c.to, o.ErrorClass, c.class)
			}
		}
		if s.isSuppressed(c.to) != c.suppressed {
			t.Errorf("%s: suppressed %t", c.to, !c.suppressed)
		}
		if c.class == "smtputf8_not_offered" && m.mails != before {
			t.Errorf("%s: MAIL was sent", c.to)
		}
		if c.to == "r07@mail.example" {
			first = d.ID
		}
	}
	for _, got := range m.messages() {
		if got.to == "r07@mail.example" && header(got.text, "Message-ID") != "<"+first+"@operator.example>" {
			t.Errorf("r07 got Message-ID %q", header(got.text, "Message-ID"))
		}
	}
	if len(m.messages()) != 5 {
		t.Errorf("%d messages were taken, want 5", len(m.messages()))
	}
}

// A message that only one server can't take shows nothing about the profile.
func TestSend_TooLargeIsOfTheMessage(t *testing.T) {
	m := newMailServer(t)
	m.answer = func(at, _ string, _ int) refusal {
		if at == "MAIL" {
			return refusal{552, server.EnhancedCode{5, 3, 4}, "message too big"}
		}
		return refusal{}
	}
	o := newSending(t, m.profile(), loopback(m.port)).send("r11@mail.example")
	if o.Result != delivery.Refused || o.Fault != delivery.FaultRecipient || o.ErrorClass != "too_large" || o.Status != 552 || o.EnhancedStatus != "5.3.4" {
		t.Errorf("%+v", o)
	}
}

func TestSend_ARelayThatIsDeniedIsTheProfiles(t *testing.T) {
	m := newMailServer(t)
	m.answer = func(at, _ string, _ int) refusal {
		if at == "RCPT" {
			return refusal{554, server.EnhancedCode{5, 7, 1}, "relay access denied"}
		}
		return refusal{}
	}
	s := newSending(t, m.profile(), loopback(m.port))
	dead := 0
	for n := range 30 {
		o := s.send(fmt.Sprintf("r%d@mail.example", n))
		switch {
		case o.Result == delivery.Refused:
			dead++
		case !o.Uncounted || o.Fault != delivery.FaultReceiver:
			t.Fatalf("%+v", o)
		}
	}
	if dead != 9 {
		t.Errorf("%d are dead, want the nine before it was clear", dead)
	}
}

// Nothing reaches an address that the tenant may not dial, whatever name leads there.
func TestSend_DialsWhatThePolicyAllows(t *testing.T) {
	m := newMailServer(t)
	for name, c := range map[string]struct {
		host   string
		tenant *configclient.Tenant
		class  string
	}{
		"a private address":           {"127.0.0.1", &configclient.Tenant{}, "refused_address"},
		"a name of a private address": {"localhost", &configclient.Tenant{}, "refused_address"},
		"another port":                {"127.0.0.1", loopback(), "refused_address"},
		"a port where nobody listens": {"127.0.0.1", loopback(25), "connect"},
	} {
		t.Run(name, func(t *testing.T) {
			p := m.profile()
			p.Host = c.host
			if c.class == "connect" {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				port := l.Addr().(*net.TCPAddr).AddrPort().Port()
				_ = l.Close()
				p.Port = int32(port)
				c.tenant = loopback(port)
			}
			o := newSending(t, p, c.tenant).send("ana@mail.example")
			if o.ErrorClass != c.class || o.Result != delivery.Failed || !o.Uncounted || o.Fault != delivery.FaultReceiver {
				t.Errorf("%+v, want class %s, of the profile", o, c.class)
			}
		})
	}
	if m.mails != 0 {
		t.Error("a server that may not be dialled was asked")
	}
}

func TestSend_HasEachStepAndNoSecret(t *testing.T) {
	m := newMailServer(t)
	m.answer = func(at, _ string, _ int) refusal {
		if at == "RCPT" {
			return refusal{550, server.EnhancedCode{5, 1, 1}, "hush-hush is no mailbox, nor aHVzaC1odXNo, AGFuYQBodXNoLWh1c2g= and dXNlcj1hbmEBYXV0aD1CZWFyZXIgaHVzaC1odXNoAQE="}
		}
		return refusal{}
	}
	p := m.profile()
	p.Password = "hush-hush"
	s := newSending(t, p, loopback(m.port))
	s.p.Username, s.p.server.Credentials = "ana", smtp.Credentials{} // the server knows no AUTH
	o := s.send("ana@mail.example")
	shown := func(text string) bool {
		return strings.Contains(text, "hush-hush") || strings.Contains(text, "aHVzaC1odXNo") || strings.Contains(text, "AGFu") || strings.Contains(text, "dXNlcj1hbmE")
	}
	var steps []string
	for _, s := range o.Steps {
		steps = append(steps, s.Name)
		if shown(s.Answer) {
			t.Errorf("the step %q shows the password", s.Name)
		}
	}
	want := []string{
		fmt.Sprintf("connect 127.0.0.1:%d", m.port), "greeting", "EHLO tollgate.example", "MAIL FROM:<billing@operator.example> SIZE=",
		"RCPT TO:<ana@mail.example>", "DATA", "RSET",
	}
	if len(steps) < len(want)-1 || steps[1] != want[1] || steps[2] != want[2] || steps[4] != want[4] || o.Steps[4].Status != 550 || o.Steps[4].EnhancedStatus != "5.1.1" {
		t.Errorf("steps %q, want %q", steps, want)
	}
	if shown(o.Error) || !strings.Contains(o.Error, "**** is no mailbox, nor ****, **** and ****") || o.Status != 550 {
		t.Errorf("%d %s", o.Status, o.Error)
	}
}

func TestSend_NothingBeforeTheSuppressedAreKnown(t *testing.T) {
	m := newMailServer(t)
	s := newSending(t, m.profile(), loopback(m.port))
	s.suppressed.followed = newList()
	if o := s.send("ana@mail.example"); o.Result != delivery.LocalFailure || m.mails != 0 {
		t.Errorf("%+v, %d messages begun", o, m.mails)
	}
}

func TestSend_WhatCannotBeReadIsDead(t *testing.T) {
	m := newMailServer(t)
	s := newSending(t, m.profile(), loopback(m.port))
	d := s.delivery("ana@mail.example")
	d.Body = []byte("{")
	if o := s.Send(t.Context(), d, s.p, 1); o.Result != delivery.Refused || o.Fault != delivery.FaultRecipient || o.ErrorClass != classMessage {
		t.Errorf("%+v", o)
	}
}

// Addresses with quotes, comments and characters beyond ASCII reach a server that takes them as they are written.
func TestSend_AddressesOfEveryForm(t *testing.T) {
	m := newMailServer(t)
	m.server.EnableSMTPUTF8 = true
	s := newSending(t, m.profile(), loopback(m.port))
	for text, want := range map[string]string{
		`"john doe"@mail.example`:              "john doe@mail.example",
		`"a@b\"c\\"@mail.example`:              `a@b"c\@mail.example`,
		"ana@mail.example (Ana (of) Diaz)":     "ana@mail.example",
		`"Diaz, Ana" <ana+x@mail.example>`:     "ana+x@mail.example",
		"o'brien/x=1@mail.example":             "o'brien/x=1@mail.example",
		"josé@bücher.example":                  "josé@xn--bcher-kva.example",
		"用户@例え.example":                        "用户@xn--r8jz45g.example",
		strings.Repeat("a", 64) + "@x.example": strings.Repeat("a", 64) + "@x.example",
	} {
		before := len(m.messages())
		o := s.send(text)
		if o.Result != delivery.Accepted {
			t.Errorf("%s: %+v", text, o)
			continue
		}
		got := m.messages()[before]
		to, err := mail.ParseAddress(header(got.text, "To"))
		if got.to != want || err != nil || to.Address != want {
			t.Errorf("%s: sent to %q, header %q, %v", text, got.to, header(got.text, "To"), err)
		}
	}
}
