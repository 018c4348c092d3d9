package service

import (
	"cmp"
	"context"
	"strconv"

	"go.opentelemetry.io/otel/attribute"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/trace"
)

// traced is a sender that records a span of each attempt. The receiver gets the attempt's own traceparent where the channel
// sends one.
type traced struct {
	delivery.Sender
	tracer *trace.Tracer
	name   string
	status string
}

// withTrace is the sender itself where tracing is off.
func withTrace(s *Service, t *trace.Tracer) delivery.Sender {
	if t == nil {
		return s.Sender
	}
	return &traced{Sender: s.Sender, tracer: t, name: trace.NameAttempt(s.Channel.Name), status: cmp.Or(s.Reply, trace.Reply)}
}

// Send implements delivery.Sender. What is sent nothing of, or is broken off by us, is tried again under the same number, and
// has no span.
func (s *traced) Send(ctx context.Context, d *delivery.Delivery, to delivery.Target, number int) delivery.Outcome {
	parent, ok := s.tracer.Parent(d.Trace)
	if !ok {
		return s.Sender.Send(ctx, d, to, number)
	}
	id := parent.Attempt(d.ID, d.ReplayJob, number)
	under := *d
	under.Trace = parent.Before(id)
	out := s.Sender.Send(ctx, &under, to, number)
	if out.Unfinished || out.Result == delivery.LocalFailure {
		return out
	}
	span := trace.Span{
		Name: s.name, Kind: trace.Client, Parent: parent.Of(parent.Trigger(d.Event.Source, d.Event.ID)), ID: id, Start: out.Started, End: out.Finished,
		Attributes: append(trace.OfEvent(d.Tenant, d.Event.Type, d.Event.Source, d.Event.ID),
			attribute.String(trace.Delivery, d.ID), attribute.Int(trace.Attempt, number),
			attribute.String(trace.Notification, d.Notification), attribute.String(trace.Endpoint, d.Endpoint)),
	}
	if out.Status > 0 {
		span.Attributes = append(span.Attributes, attribute.Int(s.status, out.Status))
	}
	if out.Result != delivery.Accepted {
		// Never the text of an error: it quotes the receiver.
		span.Failed = cmp.Or(out.ErrorClass, out.Reason, strconv.Itoa(out.Status))
		span.Attributes = append(span.Attributes, attribute.String(trace.ErrorType, span.Failed))
	}
	s.tracer.Record(span)
	return out
}
