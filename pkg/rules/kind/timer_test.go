package kind

import (
	"strings"
	"testing"
	"time"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// timed is a step of a table: an event by its role at a log time, or, where fires is set, the timer.
type timed struct {
	at, own string // log time, and the event's own where it is another
	id      string
	role    Role
	fires   bool
	want    string // what comes of it
	due     string // of the timer behind it, empty where none is pending
}

// runs works the steps; a timer that is due by a step's log time and is no step itself is an error.
func runs(t *testing.T, r *Rule, z *time.Location, steps []timed) {
	t.Helper()
	var s State
	for i, step := range steps {
		at := instant(t, step.at)
		var out Result
		if due, ok := s.Due(); ok && !step.fires && !due.After(at) {
			t.Fatalf("step %d at %s comes behind the timer of %s", i+1, step.at, due)
		}
		if step.fires {
			s, out = r.Fire(s, at)
		} else {
			own := at
			if step.own != "" {
				own = instant(t, step.own)
			}
			s, out = r.Apply(s, Input{Role: step.role, Time: own, Now: at, Day: DayOf(own, z), Origin: Origin{Source: "test", ID: step.id, Time: own}, Event: []byte("held " + step.id)})
		}
		got := ""
		for _, f := range out.Firings {
			got += f.Set.ID + " renders " + strings.TrimPrefix(string(f.Event), "held ") + " at " + f.Name
		}
		if got != step.want {
			t.Errorf("step %d at %s: %q; want %q", i+1, step.at, got, step.want)
		}
		pending := ""
		if due, ok := s.Due(); ok {
			pending = due.Format(time.RFC3339Nano)
		}
		if pending != step.due {
			t.Errorf("step %d at %s: the timer is due %q; want %q", i+1, step.at, pending, step.due)
		}
		s = again(t, r, s)
	}
}

const nine = 9 * time.Hour

func TestDelayed(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	fortnight := Delayed{Days: 14, At: nine, Zone: berlin}
	for name, c := range map[string]struct {
		rule  Delayed
		steps []timed
	}{
		"fires so many calendar days later, at its time in its zone": {fortnight, []timed{
			{at: "2027-01-11T10:00:00Z", id: "a", due: "2027-01-25T08:00:00Z"},
			{at: "2027-01-25T08:00:00Z", fires: true, want: "a renders a at 2027-01-25T08:00:00.000Z"},
		}},
		"over a change of the clocks the time of the day stays": {fortnight, []timed{
			{at: "2027-03-20T10:00:00Z", id: "a", due: "2027-04-03T07:00:00Z"},
		}},
		"an event late at night is of the zone's day": {fortnight, []timed{
			{at: "2027-01-11T23:30:00Z", id: "a", due: "2027-01-26T08:00:00Z"},
		}},
		"paid in part renews what is rendered and not when; the firing bears the event that set it (field case 31)": {fortnight, []timed{
			{at: "2027-01-11T10:00:00Z", id: "delivered", due: "2027-01-25T08:00:00Z"},
			{at: "2027-01-15T10:00:00Z", id: "70-open", role: Renews, due: "2027-01-25T08:00:00Z"},
			{at: "2027-01-25T08:00:00Z", fires: true, want: "delivered renders 70-open at 2027-01-25T08:00:00.000Z"},
		}},
		"paid in whole cancels": {fortnight, []timed{
			{at: "2027-01-11T10:00:00Z", id: "delivered", due: "2027-01-25T08:00:00Z"},
			{at: "2027-01-15T10:00:00Z", id: "paid", role: Cancels},
			{at: "2027-01-16T10:00:00Z", id: "again", role: Renews},
		}},
		"the trigger's event again replaces the timer": {fortnight, []timed{
			{at: "2027-01-11T10:00:00Z", id: "a", due: "2027-01-25T08:00:00Z"},
			{at: "2027-01-13T10:00:00Z", id: "b", due: "2027-01-27T08:00:00Z"},
			{at: "2027-01-25T08:00:00Z", fires: true, due: "2027-01-27T08:00:00Z"},
			{at: "2027-01-27T08:00:00Z", fires: true, want: "b renders b at 2027-01-27T08:00:00.000Z"},
		}},
		"days before": {Delayed{Days: -3, At: nine, Zone: berlin}, []timed{
			{at: "2027-01-11T10:00:00Z", own: "2027-01-11T10:00:00Z", id: "a", due: "2027-01-11T10:00:00Z"},
			{at: "2027-01-11T10:00:00Z", fires: true, want: "a renders a at 2027-01-11T10:00:00.000Z"},
		}},
		"without a time of its own it takes the event's": {Delayed{Days: 1, At: -1, Zone: berlin}, []timed{
			{at: "2027-01-11T10:00:00.25Z", id: "a", due: "2027-01-12T10:00:00.25Z"},
		}},
		"repeats until the last": {Delayed{Days: 1, At: nine, Zone: time.UTC, RepeatDays: 7, RepeatTimes: 2}, []timed{
			{at: "2027-01-11T10:00:00Z", id: "a", due: "2027-01-12T09:00:00Z"},
			{at: "2027-01-12T09:00:00Z", fires: true, want: "a renders a at 2027-01-12T09:00:00.000Z", due: "2027-01-19T09:00:00Z"},
			{at: "2027-01-19T09:00:00Z", fires: true, want: "a renders a at 2027-01-19T09:00:00.000Z", due: "2027-01-26T09:00:00Z"},
			{at: "2027-01-26T09:00:00Z", fires: true, want: "a renders a at 2027-01-26T09:00:00.000Z"},
		}},
		"cancelled between repeats": {Delayed{Days: 1, At: nine, Zone: time.UTC, RepeatDays: 7, RepeatTimes: 2}, []timed{
			{at: "2027-01-11T10:00:00Z", id: "a", due: "2027-01-12T09:00:00Z"},
			{at: "2027-01-12T09:00:00Z", fires: true, want: "a renders a at 2027-01-12T09:00:00.000Z", due: "2027-01-19T09:00:00Z"},
			{at: "2027-01-13T10:00:00Z", id: "paid", role: Cancels},
		}},
		"of repeats that are past one fires at once, and the next is ahead": {Delayed{Days: 1, At: nine, Zone: time.UTC, RepeatDays: 7, RepeatTimes: 4}, []timed{
			{at: "2027-02-01T10:00:00Z", own: "2027-01-11T10:00:00Z", id: "a", due: "2027-02-01T10:00:00Z"},
			{at: "2027-02-01T10:00:00Z", fires: true, want: "a renders a at 2027-02-01T10:00:00.000Z", due: "2027-02-02T09:00:00Z"},
			{at: "2027-02-02T09:00:00Z", fires: true, want: "a renders a at 2027-02-02T09:00:00.000Z", due: "2027-02-09T09:00:00Z"},
			{at: "2027-02-09T09:00:00Z", fires: true, want: "a renders a at 2027-02-09T09:00:00.000Z"},
		}},
	} {
		t.Run(name, func(t *testing.T) { runs(t, &Rule{Delayed: &c.rule}, c.rule.Zone, c.steps) })
	}
	t.Run("an event that a timer can't hold is held back, and what was pending is dropped", func(t *testing.T) {
		r := &Rule{Delayed: &fortnight}
		s, _ := r.Apply(State{}, Input{Event: []byte("small"), Day: Day{2027, 1, 11, 0}})
		s, out := r.Apply(s, Input{Event: make([]byte, MaxHeld+1), Day: Day{2027, 1, 11, 0}})
		if _, pending := s.Due(); pending || inWords(out) != "too large" {
			t.Errorf("%q; pending %t", inWords(out), pending)
		}
	})
	t.Run("a state that ended goes at once, or with the window of its cap", func(t *testing.T) {
		now := instant(t, "2027-01-25T08:00:00Z")
		for _, c := range []struct {
			cap  *Cap
			want time.Time
		}{{nil, now}, {&Cap{N: 1, Window: time.Hour}, now.Add(time.Hour)}} {
			r := &Rule{Delayed: &fortnight, Cap: c.cap}
			s, out := r.Apply(State{}, Input{Now: now.AddDate(0, 0, -14), Day: Day{2027, 1, 11, 0}})
			if !out.Ends.IsZero() {
				t.Error("it ends while its timer is pending")
			}
			if _, out = r.Fire(s, now); len(out.Firings) != 1 || !out.Ends.Equal(c.want) {
				t.Errorf("fired %d times, ends %s; want %s", len(out.Firings), out.Ends, c.want)
			}
		}
	})
}

func TestMoment_WhereTheClocksChange(t *testing.T) {
	for name, c := range map[string]struct {
		zone string
		day  Day
		want string
	}{
		"an hour that does not exist takes the offset before": {"Europe/Berlin", Day{2027, 3, 28, 2*time.Hour + 30*time.Minute}, "2027-03-28T01:30:00Z"},
		"one that comes twice is the first":                   {"Europe/Berlin", Day{2027, 10, 31, 2*time.Hour + 30*time.Minute}, "2027-10-31T00:30:00Z"},
		"the hour before both":                                {"Europe/Berlin", Day{2027, 10, 31, 90 * time.Minute}, "2027-10-30T23:30:00Z"},
		"the hour behind both":                                {"Europe/Berlin", Day{2027, 10, 31, 3 * time.Hour}, "2027-10-31T02:00:00Z"},
		"a midnight that does not exist":                      {"America/Santiago", Day{2027, 9, 5, 0}, "2027-09-05T04:00:00Z"},
		"half an hour, south":                                 {"Australia/Lord_Howe", Day{2027, 10, 3, 2*time.Hour + 15*time.Minute}, "2027-10-02T15:45:00Z"},
		"a day that a zone left out takes the offset before":  {"Pacific/Apia", Day{2011, 12, 30, nine}, "2011-12-30T19:00:00Z"},
		"UTC": {"UTC", Day{2028, 2, 29, nine}, "2028-02-29T09:00:00Z"},
	} {
		if got := Moment(c.day, zone(t, c.zone)).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s: %s; want %s", name, got, c.want)
		}
	}
}

// Field case 32: silence is 30 days.
func TestAbsence(t *testing.T) {
	silence := &Rule{Absence: &Absence{For: 720 * time.Hour}}
	for name, steps := range map[string][]timed{
		"never used: the activation is the first event seen": {
			{at: "2027-01-01T00:00:00Z", id: "activated", due: "2027-01-31T00:00:00Z"},
			{at: "2027-01-31T00:00:00Z", fires: true, want: "activated renders activated at 2027-01-31T00:00:00.000Z"},
		},
		"used last by the event's own time, whenever it came": {
			{at: "2027-01-01T00:00:00Z", id: "activated", due: "2027-01-31T00:00:00Z"},
			{at: "2027-01-30T00:00:00Z", own: "2027-01-02T00:00:00Z", id: "roaming", due: "2027-01-31T00:00:00Z"},
			{at: "2027-01-31T00:00:00Z", fires: true, due: "2027-02-01T00:00:00Z"},
			{at: "2027-02-01T00:00:00Z", fires: true, want: "roaming renders roaming at 2027-02-01T00:00:00.000Z"},
		},
		"the timer moves when it fires, fires once a silence, and again in the next": {
			{at: "2027-01-01T00:00:00Z", id: "activated", due: "2027-01-31T00:00:00Z"},
			{at: "2027-01-15T06:00:00Z", id: "u1", due: "2027-01-31T00:00:00Z"},
			{at: "2027-01-30T06:00:00Z", id: "u2", due: "2027-01-31T00:00:00Z"},
			{at: "2027-01-31T00:00:00Z", fires: true, due: "2027-03-01T06:00:00Z"},
			{at: "2027-03-01T06:00:00Z", fires: true, want: "u2 renders u2 at 2027-03-01T06:00:00.000Z"},
			{at: "2027-03-02T00:00:00Z", own: "2027-01-02T00:00:00Z", id: "late"},
			{at: "2027-03-05T00:00:00Z", id: "u3", due: "2027-04-04T00:00:00Z"},
			{at: "2027-04-04T00:00:00Z", fires: true, want: "u3 renders u3 at 2027-04-04T00:00:00.000Z"},
		},
		"a late record does not move the kept time back": {
			{at: "2027-01-10T00:00:00Z", id: "u1", due: "2027-02-09T00:00:00Z"},
			{at: "2027-01-11T00:00:00Z", own: "2027-01-02T00:00:00Z", id: "late", due: "2027-02-09T00:00:00Z"},
			{at: "2027-02-09T00:00:00Z", fires: true, want: "u1 renders u1 at 2027-02-09T00:00:00.000Z"},
		},
		"what has ended is silent for good": {
			{at: "2027-01-01T00:00:00Z", id: "activated", due: "2027-01-31T00:00:00Z"},
			{at: "2027-01-20T00:00:00Z", id: "terminated", role: Cancels},
		},
	} {
		t.Run(name, func(t *testing.T) { runs(t, silence, time.UTC, steps) })
	}
}

// An event that a timer can't hold is none of silence all the same: what fires is rendered from the one before, and a Decision
// names it.
func TestAbsence_AnEventThatIsTooLargeEndsTheSilence(t *testing.T) {
	silence := &Rule{Absence: &Absence{For: 24 * time.Hour}}
	day := func(n int) time.Time { return time.Date(2027, 1, n, 0, 0, 0, 0, time.UTC) }
	see := func(s State, n int, event []byte) (State, Result) {
		return silence.Apply(s, Input{Time: day(n), Now: day(n), Event: event})
	}
	large := make([]byte, MaxHeld+1)
	if s, out := see(State{}, 1, large); !s.Empty() || inWords(out) != "too large" {
		t.Errorf("the first begins %+v, %q", s, inWords(out))
	}
	s, _ := see(State{}, 1, []byte("first"))
	s, out := see(s, 2, large)
	if inWords(out) != "too large" {
		t.Errorf("%q", inWords(out))
	}
	s, out = silence.Fire(s, day(2))
	if due, pending := s.Due(); len(out.Firings) != 0 || !pending || !due.Equal(day(3)) {
		t.Errorf("after an event of the day before it fires %q; due at %s, %t", inWords(out), due, pending)
	}
	s, out = silence.Fire(s, day(3))
	if len(out.Firings) != 1 || string(out.Firings[0].Event) != "first" {
		t.Errorf("fires %q", inWords(out))
	}
	// What fired holds nothing any more: a large one begins no other silence.
	s, out = see(s, 5, large)
	if _, pending := s.Due(); pending || inWords(out) != "too large" {
		t.Errorf("%q, pending %t", inWords(out), pending)
	}
}
