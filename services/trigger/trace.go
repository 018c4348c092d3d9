package trigger

import (
	"go.opentelemetry.io/otel/attribute"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/trace"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// evaluated records the span of an event's evaluation; nil where tracing is off. A repeat has the same ids.
func evaluated(t *trace.Tracer) func(fold.Applied) {
	if t == nil {
		return nil
	}
	return func(a fold.Applied) {
		parent, ok := t.Parent(a.Event.Trace)
		if !ok {
			return
		}
		e := a.Event
		t.Record(trace.Span{
			Name: trace.NameTrigger, Kind: trace.Consumer, Parent: after(parent, e), ID: parent.Trigger(e.Source, e.ID), Start: a.Begun, End: a.Published,
			Attributes: append(trace.OfEvent(e.Tenant, e.Type, e.Source, e.ID), attribute.String(trace.Topic, a.Topic),
				attribute.Int(trace.Partition, int(a.Partition)), attribute.Int64(trace.Offset, a.Offset), attribute.Int(trace.Outcomes, a.Outcomes)),
		})
	}
}

// after is the stop before the trigger: ingest, or of what a safeguard publishes the counting of the event that caused it.
func after(p trace.Parent, e *event.Event) trace.Parent {
	if m, ok := e.Data.(*eventv1.Safeguard); ok {
		if by := m.GetCause().GetEvent(); by != nil {
			return p.Of(p.Safeguard(by.GetSource(), by.GetId()))
		}
	}
	return p
}
