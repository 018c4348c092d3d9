// Package consumers is who subscribes to the event queue in a soak: events that are numbered by subject, consumers that acknowledge
// in every way, forget, give up, disconnect and leave streams behind that nobody reads, and what went wrong in the end.
package consumers
