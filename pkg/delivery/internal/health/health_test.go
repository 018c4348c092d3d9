package health

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
)

// fails applies n failures, one every so many ms from a time on, and returns the notices and when it was suspended.
func fails(e *Endpoint, from, every int64, n int) (notices []uint8, suspended int64) {
	suspended = Never
	for i := range n {
		at := from + int64(i)*every
		c := e.Apply(Result{Activation: e.Activation, Kind: Busy, At: at, Delivery: "d", Status: 500, Probe: e.Open})
		if c.Notice > 0 {
			notices = append(notices, c.Notice)
		}
		if c.Suspended {
			suspended = at
		}
	}
	return notices, suspended
}

func TestCircuit_ProbesAfterOneTwoFourSecondsUpToTenMinutes(t *testing.T) {
	e := New("e", 1)
	fails(&e, 0, 0, 9)
	if e.Open {
		t.Fatal("open after nine failures")
	}
	e.Apply(Result{Activation: e.Activation, Kind: Failure})
	if !e.Open {
		t.Fatal("closed after ten failures")
	}
	now := int64(0)
	for _, want := range []int64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600} {
		if wait := (e.NextProbe - now) / second; wait != want {
			t.Fatalf("the next probe follows after %d s, want %d", wait, want)
		}
		now = e.NextProbe
		e.Apply(Result{Activation: e.Activation, Kind: Failure, At: now + 1}) // was under way when it opened
		e.Apply(Result{Activation: e.Activation, Kind: Failure, At: now, Probe: true})
	}
	e.Apply(Result{Activation: e.Activation, Kind: Success, At: now, Probe: true})
	if e.Open || e.Failures != 0 || e.FailingSince != Never {
		t.Errorf("after a success %+v", e)
	}
}

func TestHold_IsNeverShortened(t *testing.T) {
	e := New("e", 1)
	e.Apply(Result{Activation: e.Activation, Kind: Throttled, At: 0, Hold: 2 * time.Minute})
	e.Apply(Result{Activation: e.Activation, Kind: Throttled, At: second, Hold: 10 * time.Second})
	e.Apply(Result{Activation: e.Activation, Kind: Success, At: 2 * second})
	if e.HoldUntil != 2*minute+holdMargin {
		t.Errorf("held until %d", e.HoldUntil)
	}
	e.Apply(Result{Activation: e.Activation, Kind: Throttled, At: 3 * second, Hold: time.Hour})
	if e.HoldUntil != hour+3*second+holdMargin {
		t.Errorf("held until %d after a longer one", e.HoldUntil)
	}
}

func TestSuspension_NeedsADayAndFiftyFailures(t *testing.T) {
	tests := map[string]struct {
		every     int64
		n         int
		notices   []uint8
		suspended int64
	}{
		"many failures, and a day less a second": {second, 24*60*60 - 1, []uint8{50, 70, 90}, Never},
		"many failures, and a day":               {second, 24*60*60 + 1, []uint8{50, 70, 90, 100}, 24 * hour},
		"49 failures in four days":               {2 * hour, 49, []uint8{50, 70, 90}, Never},
		"50 failures in four days":               {2 * hour, 50, []uint8{50, 70, 90, 100}, 98 * hour},
		"a few in three hours":                   {4 * minute, 46, nil, Never},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := New("e", 1)
			notices, suspended := fails(&e, 0, test.every, test.n)
			if diff := cmp.Diff(test.notices, notices); diff != "" {
				t.Error(diff)
			}
			if suspended != test.suspended || (e.Suspended == Failing) != (suspended != Never) {
				t.Errorf("suspended at %d, want %d", suspended, test.suspended)
			}
		})
	}
}

// Elsewhere the counter that suspended an endpoint survives its reactivation.
func TestActivation_CountsAnew(t *testing.T) {
	e := New("e", 3)
	fails(&e, 0, 20*minute, 100)
	if e.Suspended != Failing {
		t.Fatal("not suspended")
	}
	now := 40 * hour
	if was := e.Activate(4, now); was != Failing || e.Suspended != NotSuspended || !e.Open || e.NextProbe != now {
		t.Fatalf("was %s: %+v", was, e)
	}
	c := e.Apply(Result{Activation: e.Activation, Kind: Slow, At: now + second, Probe: true})
	if c.Notice != 0 || c.Suspended || e.Failures != 1 || e.NextProbe != now+2*second {
		t.Errorf("after one failure %+v, %+v", c, e)
	}
	e.Apply(Result{Activation: e.Activation, Kind: Success, At: now + 2*second, Probe: true})
	later := now + 14*24*hour
	notices, suspended := fails(&e, later, 3*hour/49, 49)
	if len(notices) != 0 || suspended != Never {
		t.Errorf("two weeks later: notices %v, suspended %d", notices, suspended)
	}
}

// A request that was under way at a reactivation shows nothing of the new activation, but for how long to wait.
func TestActivation_RequestsOfTheOneBeforeCountForNothing(t *testing.T) {
	for _, kind := range []Kind{Gone, Busy, Success, Throttled} {
		e := New("e", 3)
		fails(&e, 0, minute, 9)
		e.Activate(4, hour)
		want := e
		want.HoldUntil = hour + minute + holdMargin
		if c := e.Apply(Result{Activation: 3, Kind: kind, At: hour, Hold: time.Minute, Status: 410}); c != (Change{State: true}) {
			t.Errorf("kind %d: %+v", kind, c)
		}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Errorf("kind %d: %s", kind, diff)
		}
	}
}

func TestGone_SuspendsAtOnceAndOnceMore(t *testing.T) {
	e := New("e", 1)
	e.Apply(Result{Activation: e.Activation, Kind: Success, At: 0})
	if c := e.Apply(Result{Activation: e.Activation, Kind: Gone, At: 1}); !c.Suspended || c.Notice != 0 || e.Suspended != GoneReason || e.SuspendedSince != 1 {
		t.Errorf("%+v, %+v", c, e)
	}
	e.Apply(Result{Activation: e.Activation, Kind: Success, At: 2}) // was under way
	if e.Suspended != GoneReason {
		t.Error("a success that was under way ends it")
	}
	e.Activate(2, 3)
	if c := e.Apply(Result{Activation: e.Activation, Kind: Gone, At: 4, Probe: true}); !c.Suspended {
		t.Errorf("after the activation %+v", c)
	}
}

func TestQuiet_FailuresOfSystemEventsCauseNoEvent(t *testing.T) {
	e := New("e", 1)
	for i := range 100 {
		c := e.Apply(Result{Activation: e.Activation, Kind: Failure, At: int64(i) * hour, Quiet: true})
		if c.Notice > 0 || c.Suspended {
			t.Fatalf("failure %d: %+v", i, c)
		}
	}
	if e.Suspended != Failing {
		t.Error("it is suspended all the same")
	}
}

func TestStops_DontCountForSuspension(t *testing.T) {
	e := New("e", 1)
	fails(&e, 0, minute, 60)
	e.Stops.Begin(hour)
	e.Stops.End(80 * hour)
	if c := e.Apply(Result{Activation: e.Activation, Kind: Failure, At: 80 * hour}); c.Suspended || c.Notice != 0 {
		t.Errorf("the first failure after a pause of three days: %+v", c)
	}
	if way := e.Way(91 * hour); way != 50 {
		t.Errorf("%d %% after an hour and eleven", way)
	}
}

func TestStops_AreBoundedAndNeverCountLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Stops
		now, stopped := int64(0), int64(0)
		for range rapid.IntRange(0, 60).Draw(t, "stops") {
			now += rapid.Int64Range(0, 1000).Draw(t, "open")
			s.Begin(now)
			s.Begin(now)
			ms := rapid.Int64Range(0, 1000).Draw(t, "stopped")
			now, stopped = now+ms, stopped+ms
			if !s.Stopped() {
				t.Fatal("does not last")
			}
			s.End(now)
			if len(s) > maxStops {
				t.Fatalf("%d stops", len(s))
			}
			if got := s.Within(0, now); got < stopped || len(s) < maxStops && got != stopped {
				t.Fatalf("%d ms of %d", got, stopped)
			}
		}
		s.Forget(now)
		if len(s) > 0 {
			t.Fatalf("kept %v", s)
		}
	})
}

func TestRebuilt_SuspendsNobodyAndKeepsTheCircuit(t *testing.T) {
	e := New("e", 1)
	fails(&e, 0, hour, 60)
	e.Rebuilt(100 * hour)
	if e.Suspended != NotSuspended || e.Counted != 0 || e.Failures != 60 || !e.Open || e.NextProbe != 100*hour {
		t.Errorf("%+v", e)
	}
	if c := e.Apply(Result{Activation: e.Activation, Kind: Failure, At: 101 * hour, Probe: true}); c.Suspended || c.Notice != 0 {
		t.Errorf("the next failure %+v", c)
	}
}

func TestRecord_IsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := func(name string) int64 {
			return rapid.OneOf(rapid.Just(Never), rapid.Int64Range(-1e9, 1e12)).Draw(t, name)
		}
		text := rapid.StringN(0, 30, 100)
		e := New(text.Draw(t, "name"), rapid.Int64Range(0, 1e6).Draw(t, "activation"))
		e.Fingerprint = rapid.Uint64().Draw(t, "fingerprint")
		e.Failures, e.Counted = rapid.Int64Range(0, 1e9).Draw(t, "failures"), rapid.Int64Range(0, 1e9).Draw(t, "counted")
		e.FailingSince, e.LastSuccess, e.CountedSince = at("failing"), at("success"), at("counted since")
		e.ProbeAfter = rapid.Bool().Draw(t, "probe after")
		e.Contained = Contained{Writer: rapid.Uint32().Draw(t, "writer"), Ahead: rapid.IntRange(0, 1000).Draw(t, "ahead"), End: rapid.Int64Range(0, 1<<47).Draw(t, "end")}
		e.NextProbe, e.HoldUntil, e.SuspendedSince = at("probe"), at("hold"), at("suspended since")
		e.First, e.LastError, e.LastStatus = text.Draw(t, "first"), text.Draw(t, "error"), rapid.IntRange(0, 999).Draw(t, "status")
		e.Open, e.Probes, e.Notice = rapid.Bool().Draw(t, "open"), rapid.Uint8().Draw(t, "probes"), rapid.Uint8().Draw(t, "notice")
		e.Suspended = Reason(rapid.IntRange(0, 2).Draw(t, "suspended"))
		for i := range rapid.IntRange(0, maxStops).Draw(t, "stops") {
			e.Stops = append(e.Stops, Stop{int64(i), int64(i)})
		}
		if rapid.Bool().Draw(t, "stopped") {
			e.Stops.Begin(99)
		}
		if rapid.Bool().Draw(t, "is behind") {
			e.Behind = Behind{
				Is: true, Offset: rapid.Int64Range(0, 1e12).Draw(t, "offset"), Count: rapid.Int64Range(0, 1e9).Draw(t, "count"),
				Before: rapid.Uint64().Draw(t, "before"), Since: rapid.Int64Range(0, 1e13).Draw(t, "since"),
			}
		}
		if rapid.Bool().Draw(t, "has exhausted") {
			e.Exhausted = Exhausted{at("published"), rapid.Int64Range(1, 99).Draw(t, "count"), text.Draw(t, "x"), Last{
				text.Draw(t, "delivery"), text.Draw(t, "notification"), text.Draw(t, "reason"), 9, text.Draw(t, "type"), text.Draw(t, "subject"),
				text.Draw(t, "topic"), 7, 1 << 40, 503, text.Draw(t, "why"),
			}}
		}
		const shift = 2e9
		b := e.Encode(shift)
		got, err := Decode(b, -shift)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Fatal(diff)
		}
		if n := rapid.IntRange(0, len(b)-1).Draw(t, "cut"); n < len(b) {
			if _, err := Decode(b[:n], -shift); err == nil {
				t.Fatalf("%d of %d bytes are read", n, len(b))
			}
		}
	})
}

func TestRecord_OfAnotherFormatIsRefused(t *testing.T) {
	e := New("e", 1)
	b := e.Encode(0)
	b[0]++
	if _, err := Decode(b, 0); err == nil {
		t.Error("read")
	}
}

func TestSlots_DoubleWithCleanRoundsAndHalveWithLoad(t *testing.T) {
	var s Slots
	apply := func(k Kind, n int) int {
		for range n {
			s.Apply(k, 64)
		}
		return s.Number(64)
	}
	for _, step := range []struct {
		what string
		kind Kind
		n    int
		want int
	}{
		{"nothing yet", Success, 0, 4},
		{"a part of a round", Success, 3, 4},
		{"a round", Success, 1, 8},
		{"rounds", Success, 8 + 16 + 32, 64},
		{"rounds at the limit", Success, 1000, 64},
		{"a refusal", Failure, 10, 64},
		{"a 503", Busy, 1, 32},
		{"a 429", Throttled, 1, 16},
		{"a timeout", Slow, 1, 1},
		{"the answer after it", Success, 1, 8},
		{"the rest of the round", Success, 7, 16},
		{"many 503", Busy, 10, 1},
		{"a round of one", Success, 1, 2},
	} {
		if got := apply(step.kind, step.n); got != step.want {
			t.Errorf("after %s %d, want %d", step.what, got, step.want)
		}
	}
	if s.Restart(); s.Number(64) != 1 {
		t.Error("an open circuit does not restart with one")
	}
	if n := new(Slots).Number(2); n != 2 {
		t.Errorf("%d of a limit of 2", n)
	}
}
