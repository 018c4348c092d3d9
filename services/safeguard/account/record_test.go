package account

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/spend"
)

var compareRecords = cmp.AllowUnexported(Subscriber{}, Option{}, late{}, previousNumber{}, heldEvent{}, refund{}, transferOut{})

func drawMs(t *rapid.T, name string) time.Time {
	return time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, name)).UTC()
}

func drawPeriod(t *rapid.T, name string) spend.Period {
	start := rapid.Int64Range(-62135596800, 253402300799).Draw(t, name+" start")
	return spend.Period{
		Start: time.Unix(start, 0).UTC(),
		End:   time.Unix(start+rapid.Int64Range(0, 100*24*3600).Draw(t, name+" length"), 0).UTC(),
	}
}

func drawAmount(t *rapid.T, name string) spend.Amount {
	return spend.Amount(rapid.OneOf(
		rapid.Int64Range(0, int64(spend.Max)),
		rapid.Custom(func(t *rapid.T) int64 {
			return rapid.Int64Range(0, int64(spend.Max/cent)).Draw(t, "cents") * int64(cent)
		}),
	).Draw(t, name))
}

func drawText(t *rapid.T, name string) string { return rapid.StringN(0, 16, 64).Draw(t, name) }

// drawMark is a record that is no active subscriber's.
func drawMark(t *rapid.T, kind Life) Subscriber {
	s := Subscriber{Life: kind}
	if kind != LifePending {
		s.latest, s.until = drawMs(t, "latest"), drawMs(t, "until")
	}
	if kind == LifeMoved {
		s.movedTo = drawText(t, "moved to")
	}
	if kind == LifePending || kind == LifeTerminated && rapid.Bool().Draw(t, "pending") {
		s.heldUntil = drawMs(t, "held")
		for range rapid.IntRange(1, 3).Draw(t, "held") {
			p := heldEvent{content: rapid.Uint64().Draw(t, "content"), offset: rapid.Int64Range(0, 1<<60).Draw(t, "offset"), at: drawMs(t, "at")}
			copy(p.identity[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "identity"))
			p.trace, p.value = drawText(t, "trace"), drawText(t, "value")
			s.held = append(s.held, p)
		}
	}
	return s
}

func drawSubscriber(t *rapid.T) Subscriber {
	if kind := Life(rapid.IntRange(0, 3).Draw(t, "life")); kind != LifeActive {
		return drawMark(t, kind)
	}
	s := Subscriber{
		Activated: drawMs(t, "activated"), Suspended: rapid.Bool().Draw(t, "suspended"), Class: rapid.StringN(1, 16, 64).Draw(t, "class"),
		IMSI: rapid.StringMatching(`|[0-9]{6,15}`).Draw(t, "imsi"), Language: rapid.StringMatching(`|en|pt-BR`).Draw(t, "language"),
		Revision: rapid.Int64Range(0, 1<<62).Draw(t, "revision"),
	}
	if s.latest = s.Activated; rapid.Bool().Draw(t, "has changed") {
		s.latest = drawMs(t, "latest")
	}
	for range rapid.IntRange(0, 2).Draw(t, "former") {
		s.previous = append(s.previous, previousNumber{drawText(t, "number"), drawMs(t, "until")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "refunds") {
		s.refunds = append(s.refunds, refund{rapid.Uint64().Draw(t, "reference"), drawAmount(t, "left"), rapid.Int64Range(0, 1<<40).Draw(t, "hour")})
	}
	if rapid.Bool().Draw(t, "leaves") {
		waits := drawMark(t, LifePending).held
		s.transferOut = &transferOut{to: drawText(t, "to"), move: waits[0], held: waits[1:]}
		copy(s.transferOut.transfer[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "transfer"))
		if len(s.transferOut.held) == 0 {
			s.transferOut.held = nil
		}
	}
	if len(s.previous) > 0 && rapid.Bool().Draw(t, "another subscriber's number") {
		s.since = drawMs(t, "since")
	}
	shared := drawPeriod(t, "shared period")
	for o := range s.Options {
		if rapid.Bool().Draw(t, "offered") {
			s.Options[o] = drawOption(t, shared)
		}
	}
	return s
}

func drawOption(t *rapid.T, shared spend.Period) Option {
	o := Option{
		State: spend.State(rapid.IntRange(1, 4).Draw(t, "state")), Blocked: rapid.Bool().Draw(t, "blocked"),
		Withdrawn: rapid.Bool().Draw(t, "withdrawn"), BlockInactive: rapid.Bool().Draw(t, "block inactive"),
		Limited: rapid.Bool().Draw(t, "limited"), OwnLimit: rapid.Bool().Draw(t, "own"), HasNext: rapid.Bool().Draw(t, "next"),
		OwnDay: rapid.Bool().Draw(t, "own day"), DayChanged: rapid.Bool().Draw(t, "day changed"), Noticed: rapid.Bool().Draw(t, "noticed"),
		RenewalDay: spend.RenewalDay(rapid.IntRange(1, 28).Draw(t, "day")), Currency: rapid.StringMatching(`EUR|GBP|[A-Z]{3}`).Draw(t, "currency"),
		PerPayment: spend.Max, Period: drawPeriod(t, "period"),
	}
	if rapid.Bool().Draw(t, "shares") {
		o.RenewalDay, o.Currency, o.Period = 1, "EUR", shared
	}
	o.Count.Spent = drawAmount(t, "spent")
	if o.Count.Peak = o.Count.Spent; rapid.Bool().Draw(t, "below its peak") {
		o.Count.Peak = drawAmount(t, "peak")
	}
	if o.Limited {
		o.Limit = drawAmount(t, "limit")
	}
	if o.HasNext {
		o.Next = drawAmount(t, "next limit")
	}
	if rapid.Bool().Draw(t, "capped") {
		o.PerPayment = drawAmount(t, "per payment")
	}
	for range rapid.IntRange(0, 2).Draw(t, "thresholds") {
		if rapid.Bool().Draw(t, "a percent") {
			o.Thresholds = append(o.Thresholds, spend.Threshold{Percent: rapid.Int64Range(1, 1000).Draw(t, "percent")})
		} else {
			o.Thresholds = append(o.Thresholds, spend.Threshold{Amount: 1 + drawAmount(t, "threshold")/2})
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "late") {
		o.late = append(o.late, late{drawPeriod(t, "late"), spend.Amount(rapid.Int64().Draw(t, "sum"))})
	}
	return o
}

func TestRecord_ReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSubscriber(t)
		raw := s.Encode(nil)
		got, err := Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got, compareRecords); diff != "" {
			t.Fatal(diff)
		}
		for n := range raw {
			if _, err := Decode(raw[:n]); err == nil {
				t.Fatalf("%d of %d bytes were a record", n, len(raw))
			}
		}
		if _, err := Decode(append(raw, 0)); err == nil {
			t.Fatal("a byte too many was passed over")
		}
	})
}

// Whatever is read is what would have been written: no two records have the same contents.
func FuzzDecodeSubscriber(f *testing.F) {
	f.Add(usual().Encode(nil))
	mark := &Subscriber{Life: LifeMoved, latest: moment("2026-03-02T09:00"), until: moment("2026-04-02T09:00"), movedTo: "447700900124"}
	f.Add(mark.Encode(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Decode(raw)
		if err == nil && !bytes.Equal(raw, s.Encode(nil)) {
			t.Errorf("%x was read as %+v, which is %x", raw, s, s.Encode(nil))
		}
	})
}

// usual is a subscriber as most are: some roaming, no limit of its own, a payment or two.
func usual() *Subscriber {
	month := spend.Period{Start: moment("2026-03-01T00:00"), End: moment("2026-04-01T00:00")}
	s := &Subscriber{
		Activated: moment("2026-03-02T09:00"), latest: moment("2026-03-02T09:00"), Class: "consumer", IMSI: "234150999999999",
		Language: "en", Revision: 1234,
	}
	for o, d := range map[spend.Option]Option{
		spend.Data:      {State: spend.Active, Limited: true, Limit: 50 * spend.Unit, PerPayment: spend.Max, Count: spend.Count{Spent: 12_345_678_901, Peak: 12_345_678_901}},
		spend.Overspend: {State: spend.Inactive, PerPayment: spend.Max, Count: spend.Count{Spent: 3_210_500_000}},
		spend.Payment:   {State: spend.Active, Limited: true, Limit: 300 * spend.Unit, PerPayment: 50 * spend.Unit, Count: spend.Count{Spent: 14_990_000_000, Peak: 14_990_000_000}},
	} {
		d.RenewalDay, d.Currency, d.Period = 1, "EUR", month
		s.Options[o] = d
	}
	return s
}

func TestRecord_UsualIsSmall(t *testing.T) {
	if n := len(usual().Encode(nil)); n > 80 {
		t.Errorf("%d bytes", n)
	}
}
