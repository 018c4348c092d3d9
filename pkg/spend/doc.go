// Package spend is the arithmetic of safeguards: money, monthly periods, thresholds, states and the bit that blocks.
//
// Everything here is a pure function of its arguments, in whole numbers: no clock, no I/O, no floating point, nothing
// but the standard library. The caller decides who holds the record, which event is published and when a
// timer is due. The same values therefore give the same answer in the fold, in a replay of the log and in an explanation
// months later.
//
// Read in this order: amount.go, threshold.go, count.go, blocked.go, state.go, period.go, forecast.go.
package spend
