// Package account decides what an event, a command or a timer makes of a subscriber. It is pure: no I/O, no clock, no
// randomness, nothing remembered but the configuration in force.
//
// It consumes usage.charged, the events of a subscriber's life, commands and timers, as the fold (Rules) hands them over one
// by one, with the record that they are about. It produces the record as it is then, safeguard.* outcomes, transfers and
// rejections.
//
// It promises: each event is counted once, in the order of its subscriber; each threshold of a period has one outcome;
// safeguard.reached and safeguard.released alone, in the order of their sequence, define what is blocked; a period ends at its
// due time, whether or not anything is used; the same log gives the same bytes.
//
// Reading order: turn.go is the story of one event and what is decided of it, apply.go does it, fold.go is what the engine
// calls. usage.go and count.go, class.go, change.go and charge.go, lifecycle.go, held.go, transfer.go and renewal.go decide;
// record.go is what is kept, encode.go, decode.go, answer.go and outcome.go are its bytes. view.go and authorize.go are what
// reads are answered with.
package account
