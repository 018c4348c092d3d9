package email

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// Each server misbehaves in another way. Its delivery is an attempt that names it and is tried again, or is still under way,
// and the neighbour's thousand recipients get theirs by the first attempt.
func TestRun_MisbehavingServersAreAttemptsWithTheirClass(t *testing.T) {
	wrong, wrongCA := selfSigned(t, otherName)
	required, opportunistic, none := configv1.SmtpTls_SMTP_TLS_REQUIRED, configv1.SmtpTls_SMTP_TLS_OPPORTUNISTIC, configv1.SmtpTls_SMTP_TLS_NONE
	misbehaving := map[string]struct {
		script
		mode   configv1.SmtpTls
		ca     string
		change func(*configv1.SmtpProfile)
		// class is empty where the attempt is not over within minutes.
		class  string
		status int32
		text   string
		// counted: the recipient was named before.
		counted bool
	}{
		"never-greets":     {script: script{answers: map[string]string{"greeting": hangs}}, mode: none},
		"drips":            {script: script{answers: map[string]string{"EHLO": drips}}, mode: none},
		"never-answers":    {script: script{answers: map[string]string{"RCPT": hangs}}, mode: none},
		"garbage":          {script: script{answers: map[string]string{"greeting": "SSH-2.0-OpenSSH_9.2"}}, mode: none, class: "protocol", text: "greeting"},
		"line-without-end": {script: script{answers: map[string]string{"EHLO": floods}}, mode: none, class: "protocol", text: "2048 bytes"},
		"closes-at-once":   {script: script{answers: map[string]string{"greeting": closes}}, mode: none, class: "reset", text: "greeting"},
		// The whole message was written before the connection closed: nobody knows how much of it was read.
		"closes-in-data":    {script: script{answers: map[string]string{"message": closes}}, mode: none, class: "unknown_after_data", text: "end of data", counted: true},
		"closes-after-dot":  {script: script{answers: map[string]string{".": closes}}, mode: none, class: "unknown_after_data", text: "end of data", counted: true},
		"garbage-after-dot": {script: script{answers: map[string]string{".": "ok"}}, mode: none, class: "unknown_after_data", counted: true},
		"busy":              {script: script{answers: map[string]string{"greeting": "421 4.7.0 too many connections"}}, mode: none, class: "reply", status: 421},
		"refuses-all":       {script: script{answers: map[string]string{"greeting": "554 5.7.1 go away"}}, mode: none, class: "reply", status: 554},
		"wrong-certificate": {script: script{offers: []string{"STARTTLS"}, certificate: wrong}, mode: required, ca: wrongCA, class: "tls", text: "127.0.0.1"},
		"no-starttls":       {script: script{offers: []string{"AUTH PLAIN LOGIN"}}, mode: required, change: user, class: "tls", text: "STARTTLS"},
		"auth-in-clear":     {script: script{offers: []string{"AUTH PLAIN LOGIN"}}, mode: opportunistic, change: user, class: "auth", text: "verified TLS"},
		"wants-auth":        {script: script{answers: map[string]string{"RCPT": "530 5.7.0 authenticate first"}}, mode: none, class: "reply", status: 530},
		"private-address": {mode: none, class: "refused_address", change: func(p *configv1.SmtpProfile) {
			p.Name, p.Host = "tenants/other/smtpProfiles/private-address", "localhost"
		}},
		"no-such-host": {mode: none, class: "dns", change: func(p *configv1.SmtpProfile) { p.Host = "mail.invalid" }},
	}
	onServers(t, func(f *fixture) {
		neighbour := newMailServer(f)
		ports, servers := []uint16{neighbour.port}, map[string]*rawServer{}
		for id, c := range misbehaving {
			servers[id] = newRawServer(f, c.script)
			ports = append(ports, servers[id].port)
		}
		f.tenant(ports...)
		must[*configv1.Tenant](f)(f.tenants.CreateTenant(f.ctx, &configv1.CreateTenantRequest{Tenant: &configv1.Tenant{
			Name: "tenants/other", Outbound: &configv1.OutboundPolicy{Ports: []uint32{uint32(servers["private-address"].port)}},
		}}))
		healthy := f.store("neighbour", neighbour.profile(), nil)
		bad := map[string]*delivery.Delivery{}
		for id, c := range misbehaving {
			bad[id] = newDelivery(f, f.store(id, servers[id].profile(c.mode, c.ca), c.change), "1", "ana@mail.example")
		}
		r := f.start()
		for _, d := range bad {
			f.plan(d)
		}
		var good []*delivery.Delivery
		for n := range 1000 {
			good = append(good, newDelivery(f, healthy, "1", fmt.Sprintf("r%d@mail.example", n)))
		}
		f.plan(good...)
		neighbour.received(f, len(good))
		want := 0
		for _, c := range misbehaving {
			if c.class != "" {
				want++
			}
		}
		first := map[string]*deliveryv1.Attempt{}
		f.attempts(func(all []*deliveryv1.Attempt) bool {
			delivered := 0
			for _, a := range all {
				_, id, _ := strings.Cut(a.GetEndpoint(), "/smtpProfiles/")
				switch {
				case id != "neighbour" && first[id] == nil:
					first[id] = a
				case id == "neighbour" && a.GetSettlement() == deliveryv1.Settlement_SETTLEMENT_DELIVERED && a.GetNumber() == 1:
					delivered++
				case id == "neighbour":
					t.Errorf("the neighbour's attempt: %v", a)
				}
			}
			return len(first) >= want && delivered == len(good)
		})
		for id, c := range misbehaving {
			a := first[id]
			if c.class == "" {
				if a != nil {
					t.Errorf("%s is over: %v", id, a)
				}
				continue
			}
			if a.GetErrorClass() != c.class || a.GetStatus() != c.status || !strings.Contains(a.GetError(), c.text) || a.GetUncounted() == c.counted ||
				a.GetNumber() != 1 || a.GetFault() != deliveryv1.Fault_FAULT_RECEIVER || a.GetNextAttempt() == nil || a.GetSettlement() != 0 || len(a.GetError()) > 1<<10 {
				t.Errorf("%s: %v", id, a)
			}
			clear, commands, connections := servers[id].sent()
			if strings.Contains(clear, "AUTH") || c.class == "refused_address" && connections > 0 || !c.counted && c.status != 530 && strings.Contains(strings.Join(commands, " "), "MAIL") {
				t.Errorf("%s was sent %q over %d connections", id, commands, connections)
			}
		}
		for failing := r.env.Health.Failing(); len(failing) > 0; failing = r.env.Health.Failing() {
			if !pause.For(f.ctx, 5*time.Millisecond) {
				t.Fatalf("health has %v", failing)
			}
		}
	})
}

// user gives a profile an account.
func user(p *configv1.SmtpProfile) { p.Username, p.Password = "billing", "not-a-real-one" }

// A server that stands still costs minutes, and then is the profile's failure: slow, with a class of its own.
func TestSend_AServerThatStandsStillIsSlow(t *testing.T) {
	for name, c := range map[string]struct {
		at, how   string
		least     time.Duration
		class     string
		uncounted bool
	}{
		"it never greets":             {"greeting", hangs, 5 * time.Minute, "timeout", true},
		"it drips its greeting":       {"greeting", drips, 5 * time.Minute, "timeout", true},
		"it drips its answer to RCPT": {"RCPT", drips, 5 * time.Minute, "timeout", false},
		"it never answers DATA":       {"DATA", hangs, 2 * time.Minute, "timeout", false},
		"it never answers the dot":    {".", hangs, 10 * time.Minute, "unknown_after_data", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				raw := &rawServer{script: script{answers: map[string]string{c.at: c.how}}}
				p := raw.profile(configv1.SmtpTls_SMTP_TLS_NONE, "")
				p.Name = "tenants/sample/smtpProfiles/billing"
				s := newSending(t, p, loopback())
				s.p.server.Dialer = raw
				o := s.send("ana@mail.example")
				took := o.Finished.Sub(o.Started)
				if o.Result != delivery.Failed || o.ErrorClass != c.class || o.Uncounted != c.uncounted || took < c.least || took > c.least+2*time.Second {
					t.Errorf("after %s: %+v", took, o)
				}
				if slow := o.Fault == delivery.FaultSlow; slow != (c.class == "timeout") {
					t.Errorf("fault %s", o.Fault)
				}
			})
		})
	}
}
