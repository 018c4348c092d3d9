package safeguard

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/spend"
)

var compareRecords = cmp.AllowUnexported(subscriber{}, option{}, late{})

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

func drawSubscriber(t *rapid.T) subscriber {
	if rapid.Bool().Draw(t, "gone") {
		return subscriber{terminated: drawMs(t, "terminated")}
	}
	s := subscriber{
		activated: drawMs(t, "activated"), class: rapid.StringN(1, 16, 64).Draw(t, "class"),
		imsi: rapid.StringMatching(`|[0-9]{6,15}`).Draw(t, "imsi"), language: rapid.StringMatching(`|en|pt-BR`).Draw(t, "language"),
		revision: rapid.Int64Range(0, 1<<62).Draw(t, "revision"),
	}
	if rapid.Bool().Draw(t, "offered") {
		amount := rapid.Int64Range(0, int64(spend.Max))
		s.data = option{
			state: spend.State(rapid.IntRange(1, 4).Draw(t, "state")), blocked: rapid.Bool().Draw(t, "blocked"),
			renewalDay: spend.RenewalDay(rapid.IntRange(1, 28).Draw(t, "day")),
			limit:      spend.Money{Amount: spend.Amount(amount.Draw(t, "limit")), Currency: rapid.StringMatching(`EUR|GBP|[A-Z]{3}`).Draw(t, "currency")},
			count:      spend.Count{Spent: spend.Amount(amount.Draw(t, "spent")), Peak: spend.Amount(amount.Draw(t, "peak"))},
			period:     drawPeriod(t, "period"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "late") {
			s.data.late = append(s.data.late, late{drawPeriod(t, "late"), spend.Amount(rapid.Int64().Draw(t, "sum"))})
		}
	}
	return s
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
	f.Add((&subscriber{terminated: moment("2026-03-02T09:00")}).append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := decodeSubscriber(raw)
		if err == nil && !bytes.Equal(raw, s.append(nil)) {
			t.Errorf("%x was read as %+v, which is %x", raw, s, s.append(nil))
		}
	})
}

// usual is a subscriber as most are.
func usual() *subscriber {
	return &subscriber{
		activated: moment("2026-03-02T09:00"), class: "consumer", imsi: "234150999999999", language: "en", revision: 1234,
		data: option{
			state: spend.Active, renewalDay: 1, limit: spend.Money{Amount: 50 * spend.Unit, Currency: "EUR"},
			count:  spend.Count{Spent: 12_345_678_901, Peak: 12_345_678_901},
			period: spend.Period{Start: moment("2026-03-01T00:00"), End: moment("2026-04-01T00:00")},
		},
	}
}

func TestAUsualRecordIsSmall(t *testing.T) {
	if n := len(usual().append(nil)); n > 64 {
		t.Errorf("%d bytes", n)
	}
}
