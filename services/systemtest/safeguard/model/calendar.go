package model

import (
	"sort"
	"time"
	_ "time/tzdata" // the same zones on every machine
)

// midnight is the first instant of a local date: 00:00, or later where the clock jumps over it.
func midnight(year int, month time.Month, day int, zone *time.Location) time.Time {
	// The month may be out of 1 to 12.
	first := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	year, month, day = first.Date()
	from := first.Add(-30 * time.Hour).Unix()
	reached := func(i int) bool {
		y, m, d := time.Unix(from+int64(i), 0).In(zone).Date()
		return y > year || y == year && (m > month || m == month && d >= day)
	}
	return time.Unix(from+int64(sort.Search(60*3600, reached)), 0).UTC()
}

// next is the first midnight of a day of the month after an instant.
func next(after time.Time, day int, zone *time.Location) time.Time {
	local := after.In(zone)
	for i := 0; ; i++ {
		if m := midnight(local.Year(), local.Month()+time.Month(i), day, zone); m.After(after) {
			return m
		}
	}
}

// last is the latest midnight of a day of the month at or before an instant.
func last(at time.Time, day int, zone *time.Location) time.Time {
	local := at.In(zone)
	for i := 1; ; i-- {
		if m := midnight(local.Year(), local.Month()+time.Month(i), day, zone); !m.After(at) {
			return m
		}
	}
}
