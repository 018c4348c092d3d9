// Package model is an independent reading of the safeguards' rules, for tests and soaks: what a subscriber's events,
// commands and timers change, and which outcomes follow, in the order of the log.
//
// It shares no code with the product's arithmetic (neither pkg/spend nor the service), so that both are not wrong in the
// same way. It keeps everything in memory and for ever, computes each figure anew with integers, and prefers the plain way
// to the fast one. Where the rules leave open which of several reasons is given, it lists them and accepts each; it never
// does so for spend, the blocking bit, or reached and released.
//
// A Partition takes a log record by record. partition.go follows one record, calendar.go and money.go are the arithmetic,
// option.go is one safeguard, usage.go, lifecycle.go, moving.go and calls.go are what may happen to it. View is how an
// option must look from outside, Table what a network element knows that reads reached and released alone.
package model
