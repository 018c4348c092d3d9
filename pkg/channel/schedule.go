package channel

import (
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Schedule is when a target may be sent to: within any of the hours, by the clocks of the zone.
type Schedule struct {
	Zone  *time.Location
	Hours []Hours
}

// Hours are a span of each of some days, by the clock. One whose End is not after its Start ends on the next day.
type Hours struct {
	// Days are those on which it starts, by time.Weekday.
	Days [7]bool
	// Start and End are since midnight; End is not itself within the span, and may be 24 h.
	Start, End time.Duration
}

// DecodeSchedule reads a schedule, and adds what is wrong with it to f; nil where there is none.
func DecodeSchedule(s *configv1.Schedule, f *fault.Violations) *Schedule {
	if s == nil {
		return nil
	}
	out := &Schedule{Zone: decodeZone(s.GetTimeZone(), time.UTC, f), Hours: decodeSpans(s.GetHours(), f)}
	if len(out.Hours) == 0 {
		f.Add("hours", "must have at least one: without it nothing would ever be sent")
	}
	return out
}

// decodeZone is the zone of a name, or the one by default.
func decodeZone(name string, byDefault *time.Location, f *fault.Violations) *time.Location {
	if name == "" {
		return byDefault
	}
	zone, err := spend.Zone(name)
	if err != nil {
		f.Add("time_zone", "must be the IANA name of a zone, such as Europe/Berlin")
	}
	return zone
}

func decodeSpans(hours []*configv1.Hours, f *fault.Violations) []Hours {
	var out []Hours
	for i, h := range hours {
		out = append(out, decodeHours(h, fmt.Sprintf("hours[%d]", i), f))
	}
	return out
}

func decodeHours(h *configv1.Hours, field string, f *fault.Violations) (out Hours) {
	for i, n := range h.GetDays() {
		switch {
		case n < 1 || n > 7:
			f.Add(fmt.Sprintf("%s.days[%d]", field, i), "must be from 1 for Monday to 7 for Sunday, is %d", n)
		case out.Days[n%7]:
			f.Add(fmt.Sprintf("%s.days[%d]", field, i), "%d is there twice", n)
		default:
			out.Days[n%7] = true
		}
	}
	if len(h.GetDays()) == 0 {
		out.Days = [7]bool{true, true, true, true, true, true, true}
	}
	var okStart, okEnd bool
	if out.Start, okStart = timeOfDay(h.GetStart()); !okStart || out.Start == day {
		f.Add(field+".start", "must be a time from 00:00 to 23:59, such as 08:30")
	}
	if out.End, okEnd = timeOfDay(h.GetEnd()); !okEnd {
		f.Add(field+".end", "must be a time from 00:00 to 24:00, such as 17:30")
	}
	if okStart && okEnd && out.Start == out.End {
		f.Add(field+".end", "must not be the start: the span would be empty; 00:00 to 24:00 is the whole day")
	}
	return out
}

const day = 24 * time.Hour

// timeOfDay reads "HH:MM", from 00:00 to 24:00, as the time since midnight.
func timeOfDay(text string) (time.Duration, bool) {
	if text == "24:00" {
		return day, true
	}
	t, err := time.Parse("15:04", text)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err == nil && len(text) == len("15:04")
}
