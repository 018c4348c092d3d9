// Package schedule is when something may be sent: hours of the day in a zone. It is pure.
package schedule

import (
	"time"
)

// Schedule is open within any of its hours. The zero value is never open.
type Schedule struct {
	Zone  *time.Location
	Hours []Hours
}

// Hours are a span of the local day, read off the wall: an hour that a change of clocks repeats counts twice, one that it
// leaves out does not occur.
type Hours struct {
	// Days are the days on which it starts; every day where none is set.
	Days [7]bool // by time.Weekday
	// Start and End are minutes of the day; End is at most 1440 and not within. Where it is not after Start it is of the
	// next day.
	Start, End int
}

const day = 24 * 60

// Open reports whether a time lies within the hours.
func (s *Schedule) Open(t time.Time) bool {
	local := t.In(s.Zone)
	minute, weekday := local.Hour()*60+local.Minute(), local.Weekday()
	for _, h := range s.Hours {
		switch {
		case h.End > h.Start:
			if h.on(weekday) && minute >= h.Start && minute < h.End {
				return true
			}
		case h.on(weekday) && minute >= h.Start, h.on((weekday+6)%7) && minute < h.End:
			return true
		}
	}
	return false
}

func (h Hours) on(d time.Weekday) bool { return h.Days == [7]bool{} || h.Days[d] }

// Change is the next time after t at which it opens or closes; zero where it never does.
func (s *Schedule) Change(t time.Time) time.Time {
	open := s.Open(t)
	var next time.Time
	consider := func(at time.Time) {
		if at.After(t) && (next.IsZero() || at.Before(next)) && s.Open(at) != open {
			next = at
		}
	}
	local := t.In(s.Zone)
	year, month, date := local.Date()
	for ahead := range 9 { // a week, and the days at both ends
		for _, h := range s.Hours {
			for _, minute := range [...]int{h.Start, h.End} {
				for _, at := range onWall(time.Date(year, month, date+ahead, 0, minute, 0, 0, s.Zone)) {
					consider(at)
				}
			}
		}
	}
	// A change of clocks may open or close it.
	for at := t; at.Before(t.AddDate(0, 0, 8)); {
		_, end := at.In(s.Zone).ZoneBounds()
		if end.IsZero() {
			break
		}
		consider(end)
		at = end
	}
	return next
}

// onWall are the times at which a clock shows the same as at t: two where clocks are set back.
func onWall(t time.Time) []time.Time {
	both := []time.Time{t}
	start, end := t.ZoneBounds()
	_, offset := t.Zone()
	for _, bound := range [...]time.Time{start.Add(-time.Second), end} {
		if start.IsZero() || end.IsZero() {
			continue
		}
		_, other := bound.Zone()
		at := t.Add(time.Duration(offset-other) * time.Second)
		if _, there := at.Zone(); there == other {
			both = append(both, at)
		}
	}
	return both
}
