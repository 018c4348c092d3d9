package trace

import (
	"strconv"
	"time"
)

// Names of the spans, one for each stop.
const (
	NameIngest    = "ingest"
	NameSafeguard = "safeguard count"
	NameTrigger   = "trigger evaluate"
	NameDecide    = "provision decide"
	NameHandler   = "provision handler"
)

// NameAttempt is that of an attempt of a channel.
func NameAttempt(channel string) string { return channel + " attempt" }

// Begin is a trace for an event without a traceparent, by what identifies it: the same event begins the same trace.
func Begin(tenant, source, subject, id string, at time.Time) Parent {
	sum := hash("trace", []string{tenant, source, subject, id, strconv.FormatInt(at.UnixMilli(), 10)})
	p := Parent{flags: sampled}
	copy(p.trace[:], sum[:])
	if !p.trace.IsValid() {
		p.trace[0] = 1
	}
	return p
}

// Ingest is the span of the event's acceptance. What it follows is the producer's, and may be shared by many events.
func (p Parent) Ingest(tenant, source, subject, id string) SpanID {
	return p.derive(NameIngest, tenant, source, subject, id)
}

// Safeguard is the span of the counting of an event.
func (p Parent) Safeguard(source, id string) SpanID { return p.derive(NameSafeguard, source, id) }

// Forwarded is the span of the counting of an event that was sent on to the subscriber's new number.
func (p Parent) Forwarded(source, id string) SpanID {
	return p.derive(NameSafeguard, source, id, "forwarded")
}

// Trigger is the span of the evaluation of an event.
func (p Parent) Trigger(source, id string) SpanID { return p.derive(NameTrigger, source, id) }

// Attempt is the span of one attempt of a delivery; job is that of a replay.
func (p Parent) Attempt(delivery, job string, number int) SpanID {
	return p.derive("attempt", delivery, job, strconv.Itoa(number))
}

// Handler is the span of a question to a handler, the number-th that is put to it under its parent.
func (p Parent) Handler(name, source, id string, number int) SpanID {
	return p.derive(NameHandler, name, source, id, strconv.Itoa(number))
}
