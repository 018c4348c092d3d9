package email

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tollgate/tollgate/pkg/delivery"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// Field case 37: what goes over a connection that could not be made safe.
func TestRun_WhatGoesInClear(t *testing.T) {
	const (
		required, opportunistic = configv1.SmtpTls_SMTP_TLS_REQUIRED, configv1.SmtpTls_SMTP_TLS_OPPORTUNISTIC
		implicit, none          = configv1.SmtpTls_SMTP_TLS_IMPLICIT, configv1.SmtpTls_SMTP_TLS_NONE
	)
	valid, ca := selfSigned(t, nil)
	named, namedCA := selfSigned(t, otherName)
	old, oldCA := selfSigned(t, expired)
	starttls, auth := []string{"STARTTLS"}, []string{"AUTH PLAIN"}
	rows := map[string]struct {
		script
		mode configv1.SmtpTls
		ca   string
		user bool
		// class is empty where the message is sent; text is a part of the error, or of a step of what is sent.
		class, text string
		// mailed and authenticated: MAIL and AUTH came in clear. within is a command that came within TLS.
		mailed, authenticated bool
		within                string
		connections           int
	}{
		"a":  {script: script{offers: auth}, mode: opportunistic, user: true, class: "auth", text: "AUTH waits for verified TLS", connections: 1},
		"b":  {script: script{offers: starttls, inside: auth, certificate: named}, mode: opportunistic, ca: namedCA, user: true, class: "auth", text: "AUTH waits for verified TLS", connections: 1},
		"c":  {mode: opportunistic, mailed: true, connections: 1},
		"d":  {script: script{offers: starttls, certificate: named}, mode: opportunistic, ca: namedCA, text: "unverified", within: "MAIL", connections: 1},
		"e":  {script: script{offers: starttls}, mode: opportunistic, text: "in clear", mailed: true, connections: 2},
		"f1": {script: script{offers: auth}, mode: required, user: true, class: "tls", text: "does not offer STARTTLS", connections: 1},
		"f2": {script: script{offers: starttls, answers: map[string]string{"STARTTLS": "454 4.7.0 not now"}}, mode: required, class: "tls", text: "refuses STARTTLS", connections: 1},
		"g": {script: script{offers: starttls, inside: auth, certificate: valid, answers: map[string]string{"STARTTLS": "220 go on\r\n250 AUTH PLAIN"}},
			mode: required, ca: ca, user: true, class: "protocol", text: "bytes in clear follow", connections: 1},
		"h": {script: script{offers: []string{"STARTTLS", "AUTH PLAIN"}, inside: []string{"AUTH CRAM-MD5"}, certificate: valid}, mode: required, ca: ca, user: true, within: "AUTH CRAM-MD5", connections: 1},
		"i": {script: script{offers: auth}, mode: none, user: true, mailed: true, authenticated: true, connections: 1},
		"j": {script: script{inside: auth, certificate: old, implicit: true}, mode: implicit, ca: oldCA, user: true, class: "tls", text: "expired", connections: 1},
	}
	onServers(t, func(f *fixture) {
		core, logs := observer.New(zapcore.DebugLevel)
		f.log = zap.New(core)
		servers, ports := map[string]*rawServer{}, []uint16{}
		for id, c := range rows {
			servers[id] = newRawServer(f, c.script)
			ports = append(ports, servers[id].port)
		}
		f.tenant(ports...)
		ds := map[string]*delivery.Delivery{}
		for id, c := range rows {
			ds[id] = newDelivery(f, f.store(id, servers[id].profile(c.mode, c.ca), func(p *configv1.SmtpProfile) {
				if c.user {
					user(p)
				}
			}), "1", "ana@mail.example")
		}
		client := f.tester()
		for _, d := range ds {
			f.plan(d)
		}
		all := f.attempts(func(all []*deliveryv1.Attempt) bool {
			for _, d := range ds {
				if len(of(d, all)) == 0 {
					return false
				}
			}
			return true
		})
		for id, c := range rows {
			a := of(ds[id], all)[0]
			clear, commands, connections := servers[id].sent()
			if (a.GetSettlement() == deliveryv1.Settlement_SETTLEMENT_DELIVERED) != (c.class == "") || a.GetErrorClass() != c.class || a.GetUncounted() != (c.class != "") ||
				!strings.Contains(a.GetError()+fmt.Sprint(a.GetSteps()), c.text) || a.GetNumber() != 1 || connections != c.connections {
				t.Errorf("%s, over %d connections: %v", id, connections, a)
			}
			if strings.Contains(clear, "MAIL") != c.mailed || strings.Contains(clear, "AUTH") != c.authenticated {
				t.Errorf("%s was sent in clear %q", id, clear)
			}
			if joined := strings.Join(commands, "\n"); !strings.Contains(joined, c.within) || !c.mailed && c.within == "" && strings.Contains(joined, "MAIL") {
				t.Errorf("%s was sent %q", id, commands)
			}
			answer, err := f.sendTest(client, &deliveryv1.SendTestRequest{Target: &deliveryv1.SendTestRequest_Name{Name: ds[id].Endpoint}, To: "eva@mail.example"})
			if err != nil || answer.GetAttempt().GetErrorClass() != c.class {
				t.Errorf("%s as a test: %v %v", id, answer, err)
			}
			clear, _, _ = servers[id].sent()
			for _, secret := range []string{"not-a-real-one", base64.StdEncoding.EncodeToString([]byte("not-a-real-one")), base64.StdEncoding.EncodeToString([]byte("\x00billing\x00not-a-real-one"))} {
				if strings.Contains(clear, secret) && !c.authenticated {
					t.Errorf("%s was sent the password in clear: %q", id, clear)
				}
				if strings.Contains(a.String()+answer.String(), secret) {
					t.Errorf("%s shows the password: %v %v", id, a, answer)
				}
				for _, entry := range logs.All() {
					if strings.Contains(fmt.Sprint(entry.Message, entry.ContextMap()), secret) {
						t.Errorf("the log shows the password: %v", entry)
					}
				}
			}
		}
	})
}
