package ingest

import (
	"go.opentelemetry.io/otel/attribute"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/trace"
)

// stop is the span of an event's acceptance, which begins when the event is received.
type stop struct {
	parent    trace.Parent
	id        trace.SpanID
	transport string
}

// stopOf makes the event go on under its own span, which every later stop derives its ids from. An event that is not
// recorded keeps the traceparent that it came with.
func (p *publisher) stopOf(e *event.Event, transport string) *stop {
	parent, ok := p.trace.Begins(e.Trace, e.Tenant, e.Source, e.Subject, e.ID, e.Time)
	if !ok {
		return nil
	}
	s := &stop{parent: parent, id: parent.Ingest(e.Tenant, e.Source, e.Subject, e.ID), transport: transport}
	e.Trace = parent.Before(s.id)
	return s
}

// recordAccepted records the spans of events that Kafka has acknowledged, or has not.
func (p *publisher) recordAccepted(entries []entry, results []stream.ProduceResult) {
	if p.trace == nil {
		return
	}
	now := p.clock()
	for i := range entries {
		s, e, at := entries[i].stop, entries[i].event, &results[i]
		if s == nil || e == nil {
			continue
		}
		span := trace.Span{
			Name: trace.NameIngest, Kind: trace.Server, Parent: s.parent, ID: s.id, Start: e.ReceivedAt, End: now,
			Attributes: append(trace.OfEvent(e.Tenant, e.Type, e.Source, e.ID),
				attribute.String(trace.Transport, s.transport), attribute.String(trace.Topic, entries[i].record.Topic)),
		}
		if at.Err != nil {
			span.Failed = "not acknowledged by Kafka"
		} else {
			span.Attributes = append(span.Attributes, attribute.Int(trace.Partition, int(at.Partition)), attribute.Int64(trace.Offset, at.Offset))
		}
		p.trace.Record(span)
	}
}
