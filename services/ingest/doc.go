// Package ingest is the way in: it takes events from producers, judges them, stamps them, and routes each to the
// ordered or the unordered topic by its type.
//
// Consumes events.inbound as the group ingest; serves IngestService on gRPC and POST /v1/events on HTTP. Produces
// events.ordered, events.unordered and, by the Kafka door alone, events.rejected; the synchronous doors answer with
// the error instead. Asks the configuration service which tenants there are, and takes events while that is away.
//
// Promises: an event is accepted only once it stands on Kafka, acknowledged by all in-sync replicas. Every fault of an
// event is told at once; one bad event refuses no other and stops no partition. Events of one key keep the order of
// events.inbound, and those of one stream the order they were sent. After a crash events may come twice, never not at
// all. Keeps no state.
package ingest
