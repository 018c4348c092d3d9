package spend

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustZone(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := Zone(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func mustTime(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestPeriodAt_BeginsAtMidnightOfTheZone(t *testing.T) {
	tests := map[string]struct {
		zone       string
		day        RenewalDay
		at         string
		start, end string
	}{
		"an ordinary month in UTC":                    {"UTC", 1, "2026-06-15T12:00:00Z", "2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z"},
		"the first instant belongs to the new period": {"UTC", 1, "2026-06-01T00:00:00Z", "2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z"},
		"the last instant belongs to the old period":  {"UTC", 1, "2026-05-31T23:59:59.999999999Z", "2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z"},
		"before the renewal day it is last month's":   {"UTC", 15, "2026-06-14T23:59:59Z", "2026-05-15T00:00:00Z", "2026-06-15T00:00:00Z"},
		"the 28th from january to february":           {"UTC", 28, "2026-02-01T00:00:00Z", "2026-01-28T00:00:00Z", "2026-02-28T00:00:00Z"},
		"the 28th from february, 28 days":             {"UTC", 28, "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-28T00:00:00Z"},
		"the 28th in a leap year, the 29th is inside": {"UTC", 28, "2028-02-29T12:00:00Z", "2028-02-28T00:00:00Z", "2028-03-28T00:00:00Z"},
		"over the end of the year":                    {"UTC", 15, "2026-12-31T23:59:59Z", "2026-12-15T00:00:00Z", "2027-01-15T00:00:00Z"},
		"before january's renewal day":                {"UTC", 15, "2027-01-01T00:00:00Z", "2026-12-15T00:00:00Z", "2027-01-15T00:00:00Z"},
		"local midnight in Berlin, winter":            {"Europe/Berlin", 1, "2026-01-15T12:00:00Z", "2025-12-31T23:00:00Z", "2026-01-31T23:00:00Z"},
		"Berlin's march is an hour short":             {"Europe/Berlin", 1, "2026-03-29T02:00:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"},
		"Berlin's october is an hour long":            {"Europe/Berlin", 1, "2026-10-25T01:30:00Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"},
		"the local day decides, not the UTC day":      {"Europe/Berlin", 1, "2026-05-31T22:00:00Z", "2026-05-31T22:00:00Z", "2026-06-30T22:00:00Z"},
		"far west the local day comes later":          {"Pacific/Honolulu", 1, "2026-06-01T09:59:59Z", "2026-05-01T10:00:00Z", "2026-06-01T10:00:00Z"},
		"a zone of 45 minutes":                        {"Asia/Kathmandu", 1, "2026-06-15T00:00:00Z", "2026-05-31T18:15:00Z", "2026-06-30T18:15:00Z"},
		"São Paulo 2018, 4 november has no midnight":  {"America/Sao_Paulo", 4, "2018-11-04T03:00:00Z", "2018-11-04T03:00:00Z", "2018-12-04T02:00:00Z"},
		"São Paulo 2018, the instant before the jump": {"America/Sao_Paulo", 4, "2018-11-04T02:59:59Z", "2018-10-04T03:00:00Z", "2018-11-04T03:00:00Z"},
		"São Paulo 2018, back over midnight in february": {
			// At 24:00 of the 17th clocks went back to 23:00: the 18th starts an hour later, once.
			"America/Sao_Paulo", 18, "2018-02-18T02:30:00Z", "2018-01-18T02:00:00Z", "2018-02-18T03:00:00Z",
		},
		"Cairo 2024, 26 april has no midnight":         {"Africa/Cairo", 26, "2024-04-25T22:00:00Z", "2024-04-25T22:00:00Z", "2024-05-25T21:00:00Z"},
		"Cairo 2023, back over midnight in october":    {"Africa/Cairo", 27, "2023-10-26T21:30:00Z", "2023-09-26T21:00:00Z", "2023-10-26T22:00:00Z"},
		"Beirut 2022, 27 march has no midnight":        {"Asia/Beirut", 27, "2022-03-26T22:00:00Z", "2022-03-26T22:00:00Z", "2022-04-26T21:00:00Z"},
		"Beirut 2022, the instant before":              {"Asia/Beirut", 27, "2022-03-26T21:59:59Z", "2022-02-26T22:00:00Z", "2022-03-26T22:00:00Z"},
		"Havana 2022, midnight comes twice, the first": {"America/Havana", 6, "2022-11-06T04:00:00Z", "2022-11-06T04:00:00Z", "2022-12-06T05:00:00Z"},
		"Havana 2022, the second midnight is no start": {"America/Havana", 6, "2022-11-06T05:00:00Z", "2022-11-06T04:00:00Z", "2022-12-06T05:00:00Z"},
		"Kwajalein left 21 august 1993 out":            {"Pacific/Kwajalein", 21, "1993-08-21T12:00:00Z", "1993-08-21T12:00:00Z", "1993-09-20T12:00:00Z"},
		"Kwajalein, the instant before":                {"Pacific/Kwajalein", 21, "1993-08-21T11:59:59Z", "1993-07-21T12:00:00Z", "1993-08-21T12:00:00Z"},
		"St John's 2010, over midnight at 00:01, day 7": {
			// 00:01 of the 7th went back to 23:01 of the 6th: the period starts at the first 00:00 and keeps the hour.
			"America/St_Johns", 7, "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", "2010-12-07T03:30:00Z",
		},
		"a local month that ends in the next period": {
			// The same with the 1st: the instant reads 31 october, 23:30, yet november's period runs.
			"America/Goose_Bay", 1, "2009-11-01T03:20:00Z", "2009-11-01T03:00:00Z", "2009-12-01T04:00:00Z",
		},
		"far in the future by the zone's rule": {"Europe/Berlin", 1, "2400-07-15T00:00:00Z", "2400-06-30T22:00:00Z", "2400-07-31T22:00:00Z"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			zone := mustZone(t, tc.zone)
			want := Period{Start: mustTime(t, tc.start), End: mustTime(t, tc.end)}
			got := PeriodAt(mustTime(t, tc.at), tc.day, zone)
			if !got.Start.Equal(want.Start) || !got.End.Equal(want.End) {
				t.Errorf("got %s – %s, want %s – %s (%s – %s)", got.Start, got.End, want.Start, want.End,
					want.Start.In(zone), want.End.In(zone))
			}
			if !got.Contains(mustTime(t, tc.at)) || got.Contains(got.End) || !got.Contains(got.Start) {
				t.Errorf("%s – %s does not hold its own", got.Start, got.End)
			}
		})
	}
}

func TestUntil_EndsAtTheNextOccurrenceOfTheNewDay(t *testing.T) {
	tests := map[string]struct {
		zone     string
		from, to RenewalDay
		now      string
		start    string
		end      string
		next     string
	}{
		"to a later day of this month":              {"UTC", 1, 15, "2026-06-10T00:00:00Z", "2026-06-01T00:00:00Z", "2026-06-15T00:00:00Z", "2026-07-15T00:00:00Z"},
		"to a day of this month that is over":       {"UTC", 1, 5, "2026-06-10T00:00:00Z", "2026-06-01T00:00:00Z", "2026-07-05T00:00:00Z", "2026-08-05T00:00:00Z"},
		"on the new day itself the next one counts": {"UTC", 1, 10, "2026-06-10T00:00:00Z", "2026-06-01T00:00:00Z", "2026-07-10T00:00:00Z", "2026-08-10T00:00:00Z"},
		"an instant before the new day":             {"UTC", 1, 10, "2026-06-09T23:59:59.999999999Z", "2026-06-01T00:00:00Z", "2026-06-10T00:00:00Z", "2026-07-10T00:00:00Z"},
		"nearly two months at the most":             {"UTC", 28, 27, "2026-07-27T00:00:00Z", "2026-06-28T00:00:00Z", "2026-08-27T00:00:00Z", "2026-09-27T00:00:00Z"},
		"to the same day changes nothing":           {"UTC", 5, 5, "2026-06-10T00:00:00Z", "2026-06-05T00:00:00Z", "2026-07-05T00:00:00Z", "2026-08-05T00:00:00Z"},
		"over the end of the year":                  {"UTC", 20, 3, "2026-12-24T00:00:00Z", "2026-12-20T00:00:00Z", "2027-01-03T00:00:00Z", "2027-02-03T00:00:00Z"},
		"in the zone's own days":                    {"Asia/Tokyo", 1, 10, "2026-06-09T15:00:00Z", "2026-05-31T15:00:00Z", "2026-07-09T15:00:00Z", "2026-08-09T15:00:00Z"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			zone, now := mustZone(t, tc.zone), mustTime(t, tc.now)
			running := PeriodAt(now, tc.from, zone).Until(now, tc.to, zone)
			if !running.Start.Equal(mustTime(t, tc.start)) || !running.End.Equal(mustTime(t, tc.end)) {
				t.Errorf("got %s – %s", running.Start, running.End)
			}
			next := running.Next(tc.to, zone)
			if !next.Start.Equal(running.End) || !next.End.Equal(mustTime(t, tc.next)) {
				t.Errorf("then %s – %s", next.Start, next.End)
			}
		})
	}
}

func TestNext_TakesTheNewZone(t *testing.T) {
	berlin, london := mustZone(t, "Europe/Berlin"), mustZone(t, "Europe/London")
	running := PeriodAt(mustTime(t, "2026-06-10T00:00:00Z"), 15, berlin)
	next := running.Next(20, london)
	if want := mustTime(t, "2026-06-19T23:00:00Z"); !next.Start.Equal(running.End) || !next.End.Equal(want) {
		t.Errorf("%s – %s, want to end at %s", next.Start, next.End, want)
	}
}

func TestZone_RefusesWhatIsNoIANAName(t *testing.T) {
	for _, name := range []string{"", "Local", "Mars/Olympus", "../etc/passwd", "europe berlin"} {
		if zone, err := Zone(name); err == nil {
			t.Errorf("%q became %v", name, zone)
		}
	}
}

func TestRenewalDayOf_AcceptsDaysOfEveryMonth(t *testing.T) {
	for _, day := range []int64{-1, 0, 29, 31, 257, 1 << 40} {
		if _, err := RenewalDayOf(day); !errors.Is(err, ErrRenewalDay) {
			t.Errorf("%d: %v", day, err)
		}
	}
	for _, day := range []int64{1, 28} {
		if got, err := RenewalDayOf(day); err != nil || int64(got) != day {
			t.Errorf("%d: %d, %v", day, got, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a period was computed for day 0")
		}
	}()
	PeriodAt(time.Time{}, 0, time.UTC)
}

// zones are those whose clocks did the most unusual things, and ordinary ones.
var zones = []string{
	"UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Sao_Paulo", "Africa/Cairo",
	"Asia/Beirut", "America/Havana", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "America/Goose_Bay",
	"Pacific/Apia", "Pacific/Kwajalein", "Pacific/Kiritimati", "Africa/Casablanca", "Asia/Tehran", "Asia/Gaza",
	"America/Asuncion", "America/Santiago", "Africa/Monrovia", "Asia/Manila", "America/Juneau", "Antarctica/Troll",
	"Etc/GMT+12", "Pacific/Chatham", "Asia/Pyongyang", "America/Caracas", "Atlantic/Azores", "America/Scoresbysund",
}

func TestPeriods_HaveNoGapsAndNoOverlaps(t *testing.T) {
	loaded := map[string]*time.Location{}
	for _, name := range zones {
		loaded[name] = mustZone(t, name)
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		zone := loaded[name]
		day := RenewalDay(rapid.IntRange(1, 28).Draw(t, "day"))
		at := time.Unix(rapid.Int64Range(-5_000_000_000, 20_000_000_000).Draw(t, "second"),
			rapid.Int64Range(0, 999_999_999).Draw(t, "nano"))

		p := PeriodAt(at, day, zone)
		if !p.Contains(at) {
			t.Fatalf("%s is not in its period %s – %s", at.In(zone), p.Start.In(zone), p.End.In(zone))
		}
		if length := p.End.Sub(p.Start); length < 26*24*time.Hour || length > 33*24*time.Hour {
			t.Fatalf("a period of %s: %s – %s", length, p.Start.In(zone), p.End.In(zone))
		}
		for edge, want := range map[time.Time]Period{
			p.Start: p, p.End.Add(-1): p, p.End: p.Next(day, zone),
		} {
			if got := PeriodAt(edge, day, zone); got != want {
				t.Fatalf("%s lies in %s – %s, not in %s – %s", edge, got.Start, got.End, want.Start, want.End)
			}
		}
		if before := PeriodAt(p.Start.Add(-1), day, zone); !before.End.Equal(p.Start) {
			t.Fatalf("a gap or an overlap between %s and %s", before.End, p.Start)
		}
		// The start is the first instant whose wall clock reads the day's 00:00 or later.
		wall, earlier := p.Start.In(zone), p.Start.Add(-time.Second).In(zone)
		if wall.Day() != int(day) && wall.Day() != int(day)+1 {
			t.Fatalf("starts on %s", wall)
		}
		if earlier.Day() == int(day) && earlier.Month() == wall.Month() {
			t.Fatalf("starts on %s, a second after the day was there", wall)
		}
		if next := NextRenewal(at, day, zone); !next.Equal(p.End) || !next.After(at) {
			t.Fatalf("next renewal %s, period ends %s", next, p.End)
		}
	})
}

// Against a walk over every second around all changes of clocks in fifty years.
func TestRenewal_AroundEveryChangeOfClocks(t *testing.T) {
	for _, name := range zones {
		zone := mustZone(t, name)
		at, end := mustTime(t, "1985-01-01T00:00:00Z"), mustTime(t, "2035-01-01T00:00:00Z")
		for at.Before(end) {
			_, change := at.In(zone).ZoneBounds()
			if change.IsZero() {
				break
			}
			at = change
			for _, near := range []time.Time{change.Add(-time.Second), change} {
				local := near.In(zone)
				if local.Day() > 28 {
					continue
				}
				want := slowFirst(local, zone)
				if got := renewal(local.Year(), local.Month(), RenewalDay(local.Day()), zone); !got.Equal(want) {
					t.Errorf("%s: %s starts at %s, want %s", name, local.Format(time.DateOnly), got.In(zone), want.In(zone))
				}
			}
		}
	}
}

// slowFirst finds the first instant whose wall clock reads local's date or later, by looking at every minute.
func slowFirst(local time.Time, zone *time.Location) time.Time {
	date := local.Format(time.DateOnly)
	at := local.Add(-30 * time.Hour).Truncate(time.Minute)
	for at.In(zone).Format(time.DateOnly) < date {
		at = at.Add(time.Minute)
	}
	return at
}
