// Package delivery is what all channels share: the delivery and its id, the result of an attempt and what follows from
// it, backoff, the order within an ordering key, and the loop that owns one partition of deliveries.
//
// It gives three guarantees. Every delivery in the log is settled, and the attempts show how. The first receipts of an
// ordering key arrive in order, whatever crashes. A crash or a hand-over repeats only what was in flight, under the
// same id.
//
// DESIGN.md beside this file has the map of files and what is not obvious.
package delivery
