package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func zone(t interface{ Fatal(...any) }, name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func clock(h, m int) int { return h*60 + m }

func TestChange_IsTheNextTimeItOpensOrCloses(t *testing.T) {
	berlin, tehran := zone(t, "Europe/Berlin"), zone(t, "Asia/Tehran")
	weekdays := [7]bool{false, true, true, true, true, true, false}
	office := Schedule{berlin, []Hours{{Days: weekdays, Start: clock(9, 0), End: clock(17, 0)}}}
	night := Schedule{berlin, []Hours{{Start: clock(22, 0), End: clock(6, 0)}}}
	gap := Schedule{berlin, []Hours{{Start: clock(2, 30), End: clock(4, 0)}}}
	friday := Schedule{berlin, []Hours{{Days: [7]bool{time.Friday: true}, Start: clock(22, 0), End: clock(2, 0)}}}
	tests := map[string]struct {
		s    Schedule
		at   string
		open bool
		next string
	}{
		"before the office opens":               {office, "2026-03-02T07:00:00Z", false, "2026-03-02T08:00:00Z"},
		"as it opens":                           {office, "2026-03-02T08:00:00Z", true, "2026-03-02T16:00:00Z"},
		"as it closes":                          {office, "2026-03-02T16:00:00Z", false, "2026-03-03T08:00:00Z"},
		"over a weekend":                        {office, "2026-03-06T16:00:00Z", false, "2026-03-09T08:00:00Z"},
		"over a weekend with a change of clock": {office, "2026-03-27T16:00:00Z", false, "2026-03-30T07:00:00Z"},
		"in the night":                          {night, "2026-03-02T23:00:00Z", true, "2026-03-03T05:00:00Z"},
		"a night that is an hour shorter":       {night, "2026-03-28T22:00:00Z", true, "2026-03-29T04:00:00Z"},
		"a night that is an hour longer":        {night, "2026-10-24T22:00:00Z", true, "2026-10-25T05:00:00Z"},
		"a start that the clock leaves out":     {gap, "2026-03-29T00:00:00Z", false, "2026-03-29T01:00:00Z"},
		"a start that occurs twice":             {gap, "2026-10-25T00:00:00Z", false, "2026-10-25T00:30:00Z"},
		"between the two":                       {gap, "2026-10-25T01:10:00Z", false, "2026-10-25T01:30:00Z"},
		"of the day before":                     {friday, "2026-03-07T00:30:00Z", true, "2026-03-07T01:00:00Z"},
		"not of the day before":                 {friday, "2026-03-06T00:30:00Z", false, "2026-03-06T21:00:00Z"},
		"a zone of half hours":                  {Schedule{tehran, []Hours{{Start: clock(8, 0), End: clock(24, 0)}}}, "2026-03-02T00:00:00Z", false, "2026-03-02T04:30:00Z"},
		"the whole day":                         {Schedule{berlin, []Hours{{Start: 0, End: clock(24, 0)}}}, "2026-03-02T00:00:00Z", true, ""},
		"never":                                 {Schedule{Zone: berlin}, "2026-03-02T00:00:00Z", false, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, test.at)
			if err != nil {
				t.Fatal(err)
			}
			next := ""
			if change := test.s.Change(at); !change.IsZero() {
				next = change.UTC().Format(time.RFC3339)
			}
			if test.s.Open(at) != test.open || next != test.next {
				t.Errorf("open %v, changes %s; want %v, %s", test.s.Open(at), next, test.open, test.next)
			}
		})
	}
}

// What Change finds is what a look at every minute finds.
func TestChange_AgreesWithEveryMinute(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"}
	rapid.Check(t, func(t *rapid.T) {
		s := Schedule{Zone: zone(t, rapid.SampledFrom(zones).Draw(t, "zone"))}
		for range rapid.IntRange(1, 3).Draw(t, "hours") {
			var h Hours
			for i := range h.Days {
				h.Days[i] = rapid.Bool().Draw(t, "day")
			}
			h.Start, h.End = rapid.IntRange(0, day-1).Draw(t, "start"), rapid.IntRange(0, day).Draw(t, "end")
			s.Hours = append(s.Hours, h)
		}
		month := rapid.SampledFrom([]time.Month{2, 3, 4, 9, 10, 11}).Draw(t, "month")
		at := time.Date(2026, month, rapid.IntRange(1, 30).Draw(t, "date"), 0, rapid.IntRange(0, day).Draw(t, "minute"), 0, 0, time.UTC)
		change := s.Change(at)
		for m := at.Add(time.Minute); m.Before(at.AddDate(0, 0, 8)); m = m.Add(time.Minute) {
			if s.Open(m) != s.Open(at) {
				if !change.Equal(m) {
					t.Fatalf("%v of %+v changes at %s, not %s", at, s.Hours, m, change)
				}
				return
			}
		}
	})
}
