// Package trigger plans deliveries. It reads events.ordered, safeguards and events.unordered, matches each event with the
// notifications of its tenant, and plans one delivery for each match and recipient on the topic of the action's channel;
// what held a match back is on triggers.decisions.
//
// It promises: an event is matched by exactly one version of a notification, that of the revision in force at its offset
// in the log. Deliveries of one ordering key, topic and subject are numbered without a gap in the order of the log. The
// same log gives the same deliveries, byte for byte, however often it is read.
//
// Three engines of pkg/fold run the same fold. Two keep a record per subject with its positions; that of events.unordered,
// whose events have no order to keep, has none.
package trigger
