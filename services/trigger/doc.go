// Package trigger decides who is told what. It reads events.ordered, safeguards and events.unordered, judges each event
// by the notifications of its tenant, and plans one delivery for each match on deliveries.webhook; what held a match back
// stands on triggers.decisions.
//
// It promises: an event is judged by exactly one version of a notification, that of the revision in force at its place
// in the log. Deliveries of one endpoint, topic and subject (a lane) are numbered without a gap in the order of the log.
// The same log gives the same deliveries, byte for byte, however often it is worked.
//
// Three engines of pkg/fold run the same fold. Two keep a record per subject with its lanes; that of events.unordered,
// whose events have no order to keep, has none.
package trigger
