// Package provision asks handlers of an operator before an action, and publishes what they allow.
//
// It consumes events.ordered and events.unordered, as the group "provision": handlers of an event that arrived are asked about it
// afterwards, at least once under one id, and their answers are logged. It produces events on both topics, and a record of each
// question on provision.executions. An allowed action is in the log, under one id that follows from its idempotency key, before
// its caller has the answer; the same key gives the same answer for a day, also after a crash, and no handler is asked again.
package provision
