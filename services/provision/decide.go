package provision

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/receiver"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/provision/chain"
)

// keys are where idempotency keys stand.
type keys interface {
	Claim(ctx context.Context, name, content, holder string, hold time.Duration) (state.Settlement, error)
	Decide(ctx context.Context, name, holder string, answer []byte) (state.Settlement, error)
	Release(ctx context.Context, name, holder string) error
	MarkPublished(ctx context.Context, name string) error
}

// deciding serves ProvisioningService.
type deciding struct {
	provisionv1.UnimplementedProvisioningServiceServer
	newest  func() *book
	chain   *chain.Chain
	asker   *asker
	keys    keys
	log     *executionLog
	events  *publisher
	clock   func() time.Time
	logger  *zap.Logger
	metrics *metrics
}

const (
	// waitForHolder is between two looks at a key that another call holds.
	waitForHolder = 20 * time.Millisecond
	// graceOfHolder is how long after its deadline a call still holds its key: it may be storing its answer.
	graceOfHolder = time.Second
	// releaseTimeout bounds the giving back of a key whose caller has gone.
	releaseTimeout = time.Second
)

// Decide implements provisionv1.ProvisioningServiceServer: the story of one action. It is decided where its answer stands under
// its key, and published before the caller gets it. Whoever dies between the two leaves a key that the next call with it
// publishes.
func (d *deciding) Decide(ctx context.Context, req *provisionv1.DecideRequest) (_ *provisionv1.DecideResponse, err error) {
	began := d.clock().UTC().Truncate(time.Millisecond)
	a, err := read(req, began)
	if err != nil {
		return nil, err
	}
	b := d.newest()
	if b == nil {
		return nil, fault.New(fault.Unavailable, reason.ConfigNotRead, "no configuration was read yet: nothing can be decided").After(time.Second)
	}
	if _, ok := b.snapshot.Tenant(a.event.Tenant); !ok {
		return nil, fault.NewInvalid(reason.UnknownTenant, fault.Violation{Field: "tenant", Description: fmt.Sprintf("%.64q does not exist", a.event.Tenant)})
	}
	asked := time.Now()
	end, err := chain.Budget(ctx, asked)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, context.DeadlineExceeded)
	}
	defer func() { d.metrics.decided(err, time.Since(asked)) }()
	if a.dryRun {
		return d.ask(ctx, a, b, end)
	}
	holder := rand.Text()
	for {
		stands, err := d.claim(ctx, a, holder, end)
		if err != nil {
			return nil, err
		}
		if stands == nil {
			if stands, err = d.decide(ctx, a, b, holder, end); err != nil {
				return nil, err
			}
		} else {
			d.metrics.repeated.Inc()
		}
		if stands != nil {
			return d.settle(ctx, a, stands)
		}
		// The claim was lost: another call asks meanwhile, or has decided.
	}
}

// answer is what stands under a key.
type answer struct {
	response  *provisionv1.DecideResponse
	published bool
}

// claim takes the key of an action, waiting for whoever holds it. It returns what was decided under it before; nil where the
// key is ours.
func (d *deciding) claim(ctx context.Context, a *action, holder string, end time.Time) (*answer, error) {
	for {
		s, err := d.keys.Claim(ctx, a.key, a.content, holder, time.Until(end)+graceOfHolder)
		if err != nil {
			return nil, unavailable("the idempotency key can't be read", err)
		}
		switch s.State {
		case state.Claimed:
			return nil, nil
		case state.Reused:
			return nil, fault.New(fault.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "the idempotency key stands for another action: draw a new key for each action")
		case state.Decided, state.Published:
			return stored(s, true)
		}
		if time.Until(end) <= 0 || !pause.For(ctx, waitForHolder) {
			return nil, fault.New(fault.Unavailable, "DECISION_UNDER_WAY", "another call with this key is under way: repeat the call").After(time.Second)
		}
	}
}

// stored reads an answer that is stored.
func stored(s state.Settlement, repeated bool) (*answer, error) {
	out := &answer{response: &provisionv1.DecideResponse{}, published: s.State == state.Published}
	if err := proto.Unmarshal(s.Answer, out.response); err != nil {
		return nil, fmt.Errorf("read the answer under an idempotency key: %w", err)
	}
	out.response.Repeated = repeated
	return out, nil
}

// decide asks the handlers and stores what came of it. nil where the key was lost meanwhile.
func (d *deciding) decide(ctx context.Context, a *action, b *book, holder string, end time.Time) (*answer, error) {
	r, err := d.ask(ctx, a, b, end)
	if err != nil {
		releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if err := d.keys.Release(releasing, a.key, holder); err != nil {
			d.logger.Warn("idempotency key not given back, it is free after its time", zap.Error(err))
		}
		return nil, err
	}
	if r.GetDecision() == provisionv1.Decision_DECISION_ALLOW {
		r.EventId = a.event.ID
	}
	encoded, err := proto.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("store the decision: %w", err)
	}
	s, err := d.keys.Decide(ctx, a.key, holder, encoded)
	switch {
	case err != nil:
		return nil, unavailable("the decision can't be stored: repeat the call with the same key", err)
	case s.State == state.Lost:
		return nil, nil
	}
	return stored(s, string(s.Answer) != string(encoded))
}

// settle publishes an allowed action that is not known to be published, and answers.
func (d *deciding) settle(ctx context.Context, a *action, stands *answer) (*provisionv1.DecideResponse, error) {
	r := stands.response
	if stands.published || r.GetDecision() != provisionv1.Decision_DECISION_ALLOW {
		return r, nil
	}
	e := *a.event
	data, err := r.GetData().UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("read the data of a decision: %w", err)
	}
	// As it was decided, whoever publishes it: the record has the same bytes.
	e.Data, e.Time, e.ReceivedAt = data, r.GetTime().AsTime(), r.GetTime().AsTime()
	if err := d.events.publish(ctx, &e); err != nil {
		return nil, unavailable("the action is allowed, and whether its event is in the log is not known: repeat the call with the same key", err)
	}
	if err := d.keys.MarkPublished(ctx, a.key); err != nil {
		// The next call with the key publishes the same record once more.
		d.logger.Warn("idempotency key not marked as published", zap.Error(err))
	}
	return r, nil
}

// ask runs the chain of an action. The answer holds everything but the id of the event.
func (d *deciding) ask(ctx context.Context, a *action, b *book, end time.Time) (*provisionv1.DecideResponse, error) {
	handlers := b.chains[chainKey{a.event.Tenant, a.event.Type}]
	got, err := d.chain.Run(ctx, d.asker.about(question{b, a.event, receiver.StageBefore}), handlers, a.event.Data, end)
	var ours chain.Ours
	switch {
	case errors.As(err, &ours):
		return nil, unavailable("a handler can't be asked from this machine", err)
	case err != nil:
		return nil, fmt.Errorf("ask handlers: %w", err)
	}
	d.metrics.asked(got)
	d.log.write(ctx, a, b, got)
	return response(got, a.event)
}

// response is the answer of a chain.
func response(got *chain.Answer, e *event.Event) (*provisionv1.DecideResponse, error) {
	data, err := anypb.New(got.Data)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	r := &provisionv1.DecideResponse{
		Decision: provisionv1.Decision_DECISION_ALLOW, DecidedBy: provisionv1.DecidedBy_DECIDED_BY_ALL_HANDLERS,
		Reason: got.Reason, Data: data, Time: timestamppb.New(e.Time),
	}
	for i := range got.Results {
		r.Handlers = append(r.Handlers, resultOf(&got.Results[i]))
	}
	switch {
	case got.Forbidden:
		r.Decision, r.DecidedBy, r.Handler = provisionv1.Decision_DECISION_FORBID, provisionv1.DecidedBy_DECIDED_BY_HANDLER, got.By.Handler.Name
		if got.ByPolicy {
			r.DecidedBy = provisionv1.DecidedBy_DECIDED_BY_FAILURE_POLICY
		}
	case len(got.Results) == 0:
		r.DecidedBy = provisionv1.DecidedBy_DECIDED_BY_NO_HANDLER
	}
	return r, nil
}

func timestamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }

func unavailable(text string, err error) error {
	return fault.New(fault.Unavailable, reason.OutcomeUnknown, "%s: %w", text, err).After(time.Second)
}

// publisher puts events into the log.
type publisher struct {
	produce            func(ctx context.Context, records ...stream.Record) error
	ordered, unordered string
}

func (p *publisher) publish(ctx context.Context, e *event.Event) error {
	topic := p.ordered
	if t, ok := event.Lookup(e.Type); ok && t.Queue == event.Unordered {
		topic = p.unordered
	}
	r, err := e.Record(topic)
	if err != nil {
		return err //nolint:wrapcheck // the caller adds what it is of
	}
	return p.produce(ctx, r)
}
