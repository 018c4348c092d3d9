package provision

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/receiver"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/provision/chain"
)

// TestRun implements provisionv1.ProvisioningServiceServer: one question to one handler, through a chain of its own, so that no
// circuit and no place counts it.
func (d *deciding) TestRun(ctx context.Context, req *provisionv1.TestRunRequest) (*provisionv1.TestRunResponse, error) {
	_, done, err := d.tests.Begin()
	if err != nil {
		return nil, err
	}
	defer done()
	b := d.newest()
	h := b.handlers[req.GetName()]
	if h == nil {
		return nil, fault.New(fault.NotFound, "HOOK_NOT_FOUND", "there is no hook %.200s", req.GetName())
	}
	a, t, err := sampled(req, b, h, d.clock().UTC().Truncate(time.Millisecond))
	if err != nil {
		return nil, err
	}
	end, err := chain.Budget(ctx, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, context.DeadlineExceeded)
	}
	alone := &chain.Chain{}
	got, err := alone.Run(ctx, d.asker.about(question{book: b, event: a.event, stage: receiver.StageTest}), []*chain.Handler{h.of(t)}, a.event.Fields(), end)
	var ours chain.Ours
	switch {
	case errors.As(err, &ours):
		return nil, unavailable("the handler can't be asked from this machine", err)
	case err != nil:
		return nil, fmt.Errorf("test a hook: %w", err)
	}
	r, err := response(got, a.event)
	if err != nil {
		return nil, err
	}
	d.log.write(ctx, d.log.records(ctx, a, b, got))
	x := got.Results[0].Exchange
	return &provisionv1.TestRunResponse{
		Result: r.GetHandlers()[0], Decision: r.GetDecision(), Reason: r.GetReason(), Data: r.GetData(), Type: a.event.Type,
		Sent: cut(x.Sent, maxKept), Received: cut(x.Received, maxKept),
	}, nil
}

// sampled is the action that a request is about, and its type. What the request leaves out is that of the type's example.
func sampled(req *provisionv1.TestRunRequest, b *book, h *handler, now time.Time) (*action, *event.Type, error) {
	name := req.GetType()
	if name == "" && len(h.Types) > 0 {
		name = h.Types[0]
	}
	t := b.lookup(h.Tenant, name)
	if t == nil || !slices.Contains(h.Types, name) {
		return nil, t, fault.NewInvalid(reason.RequestInvalid, fault.Violation{
			Field: "type", Description: fmt.Sprintf("the hook is asked about %s, not about %.128q", strings.Join(h.Types, ", "), name),
		})
	}
	sample := t.Sample(h.Tenant, "", now)
	data := req.GetData()
	if data == nil {
		var err error
		if data, err = anypb.New(sample.Data); err != nil {
			return nil, t, fmt.Errorf("write the example of %s: %w", name, err)
		}
	}
	a, err := read(&provisionv1.DecideRequest{
		Tenant: h.Tenant, Type: name, ObjectId: cmp.Or(req.GetObjectId(), sample.Subject[strings.LastIndexByte(sample.Subject, '/')+1:]),
		Data: data, IdempotencyKey: "test-" + rand.Text(), DryRun: true,
	}, b, provisionv1.Execution_STAGE_TEST, now)
	return a, t, err
}
