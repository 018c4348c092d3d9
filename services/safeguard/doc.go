// Package safeguard counts what each subscriber spends against the safeguards of its class of service, and says when a
// limit comes near, is reached, and no longer holds.
//
// It consumes events.ordered: usage.charged, the events of a subscriber's life, and calls; other types pass. A subscriber
// that changes its number goes there as system.transfer, late usage after it as system.forward, on the same topic. It
// produces safeguard.* events on safeguards, keyed by subscriber, and what it cannot count on events.rejected with the
// reason. Its gRPC services answer at any replica: the catalog, the inventory and its changes, authorisation and charges, and
// the audit of all of it.
//
// It promises: each event is counted once, in the order of its subscriber; each threshold of a period is told once;
// safeguard.reached and safeguard.released alone, in the order of their sequence, say what is blocked; a period ends at
// its due time, whether or not anything is used; the same log gives the same bytes.
//
// Reading order: fold.go is the story of one event, turn.go what it may change. usage.go and count.go, class.go, change.go
// and charge.go, lifecycle.go, provisional.go, transfer.go and renewal.go decide, without I/O and without a clock; record.go
// is what is kept, encode.go, decode.go and outcome.go write it down. safeguard.go is the process.
//
// Of the API, reading.go and calling.go are how a subscriber is reached, wherever its partition is; inventory.go, watch.go,
// subscription.go, enforcement.go, charging.go, catalogservice.go, audit.go, verify.go and reapply.go are its doors.
package safeguard
