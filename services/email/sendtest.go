package email

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// testCode stands for notification and action of a test.
const testCode = "test"

// tests serves TestService: a message through the same code as any, that nobody records and that changes no health.
type tests struct {
	deliveryv1.UnimplementedTestServiceServer
	send     *sender
	requests *service.Tests
	maker    *maker
	clock    func() time.Time
	// limit bounds a test as a whole: a person waits for it, and few are under way at once.
	limit time.Duration
}

// testLimit is less than the server of a message may take, and more than one does that delays its greeting on purpose.
const testLimit = time.Minute

// SendTest implements deliveryv1.TestServiceServer.
func (t *tests) SendTest(ctx context.Context, req *deliveryv1.SendTestRequest) (*deliveryv1.SendTestResponse, error) {
	snapshot, end, err := t.requests.Begin()
	if err != nil {
		return nil, err
	}
	defer end()
	var f fault.Violations
	to, err := email.ParseAddress(req.GetTo())
	if err != nil {
		f.Add("to", "%v", err)
	}
	if req.GetType() != "" {
		f.Add("type", "must be empty: the test of a profile is no event")
	}
	if err := f.Err(reason.RequestInvalid); err != nil {
		return nil, err
	}
	p, err := t.profile(snapshot, req)
	if err != nil {
		return nil, err
	}
	return t.try(ctx, p, to)
}

// try sends the message of a test.
func (t *tests) try(ctx context.Context, p *profile, to email.Address) (*deliveryv1.SendTestResponse, error) {
	now := t.clock()
	planned := &email.Planned{
		To: to, Subject: "Test of " + p.ID, Domain: p.From.Domain,
		Text: "This message shows that the SMTP profile " + p.Name + " can send e-mail.\n",
	}
	message, err := planned.Message()
	if err != nil {
		return nil, err
	}
	id := testCode + "-" + strconv.FormatInt(now.UnixNano(), 36)
	d := &delivery.Delivery{
		ID:     delivery.NewID(now, p.Tenant, testCode, testCode, id, testCode, testCode, "", p.Name+" "+to.Key()),
		Tenant: p.Tenant, Notification: testCode, Action: testCode, Endpoint: p.Name, Recipient: to.Key(),
		ContentType: message.ContentType, Body: message.Body, PlannedAt: now,
	}
	// The test shows a whole conversation: it takes no connection that waits, and leaves none.
	if _, err := rand.Read(p.key[:]); err != nil {
		return nil, fmt.Errorf("send the test: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	out, _ := t.send.attempt(ctx, delivery.Outcome{Started: now}, d, p, planned)
	return service.TestAnswer(ctx, d, &out)
}

// profile is the one that a request names or holds. Its refusals are its own: a test changes nothing.
func (t *tests) profile(s *configclient.Snapshot, req *deliveryv1.SendTestRequest) (*profile, error) {
	if given := req.GetSmtpProfile(); given != nil {
		return t.inline(s, given)
	}
	found, ok := s.Target(req.GetName())
	var stored *email.Profile
	if ok {
		stored, ok = found.Value.(*email.Profile)
	}
	if !ok {
		return nil, fault.New(fault.NotFound, "SMTP_PROFILE_NOT_FOUND", "no SMTP profile has the name %q", req.GetName())
	}
	tenant, known := s.Tenant(stored.Tenant)
	if !known {
		tenant = &configclient.Tenant{}
	}
	p := t.maker.ready(stored, tenant)
	if found.Unreadable != nil {
		p.broken = found.Unreadable
	}
	if p.broken != nil {
		return nil, fault.New(fault.Precondition, "SMTP_PROFILE_UNUSABLE", "the SMTP profile can't be used: %w", p.broken)
	}
	return p, nil
}

// inline checks a profile as config does when one is saved.
func (t *tests) inline(s *configclient.Snapshot, given *configv1.SmtpProfile) (*profile, error) {
	tenant, err := service.CheckInline(s, email.Channel.Target, given)
	if err != nil {
		return nil, err
	}
	decoded, faults := email.Decode(given)
	if len(faults) > 0 {
		return nil, fault.New(fault.Invalid, reason.ConfigInvalid, "smtp_profile: %w", errors.Join(faults...))
	}
	p := t.maker.ready(decoded, tenant)
	if p.broken != nil {
		return nil, fault.New(fault.Invalid, reason.ConfigInvalid, "smtp_profile: %w", p.broken)
	}
	return p, nil
}
