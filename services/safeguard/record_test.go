package safeguard

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/spend"
)

var compareRecords = cmp.AllowUnexported(subscriber{}, option{}, late{}, former{}, parked{}, refund{}, leaving{})

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
func drawMark(t *rapid.T, kind life) subscriber {
	s := subscriber{life: kind}
	if kind != awaited {
		s.latest, s.until = drawMs(t, "latest"), drawMs(t, "until")
	}
	if kind == moved {
		s.movedTo = drawText(t, "moved to")
	}
	if kind == awaited || kind == terminated && rapid.Bool().Draw(t, "pending") {
		s.held = drawMs(t, "held")
		for range rapid.IntRange(1, 3).Draw(t, "parked") {
			p := parked{content: rapid.Uint64().Draw(t, "content"), offset: rapid.Int64Range(0, 1<<60).Draw(t, "offset"), at: drawMs(t, "at")}
			copy(p.identity[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "identity"))
			p.trace, p.value = drawText(t, "trace"), drawText(t, "value")
			s.parked = append(s.parked, p)
		}
	}
	return s
}

func drawSubscriber(t *rapid.T) subscriber {
	if kind := life(rapid.IntRange(0, 3).Draw(t, "life")); kind != alive {
		return drawMark(t, kind)
	}
	s := subscriber{
		activated: drawMs(t, "activated"), suspended: rapid.Bool().Draw(t, "suspended"), class: rapid.StringN(1, 16, 64).Draw(t, "class"),
		imsi: rapid.StringMatching(`|[0-9]{6,15}`).Draw(t, "imsi"), language: rapid.StringMatching(`|en|pt-BR`).Draw(t, "language"),
		revision: rapid.Int64Range(0, 1<<62).Draw(t, "revision"),
	}
	if s.latest = s.activated; rapid.Bool().Draw(t, "has changed") {
		s.latest = drawMs(t, "latest")
	}
	for range rapid.IntRange(0, 2).Draw(t, "former") {
		s.former = append(s.former, former{drawText(t, "number"), drawMs(t, "until")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "refunds") {
		s.refunds = append(s.refunds, refund{rapid.Uint64().Draw(t, "reference"), drawAmount(t, "left"), rapid.Int64Range(0, 1<<40).Draw(t, "hour")})
	}
	if rapid.Bool().Draw(t, "leaves") {
		waits := drawMark(t, awaited).parked
		s.leaving = &leaving{to: drawText(t, "to"), move: waits[0], held: waits[1:]}
		copy(s.leaving.transfer[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "transfer"))
		if len(s.leaving.held) == 0 {
			s.leaving.held = nil
		}
	}
	if len(s.former) > 0 && rapid.Bool().Draw(t, "somebody else's number") {
		s.since = drawMs(t, "since")
	}
	shared := drawPeriod(t, "shared period")
	for o := range s.options {
		if rapid.Bool().Draw(t, "offered") {
			s.options[o] = drawOption(t, shared)
		}
	}
	return s
}

func drawOption(t *rapid.T, shared spend.Period) option {
	o := option{
		state: spend.State(rapid.IntRange(1, 4).Draw(t, "state")), blocked: rapid.Bool().Draw(t, "blocked"),
		withdrawn: rapid.Bool().Draw(t, "withdrawn"), blockInactive: rapid.Bool().Draw(t, "block inactive"),
		limited: rapid.Bool().Draw(t, "limited"), own: rapid.Bool().Draw(t, "own"), hasNext: rapid.Bool().Draw(t, "next"),
		ownDay: rapid.Bool().Draw(t, "own day"), dayChanged: rapid.Bool().Draw(t, "day changed"), noticed: rapid.Bool().Draw(t, "noticed"),
		renewalDay: spend.RenewalDay(rapid.IntRange(1, 28).Draw(t, "day")), currency: rapid.StringMatching(`EUR|GBP|[A-Z]{3}`).Draw(t, "currency"),
		perPayment: spend.Max, period: drawPeriod(t, "period"),
	}
	if rapid.Bool().Draw(t, "shares") {
		o.renewalDay, o.currency, o.period = 1, "EUR", shared
	}
	o.count.Spent = drawAmount(t, "spent")
	if o.count.Peak = o.count.Spent; rapid.Bool().Draw(t, "below its peak") {
		o.count.Peak = drawAmount(t, "peak")
	}
	if o.limited {
		o.limit = drawAmount(t, "limit")
	}
	if o.hasNext {
		o.next = drawAmount(t, "next limit")
	}
	if rapid.Bool().Draw(t, "capped") {
		o.perPayment = drawAmount(t, "per payment")
	}
	for range rapid.IntRange(0, 2).Draw(t, "thresholds") {
		if rapid.Bool().Draw(t, "a percent") {
			o.thresholds = append(o.thresholds, spend.Threshold{Percent: rapid.Int64Range(1, 1000).Draw(t, "percent")})
		} else {
			o.thresholds = append(o.thresholds, spend.Threshold{Amount: 1 + drawAmount(t, "threshold")/2})
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "late") {
		o.late = append(o.late, late{drawPeriod(t, "late"), spend.Amount(rapid.Int64().Draw(t, "sum"))})
	}
	return o
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSubscriber(t)
		raw := s.append(nil)
		got, err := decodeSubscriber(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got, compareRecords); diff != "" {
			t.Fatal(diff)
		}
		for n := range raw {
			if _, err := decodeSubscriber(raw[:n]); err == nil {
				t.Fatalf("%d of %d bytes were a record", n, len(raw))
			}
		}
		if _, err := decodeSubscriber(append(raw, 0)); err == nil {
			t.Fatal("a byte too many was passed over")
		}
	})
}

// Whatever is read is what would have been written: no two records say the same.
func FuzzDecodeSubscriber(f *testing.F) {
	f.Add(usual().append(nil))
	mark := &subscriber{life: moved, latest: moment("2026-03-02T09:00"), until: moment("2026-04-02T09:00"), movedTo: "447700900124"}
	f.Add(mark.append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := decodeSubscriber(raw)
		if err == nil && !bytes.Equal(raw, s.append(nil)) {
			t.Errorf("%x was read as %+v, which is %x", raw, s, s.append(nil))
		}
	})
}

// usual is a subscriber as most are: some roaming, no limit of its own, a payment or two.
func usual() *subscriber {
	month := spend.Period{Start: moment("2026-03-01T00:00"), End: moment("2026-04-01T00:00")}
	s := &subscriber{
		activated: moment("2026-03-02T09:00"), latest: moment("2026-03-02T09:00"), class: "consumer", imsi: "234150999999999",
		language: "en", revision: 1234,
	}
	for o, d := range map[spend.Option]option{
		spend.Data:      {state: spend.Active, limited: true, limit: 50 * spend.Unit, perPayment: spend.Max, count: spend.Count{Spent: 12_345_678_901, Peak: 12_345_678_901}},
		spend.Overspend: {state: spend.Inactive, perPayment: spend.Max, count: spend.Count{Spent: 3_210_500_000}},
		spend.Payment:   {state: spend.Active, limited: true, limit: 300 * spend.Unit, perPayment: 50 * spend.Unit, count: spend.Count{Spent: 14_990_000_000, Peak: 14_990_000_000}},
	} {
		d.renewalDay, d.currency, d.period = 1, "EUR", month
		s.options[o] = d
	}
	return s
}

func TestAUsualRecordIsSmall(t *testing.T) {
	if n := len(usual().append(nil)); n > 80 {
		t.Errorf("%d bytes", n)
	}
}
