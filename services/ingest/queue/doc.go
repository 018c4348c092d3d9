// Package queue is EventQueueService: events for consumers that have no Kafka, with acks.
//
// Reads events.ordered, events.unordered and safeguards, each partition once for all streams of the process that are at the
// same place. Keeps nothing but the position of each named subscription: the committed offsets of the Kafka group
// queue.<tenant>.<name>, which has no members. Events that a consumer gives up go to events.rejected.
//
// Promises: every event of the subscription is sent until it is acknowledged, over any disconnect, kill and change of
// replica; what may have been sent before is marked. With order, at most one event of a subject is unacknowledged. An
// expired position is an error, never a jump. A caller gets events of its tenant and of the types granted to its key, and
// their contact and personal fields only where the key has those.
//
// What is sent, acknowledged and sent again is decided in package window, which does no I/O.
package queue
