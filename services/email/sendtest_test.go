package email

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	server "github.com/emersion/go-smtp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// tester runs the service as it is deployed, and calls its TestService as an operator.
func (f *fixture) tester() deliveryv1.TestServiceClient {
	f.Helper()
	f.cfg.GRPC.KeyHashes = append(f.cfg.GRPC.KeyHashes, rpc.HashKey(operatorKey))
	return deliveryv1.NewTestServiceClient(f.dial(must[string](f)(f.start().env.Listeners.Wait(f.ctx, "grpc")), operatorKey))
}

// sendTest sends one, and waits for the service to have its configuration.
func (f *fixture) sendTest(client deliveryv1.TestServiceClient, req *deliveryv1.SendTestRequest) (*deliveryv1.SendTestResponse, error) {
	for {
		answer, err := client.SendTest(f.ctx, req)
		if fault.ReasonOf(err) != "CONFIG_NOT_READ" {
			return answer, err
		}
	}
}

func named(name, to string) *deliveryv1.SendTestRequest {
	return &deliveryv1.SendTestRequest{Target: &deliveryv1.SendTestRequest_Name{Name: name}, To: to}
}

func inline(p *configv1.SmtpProfile, to string) *deliveryv1.SendTestRequest {
	return &deliveryv1.SendTestRequest{Target: &deliveryv1.SendTestRequest_SmtpProfile{SmtpProfile: p}, To: to}
}

// stepsOf are the commands of an attempt with the codes of their answers, without what differs from run to run.
func stepsOf(a *deliveryv1.Attempt) (out []string) {
	for _, s := range a.GetSteps() {
		name, _, _ := strings.Cut(s.GetName(), " SIZE=")
		if strings.HasPrefix(name, "connect ") {
			name = "connect"
		}
		out = append(out, fmt.Sprintf("%s %d", name, s.GetStatus()))
		if s.GetAnswer() == "" || s.GetDuration() == nil {
			out = append(out, "no answer")
		}
	}
	return out
}

// A draft that is paused, by a server that wants TLS and a password: the whole conversation, and nothing of it is recorded.
func TestSendTest_ShowsEachStepAndRecordsNothing(t *testing.T) {
	onServers(t, func(f *fixture) {
		certificate, ca := selfSigned(f, nil)
		raw := newRawServer(f, script{offers: []string{"STARTTLS"}, inside: []string{"AUTH PLAIN", "SIZE 100000"}, certificate: certificate})
		f.tenant(raw.port)
		name := f.store("draft", raw.profile(configv1.SmtpTls_SMTP_TLS_REQUIRED, ca), func(p *configv1.SmtpProfile) {
			user(p)
			p.Status, p.Paused = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT, true
		})
		client := f.tester()
		answer, err := f.sendTest(client, named(name, "Ana <ana@mail.example>"))
		if err != nil {
			f.Fatal(err)
		}
		a := answer.GetAttempt()
		want := "connect 0|greeting 220|EHLO localhost 250|STARTTLS 220|TLS 0|EHLO localhost 250|AUTH PLAIN **** 235|" +
			"MAIL FROM:<billing@operator.example> 250|RCPT TO:<ana@mail.example> 250|DATA 354|message 0|. 250"
		if got := strings.Join(stepsOf(a), "|"); got != want {
			t.Errorf("steps\n%s, want\n%s", got, want)
		}
		if a.GetStatus() != 250 || a.GetEndpoint() != name || a.GetOffset() != 0 || a.GetTopic() != "" || a.GetPhases().GetTls() == nil || a.GetPhases().GetTotal() == nil || a.GetError() != "" {
			t.Errorf("%v", a)
		}
		if body := string(answer.GetBody()); !strings.Contains(body, name) || answer.GetContentType() == "" {
			t.Errorf("sent %s", body)
		}
		if strings.Contains(answer.String(), "not-a-real-one") {
			t.Errorf("the password is answered: %v", answer)
		}
		f.attempts(func(all []*deliveryv1.Attempt) bool {
			if len(all) != 0 {
				t.Errorf("recorded %v", all)
			}
			return true
		})
	})
}

// What fails is an answer, not an error of the call; and nobody is suppressed by a test.
func TestSendTest_AFailureIsAnAnswer(t *testing.T) {
	onServers(t, func(f *fixture) {
		m := newMailServer(f)
		m.answer = func(at, who string, _ int) refusal {
			if at == "RCPT" && who == "gone@mail.example" {
				return noMailboxHere
			}
			if at == "RCPT" && who == "full@mail.example" {
				return refusal{452, server.EnhancedCode{4, 2, 2}, "full"}
			}
			return refusal{}
		}
		f.tenant(m.port)
		live := f.store("live", m.profile(), nil)
		away := f.store("away", m.profile(), func(p *configv1.SmtpProfile) { p.Tls = configv1.SmtpTls_SMTP_TLS_REQUIRED })
		client := f.tester()
		// A connection that waits is not taken: a test shows how one is made.
		f.plan(newDelivery(f, live, "1", "ana@mail.example"))
		m.received(f, 1)
		for n, c := range []struct {
			profile, to, class string
			status             int32
		}{
			{live, "ana@mail.example", "", 250}, {live, "gone@mail.example", "reply", 550}, {live, "gone@mail.example", "reply", 550},
			{live, "full@mail.example", "reply", 452}, {away, "ana@mail.example", "tls", 0}, {live, "josé@mail.example", "smtputf8_not_offered", 0},
		} {
			answer, err := f.sendTest(client, named(c.profile, c.to))
			if a := answer.GetAttempt(); err != nil || a.GetErrorClass() != c.class || a.GetStatus() != c.status || (a.GetError() == "") != (c.class == "") || len(a.GetSteps()) < 3 || a.GetSteps()[1].GetName() != "greeting" {
				t.Errorf("%d: %v %v", n, answer, err)
			}
		}
		list := must[*configv1.ListSuppressionsResponse](f)(f.suppressions.ListSuppressions(f.ctx, &configv1.ListSuppressionsRequest{Parent: "tenants/sample"}))
		health := must[*configv1.SmtpProfile](f)(f.profiles.GetSmtpProfile(f.ctx, &configv1.GetSmtpProfileRequest{Name: live})).GetHealth()
		if len(list.GetSuppressions()) != 0 || health.GetFailures() != 0 {
			t.Errorf("suppressed %v, health %v", list, health)
		}
		// An address that is suppressed is sent to as well: whoever tests wants to know.
		must[*configv1.Suppression](f)(f.suppressions.CreateSuppression(f.ctx, &configv1.CreateSuppressionRequest{Suppression: &configv1.Suppression{
			Name: "tenants/sample/suppressions/eva%40mail.example",
		}}))
		if answer, err := f.sendTest(client, named(live, "eva@mail.example")); err != nil || answer.GetAttempt().GetStatus() != 250 {
			t.Errorf("%v %v", answer, err)
		}
	})
}

func TestSendTest_OfAProfileThatIsNotStored(t *testing.T) {
	onServers(t, func(f *fixture) {
		m := newMailServer(f)
		f.tenant(m.port)
		live := f.store("live", m.profile(), nil)
		client := f.tester()
		given := m.profile()
		given.Name = "tenants/sample/smtpProfiles/new"
		answer, err := f.sendTest(client, inline(given, "ana@mail.example"))
		if err != nil || answer.GetAttempt().GetStatus() != 250 || answer.GetAttempt().GetEndpoint() != given.GetName() {
			t.Errorf("%v %v", answer, err)
		}
		_, err = f.sendTest(client, inline(&configv1.SmtpProfile{
			Name: "tenants/nobody/smtpProfiles/x", Host: "10.0.0.1", Port: 22, Username: "ana", Password: "****", CaCertificates: "x", FromAddress: "a@b.example, c@d.example",
		}, "ana@mail.example"))
		fields := map[string]bool{}
		for _, v := range fault.ViolationsOf(err) {
			fields[v.Field] = true
		}
		for _, want := range []string{"name", "host", "password", "ca_certificates", "from_address"} {
			if !fields["smtp_profile."+want] {
				t.Errorf("smtp_profile.%s is not among the violations of %v", want, err)
			}
		}
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("%v", err)
		}
		for name, c := range map[string]struct {
			req  *deliveryv1.SendTestRequest
			kind fault.Kind
		}{
			"no profile":      {&deliveryv1.SendTestRequest{To: "ana@mail.example"}, fault.NotFound},
			"an unknown name": {named("tenants/sample/smtpProfiles/none", "ana@mail.example"), fault.NotFound},
			"another kind":    {named("tenants/sample", "ana@mail.example"), fault.NotFound},
			"an endpoint":     {named("tenants/sample/endpoints/live", "ana@mail.example"), fault.NotFound},
			"no address":      {named(live, ""), fault.Invalid},
			"two addresses":   {named(live, "ana@mail.example, eva@mail.example"), fault.Invalid},
			"an event":        {&deliveryv1.SendTestRequest{Target: named(live, "").GetTarget(), To: "ana@mail.example", Type: "safeguard.alert"}, fault.Invalid},
			"a header":        {named(live, "ana@mail.example\r\nBcc: eva@mail.example"), fault.Invalid},
			"a long address":  {named(live, strings.Repeat("a", 400)+"@mail.example"), fault.Invalid},
		} {
			if _, err := f.sendTest(client, c.req); fault.KindOf(err) != c.kind {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := m.messages(); len(got) != 1 {
			t.Errorf("%d messages", len(got))
		}
		// Nobody calls it without a key.
		stranger := deliveryv1.NewTestServiceClient(f.dial(must[string](f)(f.start().env.Listeners.Wait(f.ctx, "grpc")), "tg_wrong"))
		_, err = stranger.SendTest(f.ctx, named(live, "ana@mail.example"))
		for status.Code(err) == codes.Unavailable && f.ctx.Err() == nil { // until tenants' keys are known
			_, err = stranger.SendTest(f.ctx, named(live, "ana@mail.example"))
		}
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("%v", err)
		}
	})
}

func TestSendTest_AtMostSixteenAtOnce(t *testing.T) {
	full := &tests{requests: service.NewTests(func() *configclient.Snapshot { return &configclient.Snapshot{} })}
	for range service.MaxTests {
		if _, _, err := full.requests.Begin(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := full.SendTest(t.Context(), named("x", "ana@mail.example")); fault.KindOf(err) != fault.Throttled {
		t.Errorf("%v", err)
	}
}

// A server that never greets would take five minutes of whoever waits.
func TestSendTest_HasALimitAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := &rawServer{script: script{answers: map[string]string{"EHLO": hangs}}}
		p := raw.profile(configv1.SmtpTls_SMTP_TLS_NONE, "")
		p.Name = "tenants/sample/smtpProfiles/slow"
		s := newSending(t, p, loopback())
		s.p.server.Dialer = raw
		to, err := email.ParseAddress("ana@mail.example")
		if err != nil {
			t.Fatal(err)
		}
		tests, began := &tests{send: s.sender, clock: time.Now, limit: testLimit}, time.Now()
		answer, err := tests.try(t.Context(), s.p, to)
		if err != nil {
			t.Fatal(err)
		}
		steps, took := answer.GetAttempt().GetSteps(), time.Since(began)
		if last := steps[len(steps)-1]; answer.GetAttempt().GetErrorClass() != "timeout" || last.GetName() != "EHLO tollgate.example" || last.GetAnswer() != "no answer in time" || took != testLimit {
			t.Errorf("after %s: %v", took, answer)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if answer, err := tests.try(ctx, s.p, to); err == nil {
			t.Errorf("whoever hung up is answered %v", answer)
		}
	})
}
