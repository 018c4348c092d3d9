// Package delivery is what all channels share: the delivery and its id, the result of an attempt and what follows from
// it, and backoff. Package loop works partitions of deliveries with it.
//
// Both give three guarantees. Every delivery in the log is settled, and the attempts show how. The first receipts of an
// ordering key arrive in order, whatever crashes. A crash or a hand-over repeats only what was in flight, under the
// same id.
//
// DESIGN.md beside this file has the map of files and what is not obvious.
package delivery
