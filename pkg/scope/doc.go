// Package scope decides which usage an option counts: a CEL expression over a usage event, true for what counts.
//
//	usage.category == DATA && usage.roaming
//
// `usage` is the event's data (tollgate.event.v1.UsageCharged), and DATA, VOICE, SMS, MMS and CONTENT are its
// categories. The package is pure; a compiled Scope is immutable and safe for use by many goroutines.
package scope
