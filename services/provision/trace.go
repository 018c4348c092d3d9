package provision

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/trace"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/provision/chain"
	"github.com/tollgate/tollgate/services/provision/reply"
)

// traced ends the span of a call to Decide. Its action's event, and the handlers' spans, go on under it; where it is not recorded
// they go on under the call's traceparent. Its id is drawn at random: a repeated call is another one.
func (d *deciding) traced(ctx context.Context, a *action, began time.Time) func(*provisionv1.DecideResponse, error) {
	if came := rpc.TraceOf(ctx); event.ValidTrace(came) {
		a.event.Trace = came
	}
	e := a.event
	parent, ok := d.asker.tracer.Begins(e.Trace, e.Tenant, e.Source, e.Subject, e.ID, began)
	if !ok {
		return func(*provisionv1.DecideResponse, error) {}
	}
	id := trace.NewSpanID()
	e.Trace = parent.Before(id)
	return func(r *provisionv1.DecideResponse, err error) {
		span := trace.Span{
			Name: trace.NameDecide, Kind: trace.Server, Parent: parent, ID: id, Start: began, End: d.clock(),
			Attributes: append(trace.OfEvent(e.Tenant, e.Type, e.Source, e.ID), attribute.String(trace.Decision, r.GetDecision().String())),
		}
		if err != nil {
			span.Failed = fault.ReasonOf(err)
		}
		d.asker.tracer.Record(span)
	}
}

// traced asks, and records a span of the question. One after an event arrived has the same id when it is repeated after a crash.
func (a *asker) traced(ctx context.Context, q question, parent trace.Parent, h *chain.Handler, data proto.Message) (reply.Reply, chain.Exchange, error) {
	e, of := q.event, q.book.handlers[h.Name]
	id := parent.Handler(h.Name, e.Source, e.ID, q.try)
	q.traceparent = parent.Before(id)
	began := a.clock()
	r, x, err := a.ask(ctx, q, h, data)
	span := trace.Span{
		Name: trace.NameHandler, Kind: trace.Client, Parent: parent, ID: id, Start: began, End: a.clock(),
		Attributes: append(trace.OfEvent(e.Tenant, e.Type, e.Source, e.ID), attribute.String(trace.Hook, h.Name), attribute.String(trace.Stage, q.stage)),
	}
	if of.receiver != nil && x.Status > 0 {
		span.Attributes = append(span.Attributes, attribute.Int(trace.HTTPStatus, x.Status))
	}
	switch {
	case err != nil:
		// Never the text of an error: it quotes the handler.
		span.Failed = "no usable answer"
	case r.Forbidden:
		span.Attributes = append(span.Attributes, attribute.String(trace.Decision, "forbid"))
	default:
		span.Attributes = append(span.Attributes, attribute.String(trace.Decision, "allow"), attribute.Int(trace.Changes, len(r.Changes)))
	}
	a.tracer.Record(span)
	return r, x, err
}
