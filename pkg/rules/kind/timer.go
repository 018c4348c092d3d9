package kind

import (
	"time"
)

// Day is a day of the calendar, and the time of the day that a delay without one of its own takes.
type Day struct {
	Year  int
	Month time.Month
	Day   int
	// At is since midnight.
	At time.Duration
}

// DayOf is the day of a moment in a zone.
func DayOf(t time.Time, zone *time.Location) Day {
	t = t.In(zone)
	y, m, d := t.Date()
	h, min, s := t.Clock()
	return Day{y, m, d, time.Duration(h)*time.Hour + time.Duration(min)*time.Minute + time.Duration(s)*time.Second + time.Duration(t.Nanosecond())}
}

// Delayed fires some calendar days after a day, or before it, at a time of the day in a zone: until it is cancelled, and
// again as often as it repeats.
type Delayed struct {
	Days int
	// At is since midnight; below 0 it is the time of the day that it counts from.
	At   time.Duration
	Zone *time.Location
	// It fires again after so many days, so often.
	RepeatDays, RepeatTimes int
}

// Moment is the first instant at which the clocks of a zone show a time of a day; where they skip it, the instant that it
// would be by the offset before (RFC 5545, section 3.3.5).
func Moment(d Day, zone *time.Location) time.Time {
	wall := time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Add(d.At)
	by := func(near time.Time) (t time.Time, shown bool) {
		_, offset := near.In(zone).Zone()
		t = wall.Add(-time.Duration(offset) * time.Second)
		_, then := t.In(zone).Zone()
		return t, then == offset
	}
	// A zone changes once in two days at most. Where the clocks show the time twice, the offset before is the earlier one.
	before, shown := by(wall.Add(-26 * time.Hour))
	if after, also := by(wall.Add(26 * time.Hour)); !shown && also {
		return after
	}
	return before
}

// occurrence is when the n-th repeat is due, 0 the first.
func (d *Delayed) occurrence(day Day, n int64) time.Time {
	if d.At >= 0 {
		day.At = d.At
	}
	day.Day += d.Days + int(n)*d.RepeatDays
	return Moment(day, d.Zone)
}

func (d *Delayed) apply(s *State, in Input, out *Result) {
	switch in.Role {
	case Cancels:
		if s.due != 0 {
			f := s.firing(time.UnixMilli(s.due))
			out.Held = append(out.Held, Held{Reason: Cancelled, Firing: f.Name, Set: f.Set, Event: f.Event})
		}
		s.settle()
	case Renews:
		if s.due != 0 && len(in.Event) <= MaxHeld {
			s.held = in.Event
		}
	case Matches:
		if in.Day == (Day{}) {
			out.Held = append(out.Held, Held{Reason: NoDay})
			return
		}
		if s.settle(); !in.holds(out) {
			return
		}
		s.set, s.held = in.Origin, in.Event
		s.keepDay(in.Day)
		s.left = int64(d.RepeatTimes)
		// One that is past already fires at once, and stands for all that are past.
		due := d.occurrence(in.Day, 0)
		if due.Before(in.Now) {
			due = in.Now
		}
		s.due = due.UnixMilli()
	}
}

// holds reports whether a timer can hold the event.
func (in *Input) holds(out *Result) bool {
	if len(in.Event) > MaxHeld || len(in.Origin.Source)+len(in.Origin.ID) > maxOrigin-32 {
		out.Held = append(out.Held, Held{Reason: TooLarge})
		return false
	}
	return true
}

func (d *Delayed) fire(s *State, due time.Time, out *Result) {
	out.Firings = append(out.Firings, s.firing(due))
	day := s.keptDay()
	for s.left > 0 && d.RepeatDays > 0 {
		s.left--
		s.repeat++
		if next := d.occurrence(day, s.repeat); next.After(due) {
			s.due = next.UnixMilli()
			return
		}
	}
	s.settle()
}

// firing is that of a timer.
func (s *State) firing(due time.Time) Firing {
	due = due.UTC()
	return Firing{Name: due.Format("2006-01-02T15:04:05.000Z"), Set: s.set, Event: s.held, Due: due}
}

// settle drops a pending timer and what it holds.
func (s *State) settle() {
	s.due, s.day, s.repeat, s.left = 0, 0, 0, 0
	s.set, s.held = Origin{}, nil
}

// A day is kept as the milliseconds that its clocks show, as if they were UTC's.

func (s *State) keepDay(d Day) {
	s.day = time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Add(d.At).UnixMilli()
}

func (s *State) keptDay() Day { return DayOf(time.UnixMilli(s.day), time.UTC) }

// Absence fires once for each silence: where no event came for a time, counted from the latest event time. It starts with
// the first event seen.
type Absence struct {
	For time.Duration
}

func (a *Absence) apply(s *State, in Input, out *Result) {
	switch {
	case in.Role == Cancels:
		*s = State{print: s.print, windowFrom: s.windowFrom, fired: s.fired}
		return
	case in.Role != Matches || s.last != 0 && in.Time.UnixMilli() <= s.last:
		return
	case in.holds(out):
		s.set, s.held = in.Origin, in.Event
	case s.due == 0:
		return // there is no event before it to be rendered from
	}
	// An event that is too large to be held is none of silence all the same: what fires is rendered from the one before.
	s.last = in.Time.UnixMilli()
	if s.due == 0 { // one that is pending moves only when it fires
		s.due = s.last + a.For.Milliseconds()
	}
}

func (a *Absence) fire(s *State, due time.Time, out *Result) {
	if until := s.last + a.For.Milliseconds(); until > due.UnixMilli() {
		s.due = until
		return
	}
	out.Firings = append(out.Firings, s.firing(due))
	s.set, s.held = Origin{}, nil
}
