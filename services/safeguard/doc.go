// Package safeguard is the process that counts what each subscriber spends against the safeguards of its class of service,
// and publishes when a limit comes near, is reached, and no longer holds.
//
// It consumes events.ordered and the revisions of the configuration service. It produces safeguard.* events on safeguards,
// keyed by subscriber, and what it cannot count on events.rejected with the reason; changes of number (system.transfer) and
// late usage after them (system.forward) on events.ordered. It serves gRPC and the admin listener.
//
// It promises what account and api promise, for as long as one replica runs, and drains within the shutdown timeout.
//
// Reading order: safeguard.go is Run, config.go its file, announce.go and metrics.go what is logged and measured of
// outcomes once they are published. What is decided is in account, what is answered in api.
package safeguard
