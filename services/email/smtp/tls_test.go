package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/outbound"
)

func TestTLS_ByMode(t *testing.T) {
	for name, c := range map[string]struct {
		mode     Mode
		host     string
		offers   []string
		user     string
		starttls string
		shake    string
		trusts   bool

		stage               Stage
		class               Class
		encrypted, verified bool
		dialled             int
	}{
		"required, with a certificate that is trusted":      {mode: Required, offers: []string{"STARTTLS"}, trusts: true, encrypted: true, verified: true, dialled: 1},
		"required, of another name":                         {mode: Required, host: "mx.other.example", offers: []string{"STARTTLS"}, trusts: true, stage: StageTLS, class: ClassTLS, dialled: 1},
		"required, of an authority that is not trusted":     {mode: Required, offers: []string{"STARTTLS"}, stage: StageTLS, class: ClassTLS, dialled: 1},
		"required, and not offered":                         {mode: Required, stage: StageTLS, class: ClassTLS, dialled: 1},
		"required, and refused":                             {mode: Required, offers: []string{"STARTTLS"}, starttls: "454 4.7.0 not now", stage: StageTLS, class: ClassTLS, dialled: 1},
		"required, and no handshake":                        {mode: Required, offers: []string{"STARTTLS"}, shake: alert, stage: StageTLS, class: ClassTLS, dialled: 1},
		"required, and bytes in clear behind the answer":    {mode: Required, offers: []string{"STARTTLS"}, starttls: "220 go on\r\n250 injected", stage: StageTLS, class: ClassProtocol, dialled: 1},
		"opportunistic, with a trusted certificate":         {mode: Opportunistic, offers: []string{"STARTTLS"}, trusts: true, encrypted: true, verified: true, dialled: 1},
		"opportunistic, of another name":                    {mode: Opportunistic, host: "mx.other.example", offers: []string{"STARTTLS"}, trusts: true, encrypted: true, dialled: 1},
		"opportunistic, not trusted":                        {mode: Opportunistic, offers: []string{"STARTTLS"}, encrypted: true, dialled: 1},
		"opportunistic, not offered":                        {mode: Opportunistic, dialled: 1},
		"opportunistic, refused":                            {mode: Opportunistic, offers: []string{"STARTTLS"}, starttls: "454 4.7.0 not now", dialled: 1},
		"opportunistic, and no handshake":                   {mode: Opportunistic, offers: []string{"STARTTLS"}, shake: alert, dialled: 2},
		"opportunistic, and silence instead of a handshake": {mode: Opportunistic, offers: []string{"STARTTLS"}, shake: hangs, dialled: 2},
		"required, and silence instead of a handshake":      {mode: Required, offers: []string{"STARTTLS"}, shake: hangs, stage: StageTLS, class: "timeout", dialled: 1},
		"opportunistic, bytes in clear behind the answer":   {mode: Opportunistic, offers: []string{"STARTTLS"}, starttls: "220 go on\r\n250 injected", stage: StageTLS, class: ClassProtocol, dialled: 1},
		"opportunistic with a user, trusted":                {mode: Opportunistic, offers: []string{"STARTTLS", "AUTH PLAIN"}, user: "ana", trusts: true, encrypted: true, verified: true, dialled: 1},
		"opportunistic with a user, not trusted":            {mode: Opportunistic, offers: []string{"STARTTLS", "AUTH PLAIN"}, user: "ana", encrypted: true, stage: StageAuth, class: ClassAuth, dialled: 1},
		"opportunistic with a user, CRAM-MD5, not trusted":  {mode: Opportunistic, offers: []string{"STARTTLS", "AUTH CRAM-MD5"}, user: "ana", encrypted: true, stage: StageAuth, class: ClassAuth, dialled: 1},
		"opportunistic with a user, AUTH asked in clear":    {mode: Opportunistic, offers: []string{"AUTH PLAIN"}, user: "ana", stage: StageAuth, class: ClassAuth, dialled: 1},
		"none with a user goes in clear, since it is asked": {mode: None, offers: []string{"AUTH PLAIN"}, user: "ana", dialled: 1},
		"none, though offered":                              {mode: None, offers: []string{"STARTTLS"}, dialled: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, c.offers...)
			conf := f.certified() // opens a socket: outside of the bubble
			synctest.Test(t, func(t *testing.T) {
				if c.starttls != "" {
					f.set("STARTTLS", c.starttls)
				}
				if c.shake != "" {
					f.set("handshake", c.shake)
				}
				s := f.server(c.mode)
				if c.trusts {
					s.TLS = conf
				}
				if c.host != "" {
					s.Host = c.host
				}
				s.Credentials = Credentials{Username: c.user, Password: "hush-hush"}
				p := NewPool(1)
				sent := p.Send(t.Context(), Key{}, s, envelope, message)
				switch {
				case c.class == "" && sent.Failed != nil:
					t.Errorf("failed: %v", sent.Failed)
				case c.class != "" && (sent.Failed == nil || sent.Failed.Stage != c.stage || sent.Failed.Class != c.class):
					t.Errorf("failed: %v, want %s at %s", sent.Failed, c.class, c.stage)
				case sent.Failed == nil && (sent.Encrypted != c.encrypted || sent.Verified != c.verified):
					t.Errorf("encrypted %t, verified %t", sent.Encrypted, sent.Verified)
				}
				if f.dialled != c.dialled {
					t.Errorf("%d connections, want %d", f.dialled, c.dialled)
				}
				shown := ""
				for _, step := range sent.Steps {
					shown += step.Command + " " + step.Answer + "\n"
				}
				if strings.Contains(shown, "hush-hush") || strings.Contains(shown, base64.StdEncoding.EncodeToString([]byte("\x00ana\x00hush-hush"))) {
					t.Errorf("the steps show the password:\n%s", shown)
				}
				asked := slices.ContainsFunc(f.commands(), func(s string) bool { return strings.HasPrefix(s, "AUTH") })
				if asked != (c.user != "" && c.class == "") {
					t.Errorf("AUTH was sent: %t; the server got %q", asked, f.commands())
				}
				p.Close()
				close(f.end)
			})
		})
	}
}

// implicit is a server that speaks TLS at once.
type implicit struct{ *fake }

func (i implicit) DialContext(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		t := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{*i.cert}, MinVersion: tls.VersionTLS12})
		if t.Handshake() == nil {
			i.serve(t)
		}
		_ = theirs.Close()
	}()
	return ours, nil
}

func (i implicit) Class(context.Context, error, time.Time) outbound.Class {
	return outbound.ClassConnect
}

func TestTLS_ImplicitIsFromTheFirstByteAndVerified(t *testing.T) {
	f := newFake(t)
	conf := f.certified()
	synctest.Test(t, func(t *testing.T) {
		s := f.server(Implicit)
		s.Dialer = implicit{f}
		p := NewPool(1)
		if sent := p.Send(t.Context(), Key{}, s, envelope, message); sent.Failed == nil || sent.Failed.Stage != StageTLS || sent.Failed.Class != ClassTLS {
			t.Errorf("failed: %v, want the certificate refused", sent.Failed)
		}
		s.TLS = conf
		if sent := p.Send(t.Context(), Key{}, s, envelope, message); sent.Failed != nil || !sent.Verified {
			t.Errorf("failed: %v, verified %t", sent.Failed, sent.Verified)
		}
		p.Close()
	})
}

// dialogue answers AUTH word by word.
func TestAuth_ByMechanism(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct {
		offered   string
		mechanism Mechanism
		dialogue  []string // the client's line, the server's answer, …
		class     Class
	}{
		"PLAIN":                    {offered: "PLAIN LOGIN", mechanism: Plain, dialogue: []string{"AUTH PLAIN " + b64("\x00ana\x00hush"), "235 ok"}},
		"LOGIN":                    {offered: "PLAIN LOGIN", mechanism: Login, dialogue: []string{"AUTH LOGIN", "334 " + b64("Username:"), b64("ana"), "334 " + b64("Password:"), b64("hush"), "235 ok"}},
		"CRAM-MD5":                 {offered: "cram-md5", mechanism: CRAMMD5, dialogue: []string{"AUTH CRAM-MD5", "334 " + b64("<1896.697170952@postoffice.example>"), b64("ana 1119c7faf6260aac5c9f0f55934d6f7d"), "235 ok"}},
		"XOAUTH2":                  {offered: "XOAUTH2", mechanism: XOAuth2, dialogue: []string{"AUTH XOAUTH2 " + b64("user=ana\x01auth=Bearer hush\x01\x01"), "235 ok"}},
		"XOAUTH2 refused":          {offered: "XOAUTH2", mechanism: XOAuth2, dialogue: []string{"AUTH XOAUTH2 " + b64("user=ana\x01auth=Bearer hush\x01\x01"), "334 " + b64(`{"status":"401"}`), "", "535 5.7.8 no"}, class: ClassAuth},
		"in clear CRAM-MD5 first":  {offered: "PLAIN CRAM-MD5", dialogue: []string{"AUTH CRAM-MD5", "535 5.7.8 no"}, class: ClassAuth},
		"a wrong password":         {offered: "PLAIN", dialogue: []string{"AUTH PLAIN " + b64("\x00ana\x00hush"), "535 5.7.8 no"}, class: ClassAuth},
		"not now":                  {offered: "PLAIN", dialogue: []string{"AUTH PLAIN " + b64("\x00ana\x00hush"), "454 4.7.0 later"}, class: ClassReply},
		"not what is offered":      {offered: "GSSAPI", class: ClassAuth},
		"not offered":              {class: ClassAuth},
		"a challenge that is none": {offered: "LOGIN", dialogue: []string{"AUTH LOGIN", "334 !", "*", "501 ok"}, class: ClassAuth},
		"questions without end":    {offered: "LOGIN", dialogue: []string{"AUTH LOGIN", "334 ", b64("ana"), "334 ", b64("hush"), "334 ", "*", "501 ok"}, class: ClassAuth},
		"PLAIN is asked on":        {offered: "PLAIN", dialogue: []string{"AUTH PLAIN " + b64("\x00ana\x00hush"), "334 ", "*", "501 ok"}, class: ClassAuth},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			script := append([]string{"EHLO tollgate.example", "250-mx\r\n250-AUTH " + c.offered + "\r\n250 HELP"}, c.dialogue...)
			var got []string
			done := make(chan struct{})
			go func() {
				defer close(done)
				in := bufio.NewReader(theirs)
				_, _ = theirs.Write([]byte("220 hi\r\n"))
				for len(script) > 0 {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if line = strings.TrimSuffix(line, "\r\n"); line != script[0] {
						got = append(got, line)
					}
					_, _ = theirs.Write([]byte(script[1] + "\r\n"))
					script = script[2:]
				}
				_, _ = in.ReadString('\n') // QUIT
				_ = theirs.Close()
			}()
			s := &Server{Dialer: one{ours}, Host: "mx.example", Mode: None, Hello: "tollgate.example", Credentials: Credentials{Username: "ana", Password: "hush", Mechanism: c.mechanism}}
			conn, failed := Dial(t.Context(), s)
			if c.class == "" && failed != nil || c.class != "" && (failed == nil || failed.Class != c.class || failed.Stage != StageAuth) {
				t.Errorf("failed: %v, want class %q", failed, c.class)
			}
			if failed == nil {
				conn.Close()
			}
			<-done
			if len(got) > 0 || len(script) > 0 {
				t.Errorf("the server got %q, and was not asked %q", got, script)
			}
		})
	}
}

// one is a dialer of one connection.
type one struct{ conn net.Conn }

func (o one) DialContext(context.Context, string, string) (net.Conn, error) { return o.conn, nil }
func (o one) Class(context.Context, error, time.Time) outbound.Class        { return outbound.ClassConnect }
