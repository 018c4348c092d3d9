// Package ingest is the way in: it takes events from producers, validates them, stamps them, and routes each to the
// ordered or the unordered topic by its type.
//
// Consumes events.inbound as the group ingest; serves IngestService on gRPC and POST /v1/events on HTTP. Produces
// events.ordered, events.unordered and, for the Kafka source alone, events.rejected; the synchronous APIs answer
// with the error instead. Asks the configuration service which tenants there are, and takes events while that is away.
//
// Promises: an event is accepted only once it is on Kafka, acknowledged by all in-sync replicas. Every violation of an
// event is reported at once; one bad event refuses no other and stops no partition. Events of one key keep the order of
// events.inbound, and those of one stream the order they were sent. After a crash events may come twice, and none is
// lost. Keeps no state.
package ingest
