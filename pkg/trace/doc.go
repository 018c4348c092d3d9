// Package trace makes the spans of an event's way: one at each stop, from ingest to the receiver's answer, under the
// event's W3C traceparent, exported by OTLP over gRPC.
//
// The traceparent that leaves ingest travels unchanged in the header of every record that follows. So what a fold
// publishes is the same whether tracing is on or off, whatever its ratio, and at every replay. The id of a later stop's
// span is a hash of that traceparent and of what the stop works on: each stop knows the id of the stop before it, and a
// record that is worked again makes the same span again. Ids are in stops.go.
//
// Nothing waits for a collector. Spans that do not fit into the queue, and spans that the collector does not take, are
// counted and dropped. A nil *Tracer makes no span and costs nothing.
package trace
