// Package kind holds the kinds of trigger that keep a state: crossing, depleted and restored, thresholds, delayed, absence, and
// the cap on a notification. Each is a pure fold: [Rule.Apply] takes the state of one subject and key and an event, [Rule.Fire]
// a timer that is due; both return the state that follows and what fires. There is no clock, no I/O and no order of a map:
// the same events give the same firings, live, in a replay and in a dry run.
//
// What a kind reads of an event is in [Input]; how it is found there (paths, expressions, the filter) is its caller's.
package kind
