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

	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/display"
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
	MarkPublished(ctx context.Context, names ...string) error
}

// deciding serves ProvisioningService.
type deciding struct {
	provisionv1.UnimplementedProvisioningServiceServer
	newest func() *book
	chain  *chain.Chain
	asker  *asker
	keys   keys
	marks  *marker
	log    *executionLog
	// ordered and unordered are the full names of the events' topics.
	ordered, unordered string
	clock              func() time.Time
	logger             *zap.Logger
	metrics            *metrics
	tests              *service.Tests
	failing            *failing
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
func (d *deciding) Decide(ctx context.Context, req *provisionv1.DecideRequest) (r *provisionv1.DecideResponse, err error) {
	began := d.clock().UTC().Truncate(time.Millisecond)
	b := d.newest()
	if b == nil {
		return nil, fault.New(fault.Unavailable, reason.ConfigNotRead, "no configuration was read yet: nothing can be decided").After(time.Second)
	}
	a, err := read(req, b, provisionv1.Execution_STAGE_BEFORE, began)
	if err != nil {
		return nil, err
	}
	if _, ok := b.snapshot.Tenant(a.event.Tenant); !ok {
		return nil, fault.NewInvalid(reason.UnknownTenant, fault.Violation{Field: "tenant", Description: fmt.Sprintf("%.64q does not exist", a.event.Tenant)})
	}
	ended := d.traced(ctx, a, began)
	defer func() { ended(r, err) }()
	asked := time.Now()
	end, err := chain.Budget(ctx, asked)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, context.DeadlineExceeded)
	}
	defer func() { d.metrics.decided(err, time.Since(asked)) }()
	if a.dryRun {
		r, executions, err := d.ask(ctx, a, b, end)
		d.log.write(ctx, executions)
		return r, err
	}
	holder := rand.Text()
	for {
		stands, err := d.claim(ctx, a, holder, end)
		if err != nil {
			return nil, err
		}
		var executions []stream.Record
		if stands == nil {
			if stands, executions, err = d.decide(ctx, a, b, holder, end); err != nil {
				d.log.write(ctx, executions)
				return nil, err
			}
		} else {
			d.metrics.repeated.Inc()
		}
		if stands != nil {
			return d.settle(ctx, a, stands, executions)
		}
		// The claim was lost: another call asks meanwhile, or has decided.
		d.log.write(ctx, executions)
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

// decide asks the handlers and stores what came of it. The answer is nil where the key was lost meanwhile; the executions are
// those of the handlers that were asked, whatever else.
func (d *deciding) decide(ctx context.Context, a *action, b *book, holder string, end time.Time) (*answer, []stream.Record, error) {
	r, executions, err := d.ask(ctx, a, b, end)
	if err != nil {
		releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if err := d.keys.Release(releasing, a.key, holder); err != nil {
			d.logger.Warn("idempotency key not given back, it is free after its time", zap.Error(err))
		}
		return nil, nil, err
	}
	if r.GetDecision() == provisionv1.Decision_DECISION_ALLOW {
		r.EventId = a.event.ID
	}
	encoded, err := proto.Marshal(r)
	if err != nil {
		return nil, executions, fmt.Errorf("store the decision: %w", err)
	}
	s, err := d.keys.Decide(ctx, a.key, holder, encoded)
	switch {
	case err != nil:
		return nil, executions, unavailable("the decision can't be stored: repeat the call with the same key", err)
	case s.State == state.Lost:
		return nil, executions, nil
	}
	stands, err := stored(s, string(s.Answer) != string(encoded))
	return stands, executions, err
}

// settle publishes an allowed action that is not known to be published, and with it the executions, and answers.
func (d *deciding) settle(ctx context.Context, a *action, stands *answer, executions []stream.Record) (*provisionv1.DecideResponse, error) {
	r := stands.response
	if stands.published || r.GetDecision() != provisionv1.Decision_DECISION_ALLOW {
		d.log.write(ctx, executions)
		return r, nil
	}
	e := *a.event
	data, err := r.GetData().UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("read the data of a decision: %w", err)
	}
	// As it was decided, whoever publishes it: the record has the same bytes.
	e.Data, e.Time, e.ReceivedAt = data, r.GetTime().AsTime(), r.GetTime().AsTime()
	record, err := d.record(&e)
	if err != nil {
		return nil, fmt.Errorf("publish the action: %w", err)
	}
	if err := d.log.writeBeside(ctx, record, executions); err != nil {
		return nil, unavailable("the action is allowed, and whether its event is in the log is not known: repeat the call with the same key", err)
	}
	d.marks.note(a.key)
	return r, nil
}

// record is that of an event on the topic of its type.
func (d *deciding) record(e *event.Event) (stream.Record, error) {
	topic := d.ordered
	if e.Queue() == event.Unordered {
		topic = d.unordered
	}
	return e.Record(topic)
}

// ask runs the chain of an action. The answer holds everything but the id of the event.
func (d *deciding) ask(ctx context.Context, a *action, b *book, end time.Time) (*provisionv1.DecideResponse, []stream.Record, error) {
	handlers := b.chains[chainKey{a.event.Tenant, a.event.Type}]
	got, err := d.chain.Run(ctx, d.asker.about(question{book: b, event: a.event, stage: receiver.StageBefore}), handlers, a.event.Fields(), end)
	var ours chain.Ours
	switch {
	case errors.As(err, &ours):
		return nil, nil, unavailable("a handler can't be asked from this machine", err)
	case err != nil:
		return nil, nil, fmt.Errorf("ask handlers: %w", err)
	}
	d.metrics.asked(got)
	for i := range got.Results {
		d.failing.observe(a.event.Tenant, a.event.Type, &got.Results[i])
	}
	r, err := response(got, a.event)
	return r, d.log.records(ctx, a, b, got), err
}

// response is the answer of a chain.
func response(got *chain.Answer, e *event.Event) (*provisionv1.DecideResponse, error) {
	made, err := e.Declared.Rewritten(e, got.Data)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	data, err := anypb.New(made.Data)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	r := &provisionv1.DecideResponse{
		Decision: provisionv1.Decision_DECISION_ALLOW, DecidedBy: provisionv1.DecidedBy_DECIDED_BY_ALL_HANDLERS,
		Reason: display.Text(got.Reason, maxForeign), Data: data, Time: timestamppb.New(e.Time),
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
