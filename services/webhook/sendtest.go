package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/template"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

const (
	// testedType is the type of the sample event where none is named.
	testedType = "safeguard.alert"
	// testCode stands for notification and action of a test.
	testCode = "test"
)

// tests serves TestService.
type tests struct {
	deliveryv1.UnimplementedTestServiceServer
	send     *sender
	requests *service.Tests
	denied   []netip.Prefix
	clock    func() time.Time
}

// SendTest implements deliveryv1.TestServiceServer.
func (t *tests) SendTest(ctx context.Context, req *deliveryv1.SendTestRequest) (*deliveryv1.SendTestResponse, error) {
	snapshot, end, err := t.requests.Begin()
	if err != nil {
		return nil, err
	}
	defer end()
	if req.GetTo() != "" {
		return nil, fault.NewInvalid(reason.RequestInvalid, fault.Violation{Field: "to", Description: "must be empty: an endpoint is all there is"})
	}
	e, err := t.target(snapshot, req)
	if err != nil {
		return nil, err
	}
	name := req.GetType()
	if name == "" {
		name = testedType
	}
	d, err := t.delivery(e, name)
	if err != nil {
		return nil, err
	}
	out := t.send.attempt(ctx, d, e)
	return service.TestAnswer(ctx, d, &out)
}

// target is the endpoint that a request names or holds, ready to be sent to.
func (t *tests) target(s *configclient.Snapshot, req *deliveryv1.SendTestRequest) (*endpoint, error) {
	if inline := req.GetEndpoint(); inline != nil {
		return t.inline(s, inline)
	}
	found, ok := s.Target(req.GetName())
	if ok {
		_, ok = found.Value.(*webhook.Endpoint)
	}
	if !ok {
		return nil, fault.New(fault.NotFound, "ENDPOINT_NOT_FOUND", "no endpoint has the name %q", req.GetName())
	}
	e := newEndpoint(found, s, t.denied)
	if e.Broken != nil {
		return nil, fault.New(fault.Precondition, "ENDPOINT_UNUSABLE", "the endpoint can't be sent to: %w", e.Broken)
	}
	return e, nil
}

// inline checks an endpoint as config does when one is saved.
func (t *tests) inline(s *configclient.Snapshot, given *configv1.Endpoint) (*endpoint, error) {
	tenant, err := service.CheckInline(s, webhook.Channel.Target, given)
	if err != nil {
		return nil, err
	}
	decoded, faults := webhook.Decode(given)
	if len(faults) > 0 {
		return nil, fault.New(fault.Invalid, reason.ConfigInvalid, "endpoint: %w", errors.Join(faults...))
	}
	e := prepare(decoded, tenant, t.denied)
	if e.Broken != nil {
		return nil, fault.New(fault.Invalid, reason.ConfigInvalid, "endpoint: %w", e.Broken)
	}
	return e, nil
}

// delivery renders a sample event for an endpoint.
func (t *tests) delivery(e *endpoint, name string) (*delivery.Delivery, error) {
	now := t.clock()
	sample, ok := event.Sample(name, e.Tenant, "test-"+strconv.FormatInt(now.UnixNano(), 36), now)
	if !ok {
		return nil, fault.NewInvalid(reason.RequestInvalid, fault.Violation{Field: "type", Description: fmt.Sprintf("%q is no type of event", name)})
	}
	message, err := webhook.Action{Endpoint: e.Name}.Render(sampled{sample}, e.Planning(), channel.Recipient{ID: e.Name}, channel.Position{})
	if err != nil {
		return nil, fmt.Errorf("render the test: %w", err)
	}
	d := &delivery.Delivery{
		ID:     delivery.NewID(sample.Time, sample.Tenant, sample.Source, sample.Subject, sample.ID, testCode, testCode, "", e.Name),
		Tenant: sample.Tenant, Notification: testCode, Action: testCode, Endpoint: e.Name,
		Event:       delivery.EventReference{Source: sample.Source, ID: sample.ID, Type: sample.Type, Subject: sample.Subject, Time: sample.Time},
		ContentType: message.ContentType, Body: message.Body, PlannedAt: sample.Time,
	}
	for _, h := range message.Headers {
		d.Headers = append(d.Headers, delivery.Header{Name: h.Name, Value: h.Value})
	}
	return d, nil
}

// sampled is a sample event as rendering sees it.
type sampled struct{ event *event.Event }

var _ channel.Occasion = sampled{}

// Event implements channel.Occasion.
func (s sampled) Event() *event.Event { return s.event }

// Notification implements channel.Occasion.
func (sampled) Notification() string { return testCode }

// Firing is none.
func (sampled) Firing() string { return "" }

// Parameters implements channel.Occasion: a test has one parameter, which names it as one.
func (sampled) Parameters(channel.Audience) ([]channel.Parameter, error) {
	return []channel.Parameter{{Name: testCode, Text: "true"}}, nil
}

// Text implements channel.Occasion: webhooks have no texts of their own.
func (sampled) Text(int, channel.Audience, template.Reader) (string, error) { return "", nil }

// Reader implements channel.Occasion.
func (sampled) Reader() template.Reader { return template.Reader{} }

// Users implements channel.Occasion.
func (sampled) Users(string) []channel.User { return nil }

// LegalNotice implements channel.Occasion.
func (sampled) LegalNotice() bool { return false }

// Once implements channel.Occasion.
func (sampled) Once(_ any, made func() any) any { return made() }
