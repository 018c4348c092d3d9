package email

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/services/email/smtp"
)

// sender sends messages.
type sender struct {
	pool  *smtp.Pool
	clock func() time.Time
	// newest is the profile of a name as the newest revision has it; nil where there is none.
	newest     func(name string) *profile
	suppressed *suppressions
}

const (
	// reasonSuppressed is why a delivery to a suppressed address is cancelled.
	reasonSuppressed = "suppressed"
	// classMessage is of a planned message that can't be read or built. classProfile is of a profile that can't be used.
	classMessage = "message"
	classProfile = "request"
)

var errNotRead = errors.New("the suppressed addresses are not read yet")

// Send implements delivery.Sender: one message, over a connection of its profile. The profile is that of the newest revision
// when the attempt starts.
func (s *sender) Send(ctx context.Context, d *delivery.Delivery, to delivery.Target, _ int) delivery.Outcome {
	p := to.(*profile)
	if now := s.newest(p.Name); now != nil {
		p = now
	}
	out := delivery.Outcome{Started: s.clock()}
	planned, err := email.ReadPlanned(d.ContentType, d.Body)
	if err != nil {
		return s.refused(out, err)
	}
	switch suppressed, known := s.suppressed.has(p.Tenant, planned.To); {
	case !known:
		out.Result, out.ErrorClass, out.Error, out.Finished = delivery.LocalFailure, string(outbound.ClassLocal), errNotRead.Error(), s.clock()
		return out
	case suppressed:
		out.Result, out.Reason, out.Finished = delivery.Withdrawn, reasonSuppressed, s.clock()
		return out
	}
	out, v := s.attempt(ctx, out, d, p, planned)
	if v.suppress && !out.Unfinished {
		s.suppressed.add(p.Tenant, planned.To, out.Error)
	}
	return out
}

// attempt sends the message, whoever is suppressed.
func (s *sender) attempt(ctx context.Context, out delivery.Outcome, d *delivery.Delivery, p *profile, planned *email.Planned) (delivery.Outcome, finding) {
	if errors.Is(p.broken, secret.ErrUnknownKey) { // another replica may have the key, and this one gets it: no attempt is used
		out.Result, out.ErrorClass, out.Error, out.Finished = delivery.LocalFailure, string(outbound.ClassLocal), p.broken.Error(), s.clock()
		return out, finding{}
	}
	if p.broken != nil {
		out.ErrorClass, out.Error, out.Uncounted, out.Fault = classProfile, p.broken.Error(), true, delivery.FaultReceiver
		out.Finished = s.clock()
		return out, finding{}
	}
	message, err := email.Build(planned, email.Sending{
		ID: d.ID, Job: d.ReplayJob, Planned: delivery.Begins(d), Now: out.Started,
		From: p.From, ReplyTo: p.ReplyTo, ReturnPath: p.ReturnPath, DKIM: p.DKIM,
	})
	if err != nil {
		return s.refused(out, err), finding{}
	}
	sent := s.pool.Send(ctx, p.key, &p.server, smtp.Envelope{From: message.From, To: message.To, UTF8: message.UTF8}, message.Bytes)
	out.Finished = s.clock()
	out.RequestHeaders = []delivery.Header{{Name: "Message-ID", Value: message.MessageID}}
	out.RepeatedRequest = sent.Repeated
	out.Phases = delivery.Phases{DNS: sent.Phases.DNS, Connect: sent.Phases.Connect, TLS: sent.Phases.TLS, Total: out.Finished.Sub(out.Started)}
	for _, step := range sent.Steps {
		out.Steps = append(out.Steps, delivery.Step{
			Name: step.Command, Took: step.Took, Status: step.Reply.Code, EnhancedStatus: step.Reply.Enhanced, Answer: p.hide(step.Answer),
		})
	}
	if last := len(sent.Steps) - 1; last >= 0 && sent.Failed == nil {
		out.Status, out.EnhancedStatus = sent.Steps[last].Reply.Code, sent.Steps[last].Reply.Enhanced
	}
	v := p.refusals.note(classify(sent.Failed), planned.To.Key())
	out.Result, out.Fault, out.Busy, out.Uncounted = v.result, v.fault, v.busy, v.uncounted
	if f := sent.Failed; f != nil {
		// Broken off by us, whatever the error looks like: it shows nothing about the server.
		out.Unfinished = errors.Is(ctx.Err(), context.Canceled)
		out.Status, out.EnhancedStatus = f.Reply.Code, f.Reply.Enhanced
		out.ErrorClass, out.Error = string(f.Class), p.hide(f.Error())
	}
	return out, v
}

// refused is a delivery that no attempt can mend.
func (s *sender) refused(out delivery.Outcome, err error) delivery.Outcome {
	out.Result, out.Fault, out.ErrorClass, out.Error = delivery.Refused, delivery.FaultRecipient, classMessage, err.Error()
	out.Finished = s.clock()
	return out
}

// hide masks the profile's password in what a server sends back, also as AUTH sends it. One under 6 characters may be a word:
// it is masked in those forms alone.
func (p *profile) hide(text string) string {
	secret := string(p.Password)
	if secret == "" {
		return text
	}
	base64 := base64.StdEncoding.EncodeToString
	for _, form := range []string{
		base64([]byte("\x00" + p.Username + "\x00" + secret)), base64([]byte("user=" + p.Username + "\x01auth=Bearer " + secret + "\x01\x01")), base64([]byte(secret)), secret,
	} {
		if len(form) >= 6 {
			text = strings.ReplaceAll(text, form, "****")
		}
	}
	return text
}
