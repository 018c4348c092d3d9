// Package model is an independent reading of the safeguards' rules, for tests and proofs: what a subscriber's events, calls
// and timers come to, and what is said about them, in the order of the log.
//
// It shares no code with what counts (neither pkg/spend nor the service), so that both are not wrong in the same way. It
// keeps everything in memory and for ever, works out each figure anew with integers, and prefers the plain way to the fast
// one. Where the rules leave open which of several words is said, it says so and lets each of them pass; it never does so
// for spend, the blocking bit, or reached and released.
//
// A World takes a log record by record. world.go is the story of one record, calendar.go and money.go are the arithmetic,
// option.go is what one safeguard is, usage.go, lifecycle.go, moving.go and calls.go are what may happen to it. View is how
// an option must look from outside, Table what a network element knows that only hears reached and released.
package model
