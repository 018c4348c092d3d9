package safeguard

import (
	"go.opentelemetry.io/otel/attribute"

	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/trace"
)

// counted records the span of an event's counting; nil where tracing is off. A repeat has the same ids.
func counted(t *trace.Tracer) func(fold.Applied) {
	if t == nil {
		return nil
	}
	return func(a fold.Applied) {
		parent, ok := t.Parent(a.Event.Trace)
		if !ok {
			return
		}
		e := a.Event
		id := parent.Safeguard(e.Source, e.ID)
		if a.Forwarded {
			parent, id = parent.Of(id), parent.Forwarded(e.Source, e.ID)
		}
		t.Record(trace.Span{
			Name: trace.NameSafeguard, Kind: trace.Consumer, Parent: parent, ID: id, Start: a.Begun, End: a.Published,
			Attributes: append(trace.OfEvent(e.Tenant, e.Type, e.Source, e.ID), attribute.String(trace.Topic, a.Topic),
				attribute.Int(trace.Partition, int(a.Partition)), attribute.Int64(trace.Offset, a.Offset), attribute.Int(trace.Outcomes, a.Outcomes)),
		})
	}
}
