package event

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Event is one thing that happened. Times are UTC and whole milliseconds: that is what is on the wire and what
// contents are compared by.
type Event struct {
	// ID is the producer's, unique within tenant and source: the same id again is the same event.
	ID string
	// Source is the system that reports it, a URI reference as in CloudEvents.
	Source string
	// Type is a name of the catalog, such as "usage.charged".
	Type string
	// Tenant is the id of the tenant it belongs to; it has no slash.
	Tenant string
	// Subject is what it is about and what ordered types are ordered by: an MSISDN, or "client/42".
	Subject string
	// Time is when it happened by the producer's clock; zero when absent, which no valid event is.
	Time time.Time
	// ReceivedAt is when ingest accepted it, and the timestamp of its record; zero before that.
	ReceivedAt time.Time
	// Correlation is the reference of the transaction that caused it, echoed in what follows.
	Correlation string
	// Data is the message of the type, decoded; never nil in a valid event. It is shared, so it must not be changed.
	Data proto.Message
	// Unknown is what the data had in JSON and its message has no fields for, where the tenant keeps that; nil for none.
	Unknown *structpb.Struct
	// Declared is the type, where a tenant declares it and the event was read by its declaration: by a Parser, or by View.
	Declared *Type

	// Trace is the W3C traceparent it came with. It is in a record's header, never in its value.
	Trace string

	// fields are the data of a declared type in its message; nil where View has not read them.
	fields proto.Message
	// content is what Content answers, taken from the bytes that Decode read; 0 when not decoded.
	content uint64
}

// Key is what an ordered topic is keyed by and what a record of state is named: "tenant/subject".
func (e *Event) Key() string { return e.Tenant + "/" + e.Subject }

// Equal reports whether both are the same in every field on the wire. go-cmp uses it.
func (e *Event) Equal(other *Event) bool {
	if e == nil || other == nil {
		return e == other
	}
	a, errA := e.Encode(nil)
	b, errB := other.Encode(nil)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
