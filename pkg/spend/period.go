package spend

import (
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // a container image without zone files must count the same months
)

// ErrRenewalDay means that a renewal day is not from 1 to 28, the days that every month has.
var ErrRenewalDay = errors.New("renewal day must be from 1 to 28")

// RenewalDay is the day of the month on which a period starts, from 1 to 28.
type RenewalDay uint8

// RenewalDayOf checks that day is a renewal day.
func RenewalDayOf(day int64) (RenewalDay, error) {
	if day < 1 || day > 28 {
		return 0, fmt.Errorf("%d: %w", day, ErrRenewalDay)
	}
	return RenewalDay(day), nil
}

// Zone finds an IANA time zone by its name, such as "Europe/Berlin". The empty name and "Local", which time.LoadLocation
// takes for UTC and for the machine's own zone, are refused: a period must not depend on where it is computed. Zone
// files of the host go before the embedded ones; load a zone when the catalog changes, not per event.
func Zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("time zone %q is not an IANA name", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, err)
	}
	return loc, nil
}

// Period is the time from Start up to, not including, End. Both are in UTC.
type Period struct {
	Start, End time.Time
}

// Contains reports whether t is in the period.
func (p Period) Contains(t time.Time) bool { return !t.Before(p.Start) && t.Before(p.End) }

// Next is the period after p: from p's end to the next renewal. Day and zone may differ from those p was made with, as
// after a change of class; then this one period is longer or shorter than a month.
func (p Period) Next(day RenewalDay, zone *time.Location) Period {
	return Period{Start: p.End, End: NextRenewal(p.End, day, zone)}
}

// Until is the running period after its renewal day was changed at the time now: it ends at the next occurrence of the
// new day, and may be nearly two months long or an instant away from its end.
func (p Period) Until(now time.Time, day RenewalDay, zone *time.Location) Period {
	return Period{Start: p.Start, End: NextRenewal(now, day, zone)}
}

// PeriodAt is the monthly period that t lies in: from the first instant of one renewal day in the zone to that of the
// next month's. It panics on a day that is none (see RenewalDayOf) and on a nil zone.
func PeriodAt(t time.Time, day RenewalDay, zone *time.Location) Period {
	year, month, _ := t.In(zone).Date()
	// From the month before: where clocks go back over midnight, an instant of the last hours of a local month already
	// belongs to the next period.
	start := renewal(year, month-1, day, zone)
	for ; ; month++ {
		end := renewal(year, month, day, zone)
		if t.Before(end) {
			return Period{Start: start, End: end}
		}
		start = end
	}
}

// NextRenewal is the first start of a renewal day that lies after t, never t itself.
func NextRenewal(t time.Time, day RenewalDay, zone *time.Location) time.Time {
	return PeriodAt(t, day, zone).End
}

// reach is more than any zone has ever been away from UTC (Manila before 1844: 15:56 h).
const reach = 24 * 60 * 60

// renewal is the first instant whose wall clock in the zone reads 00:00 of the day or later, in UTC. That is 00:00 on
// ordinary days; 01:00 where clocks jump over midnight (Cairo, Beirut, São Paulo until 2018); the earlier of the two
// where midnight comes twice; and the end of the jump where a zone left the whole day out (Kwajalein, 21 August 1993).
// time.Date guarantees none of these. A month below 1 or above 12 is one of the neighbouring years.
func renewal(year int, month time.Month, day RenewalDay, zone *time.Location) time.Time {
	if day < 1 || day > 28 {
		panic(fmt.Sprintf("renewal day %d is not from 1 to 28", day))
	}
	midnight := time.Date(year, month, int(day), 0, 0, 0, 0, time.UTC).Unix()
	from := midnight - reach
	for {
		at := time.Unix(from, 0).In(zone)
		_, offset := at.Zone()
		_, until := at.ZoneBounds()
		first := max(from, midnight-int64(offset))
		if until.IsZero() || first < until.Unix() {
			return time.Unix(first, 0).UTC()
		}
		from = until.Unix()
	}
}
