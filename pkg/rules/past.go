package rules

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
)

// Concerns are the names of the event types that the rule reads: those of its trigger, and those that cancel or renew.
func (r *Rule) Concerns() []string {
	types := r.ConcernedTypes()
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.Name
	}
	return names
}

// ConcernedTypes are the types of these names.
func (r *Rule) ConcernedTypes() []event.Type {
	if r.state == nil {
		return r.types
	}
	return append(slices.Clip(r.types), r.state.cancels...)
}

// Window is how far back a state reaches at most; false where it reaches back to the first event, as a value that is kept does.
func (r *Rule) Window() (time.Duration, bool) {
	if r.state == nil {
		return 0, true
	}
	k := &r.state.kind
	var window time.Duration
	if k.Cap != nil {
		window = k.Cap.Window
	}
	switch {
	case k.Crossing != nil, k.Balance != nil, k.Thresholds != nil:
		return 0, false
	case k.Absence != nil:
		window = max(window, k.Absence.For)
	case k.Delayed != nil && r.state.from != nil:
		return 0, false // the date may be any
	case k.Delayed != nil:
		window = max(window, time.Duration(max(k.Delayed.Days, 0)+k.Delayed.RepeatDays*k.Delayed.RepeatTimes+1)*24*time.Hour)
	}
	return window, true
}
