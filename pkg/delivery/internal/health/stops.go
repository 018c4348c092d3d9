package health

import "math"

// Stop is a time in which nothing was sent on purpose; To is stillStopped while it lasts.
type Stop struct{ From, To int64 }

// Stops are in the order of time and do not overlap. There are at most maxStops: of more, two neighbours become one with
// the shortest time between them, which then counts as stopped too.
type Stops []Stop

const (
	maxStops           = 16
	stillStopped int64 = math.MaxInt64
)

// Stopped reports that a stop lasts.
func (s Stops) Stopped() bool { return len(s) > 0 && s[len(s)-1].To == stillStopped }

// Begin begins a stop where none lasts.
func (s *Stops) Begin(now int64) {
	if s.Stopped() {
		return
	}
	*s = append(*s, Stop{now, stillStopped})
	if len(*s) <= maxStops {
		return
	}
	at := 1
	for i := 1; i < len(*s); i++ {
		if (*s)[i].From-(*s)[i-1].To < (*s)[at].From-(*s)[at-1].To {
			at = i
		}
	}
	(*s)[at-1].To = (*s)[at].To
	*s = append((*s)[:at], (*s)[at+1:]...)
}

// End ends the stop that lasts.
func (s *Stops) End(now int64) {
	if s.Stopped() {
		(*s)[len(*s)-1].To = now
	}
}

// Forget drops the stops that ended before a time.
func (s *Stops) Forget(before int64) {
	for len(*s) > 0 && (*s)[0].To <= before {
		*s = (*s)[1:]
	}
}

// Within is how much of a span was stopped, in ms.
func (s Stops) Within(from, to int64) (ms int64) {
	for _, stop := range s {
		ms += max(0, min(stop.To, to)-max(stop.From, from))
	}
	return ms
}
