package channel

import (
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Quiet are the hours in which an action sends nothing.
type Quiet struct {
	// Zone of recipients whose own is not known; nil for the tenant's.
	Zone  *time.Location
	Hours []Hours
}

const (
	// longestQuiet leaves the attempts of 28 h their time before a delivery is too old, at six days.
	longestQuiet = 96 * time.Hour
	maxQuiet     = 8
)

// DecodeQuiet reads quiet hours, and adds what is wrong with them to f; nil where there are none.
func DecodeQuiet(q *configv1.QuietHours, f *fault.Violations) *Quiet {
	if q == nil {
		return nil
	}
	if n := len(q.GetHours()); n == 0 || n > maxQuiet {
		f.Add("hours", "must have 1 to %d spans, has %d", maxQuiet, n)
		return nil
	}
	before := f.Len()
	out := &Quiet{Zone: decodeZone(q.GetTimeZone(), nil, f), Hours: decodeSpans(q.GetHours(), f)}
	if f.Len() > before {
		return out
	}
	switch longest := out.longest(); {
	case longest >= week:
		f.Add("hours", "must not be the whole week: nothing would ever be sent")
	case longest > longestQuiet:
		f.Add("hours", "must be at most %s on end, are %s: what waits longer would be too old to be sent", longestQuiet, longest)
	}
	return out
}

const week = 7 * day

// longest is the longest time on end that is quiet, in a week without a change of clocks.
func (q *Quiet) longest() time.Duration {
	const minutes = int(2 * week / time.Minute) // twice, so that what goes on beyond its end is whole
	var quiet [minutes]bool
	for _, h := range q.Hours {
		end := h.End
		if end <= h.Start {
			end += day
		}
		for on := range 2 * len(h.Days) {
			if !h.Days[on%len(h.Days)] {
				continue
			}
			from := time.Duration(on) * day
			for m := int((from + h.Start) / time.Minute); m < int((from+end)/time.Minute); m++ {
				quiet[m%minutes] = true
			}
		}
	}
	longest, run := 0, 0
	for _, is := range quiet {
		if run++; !is {
			run = 0
		}
		longest = max(longest, run)
	}
	return time.Duration(longest) * time.Minute
}
