package service

import (
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Limits bound attempts under way and deliveries that wait. A channel's service declares them in its own file, with its own
// environment variables.
type Limits struct {
	InFlight             int
	UnrecordedResultsMax int
	WaitingMax           int
	MaxAge               time.Duration
	AcceptLostDeliveries bool
}

// DefaultLimits are those of every channel.
func DefaultLimits() Limits {
	return Limits{InFlight: 2048, UnrecordedResultsMax: 1000, WaitingMax: 100_000, MaxAge: 6 * 24 * time.Hour}
}

// endpointWaitingMax is how many deliveries to one endpoint wait as references; those after them wait in the log alone.
const endpointWaitingMax = 10_000

// Bound is a number of a service's file and what it may be.
type Bound struct {
	Field            string
	Value, Low, High int
}

// Check adds every violation of the limits, in the fields of deliveries, and of more bounds.
func (l Limits) Check(f *fault.Violations, more ...Bound) {
	for _, n := range append([]Bound{
		{"deliveries.in_flight", l.InFlight, 1, 65_536},
		{"deliveries.unrecorded_results_max", l.UnrecordedResultsMax, 1, 100_000},
		{"deliveries.waiting_max", l.WaitingMax, 1000, 1_000_000},
	}, more...) {
		if n.Value < n.Low || n.Value > n.High {
			f.Add(n.Field, "must be from %d to %d, not %d", n.Low, n.High, n.Value)
		}
	}
	// A delivery is tried for 28 hours: the search must reach further back.
	if l.MaxAge < 36*time.Hour {
		f.Add("deliveries.max_age", "must be at least 36h, not %s", l.MaxAge)
	}
}
