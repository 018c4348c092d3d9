package kind

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func number(t testing.TB, text string) Number {
	t.Helper()
	if text == "" {
		return Number{}
	}
	digits, currency, _ := strings.Cut(text, " ")
	n, err := Parse(digits)
	if err != nil {
		t.Fatal(err)
	}
	n.currency = currency
	return n
}

func numbers(t testing.TB, texts ...string) (all []Number) {
	t.Helper()
	for _, text := range texts {
		all = append(all, number(t, text))
	}
	return all
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// value is an event in a table: its value, what it was before, and the whole; empty where absent.
type value struct {
	value, before, whole string
	at                   string // log time; the same for all where it is empty
	want                 string
}

// folds runs a rule over events; the state goes through its bytes each time.
func folds(t *testing.T, r *Rule, events []value) {
	t.Helper()
	var s State
	for i, e := range events {
		now := instant(t, "2027-02-01T00:00:00Z")
		if e.at != "" {
			now = instant(t, e.at)
		}
		var out Result
		s, out = r.Apply(s, Input{Time: now, Now: now, Value: number(t, e.value), Before: number(t, e.before), Whole: number(t, e.whole)})
		if got := inWords(out); got != e.want {
			t.Errorf("event %d, %s of %s: %q; want %q", i+1, e.value, e.whole, got, e.want)
		}
		s = again(t, r, s)
	}
}

// inWords are the firings and what was held back, in words.
func inWords(out Result) string {
	var words []string
	for _, f := range out.Firings {
		words = append(words, f.Name)
	}
	for _, h := range out.Held {
		words = append(words, strings.TrimSpace(map[Reason]string{Capped: "capped ", NoWhole: "no whole", OtherCurrency: "other currency", TooLarge: "too large"}[h.Reason]+h.Firing))
	}
	return strings.Join(words, ", ")
}

// again is the state out of its bytes.
func again(t testing.TB, r *Rule, s State) State {
	t.Helper()
	b := s.Append(nil)
	if len(b) > r.Size() {
		t.Errorf("a state takes %d bytes, above the %d it may", len(b), r.Size())
	}
	read, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if b2 := read.Append(nil); string(b2) != string(b) {
		t.Errorf("state %x is read as %x", b, b2)
	}
	return read
}

func TestCrossing(t *testing.T) {
	for name, c := range map[string]struct {
		rule   Crossing
		events []value
	}{
		"the first value without a before fires nothing, also beyond it": {
			Crossing{Down: number(t, "10")}, []value{{value: "5"}, {value: "4"}, {value: "11"}, {value: "10", want: "down 10"}},
		},
		"the first value is compared with its before": {
			Crossing{Down: number(t, "10")}, []value{{value: "9.80", before: "12", want: "down 10"}},
		},
		"later ones are compared with the value kept, whatever their before is": {
			Crossing{Down: number(t, "10")}, []value{{value: "12"}, {value: "11", before: "9"}, {value: "9", before: "8", want: "down 10"}},
		},
		"down: exactly reached counts, and once": {
			Crossing{Down: number(t, "10")}, []value{{value: "10.000000001"}, {value: "10", want: "down 10"}, {value: "10"}, {value: "9"}, {value: "10"}, {value: "10.01"}, {value: "9.99", want: "down 10"}},
		},
		"up: exactly reached counts, and once": {
			Crossing{Up: number(t, "0.3")}, []value{{value: "0.1"}, {value: "0.3", want: "up 0.3"}, {value: "0.4"}, {value: "0.2"}, {value: "0.30", want: "up 0.3"}},
		},
		"down: who was exactly there before has not come from above": {
			Crossing{Down: number(t, "10")}, []value{{value: "9", before: "10"}},
		},
		"up: who was exactly there before has not come from below": {
			Crossing{Up: number(t, "10")}, []value{{value: "11", before: "10"}},
		},
		"up and down of one rule": {
			Crossing{Up: number(t, "10"), Down: number(t, "5")}, []value{{value: "7"}, {value: "12", want: "up 10"}, {value: "3", want: "down 5"}, {value: "10", want: "up 10"}},
		},
		"with a margin it is armed again beyond it only": {
			Crossing{Down: number(t, "10"), Rearm: number(t, "2")},
			[]value{{value: "9.80", before: "12", want: "down 10"}, {value: "10.10"}, {value: "9.90"}, {value: "12"}, {value: "9"}, {value: "12.01"}, {value: "9", want: "down 10"}},
		},
		"another currency is held back, and not kept": {
			Crossing{Down: number(t, "10 EUR")}, []value{{value: "12 EUR"}, {value: "9 USD", want: "other currency"}, {value: "9 EUR", want: "down 10"}},
		},
		"a value that is absent changes nothing": {
			Crossing{Down: number(t, "10")}, []value{{value: "12"}, {}, {value: "9", want: "down 10"}},
		},
	} {
		t.Run(name, func(t *testing.T) { folds(t, &Rule{Crossing: &c.rule}, c.events) })
	}
}

func TestBalance_DepletedAndRestored(t *testing.T) {
	both := Balance{Depleted: true, Restored: true}
	for name, c := range map[string]struct {
		rule   Balance
		events []value
	}{
		"5 to 0 to 5 fires both":                             {both, []value{{value: "5"}, {value: "0", want: "depleted"}, {value: "5", want: "restored"}}},
		"the first value's before is the state it starts in": {both, []value{{value: "-1", before: "3", want: "depleted"}}},
		"a before of 0 is depleted":                          {both, []value{{value: "4", before: "0", want: "restored"}}},
		"without a before the first value fires nothing":     {both, []value{{value: "-1"}, {value: "-2"}, {value: "0", want: "restored"}}},
		"0 that stays 0 is no rise and no fall":              {both, []value{{value: "5"}, {value: "0", want: "depleted"}, {value: "0"}, {value: "-1"}, {value: "0", want: "restored"}, {value: "0"}, {value: "-1", want: "depleted"}}},
		"one that is not asked for changes the state all the same": {
			Balance{Depleted: true}, []value{{value: "5"}, {value: "0", want: "depleted"}, {value: "5"}, {value: "-1", want: "depleted"}},
		},
	} {
		t.Run(name, func(t *testing.T) { folds(t, &Rule{Balance: &c.rule}, c.events) })
	}
}

func TestThresholds(t *testing.T) {
	percent := Thresholds{Values: numbers(t, "50", "75", "90", "100"), Percent: true}
	for name, c := range map[string]struct {
		rule   Thresholds
		events []value
	}{
		"first value with a before, several at once, a top-up, and an absent whole (field case 30, bucket b1)": {percent, []value{
			{value: "800", before: "400", whole: "1000", want: "50, 75"},
			{value: "1000", before: "800", whole: "1000", want: "90, 100"},
			{value: "1300", whole: "1000"},
			{value: "1300", whole: "2000"},
			{value: "1500", whole: "2000", want: "75"},
			{value: "1600", whole: "2000"},
			{value: "1700", want: "no whole"},
			{value: "1800", whole: "2000", want: "90"},
		}},
		"first value without a before fires nothing, exactly reached counts (b2)": {percent, []value{
			{value: "900", whole: "1000"}, {value: "1000", whole: "1000", want: "100"},
		}},
		"8.1 of 9 is 90 % (b3)":   {percent, []value{{value: "8.1", before: "7", whole: "9", want: "90"}}},
		"18.9 of 21 is 90 % (b4)": {percent, []value{{value: "18.9", before: "17", whole: "21", want: "90"}}},
		"of a whole of 0 nothing is a part": {percent, []value{
			{value: "10", before: "0", whole: "0", want: "no whole"}, {value: "60", before: "0", whole: "100", want: "50"},
		}},
		"values as they are": {Thresholds{Values: numbers(t, "10", "20")}, []value{{value: "5"}, {value: "25", want: "10, 20"}, {value: "15"}, {value: "20", want: "20"}}},
		"with a margin one is armed again beyond it": {Thresholds{Values: numbers(t, "10", "20"), Rearm: number(t, "3")}, []value{
			{value: "5"}, {value: "25", want: "10, 20"}, {value: "17"}, {value: "21"}, {value: "16.9"}, {value: "21", want: "20"},
		}},
	} {
		t.Run(name, func(t *testing.T) { folds(t, &Rule{Thresholds: &c.rule}, c.events) })
	}
	t.Run("doubles are taken as the decimals that they were written as", func(t *testing.T) {
		used, err := Float(8.1)
		if err != nil || used.percentOf(Int(9)).cmp(Int(90)) != 0 {
			t.Errorf("8.1 of 9 is %s, %v", used.percentOf(Int(9)), err)
		}
	})
	t.Run("an edited list fires nothing by itself", func(t *testing.T) {
		var s State
		at := func(text string, values ...string) string {
			var out Result
			s, out = (&Rule{Thresholds: &Thresholds{Values: numbers(t, values...), Rearm: number(t, "1")}}).Apply(s, Input{Value: number(t, text)})
			return inWords(out)
		}
		got := fmt.Sprint(at("5", "10"), "|", at("15", "10"), "|", at("16", "8", "12", "30"), "|", at("31", "8", "12", "30"))
		if want := "|10||30"; strings.ReplaceAll(got, " ", "") != want {
			t.Errorf("fired %s; want %s", got, want)
		}
	})
}

func TestCap_WindowBeginsWithTheFirstFiring(t *testing.T) {
	// Field case 33.
	rule := func() *Rule {
		return &Rule{Crossing: &Crossing{Down: number(t, "10 EUR")}, Cap: &Cap{N: 1, Window: 24 * time.Hour}}
	}
	folds(t, rule(), []value{
		{at: "2027-02-01T08:00:00Z", value: "9.80 EUR", before: "12.00 EUR", want: "down 10"},
		{at: "2027-02-01T08:10:00Z", value: "10.10 EUR"},
		{at: "2027-02-01T08:20:00Z", value: "9.90 EUR", want: "capped down 10"},
		{at: "2027-02-01T09:00:00Z", value: "10.20 EUR"},
		{at: "2027-02-01T09:30:00Z", value: "9.70 EUR", want: "capped down 10"},
		{at: "2027-02-01T20:00:00Z", value: "10.30 EUR"},
		{at: "2027-02-02T07:59:59.999Z", value: "9.60 EUR", want: "capped down 10"},
		{at: "2027-02-02T07:59:59.999Z", value: "10.40 EUR"},
		{at: "2027-02-02T08:00:00Z", value: "9.50 EUR", want: "down 10"},
		{at: "2027-02-02T09:00:00Z", value: "11.00 EUR"},
		{at: "2027-02-03T07:59:00Z", value: "9.00 EUR", want: "capped down 10"},
	})
	folds(t, rule(), []value{{at: "2027-02-01T08:25:00Z", value: "9.50 EUR", before: "15.00 EUR", want: "down 10"}}) // another key
	t.Run("what was held back names the window", func(t *testing.T) {
		r := &Rule{Cap: &Cap{N: 2, Window: time.Hour}}
		now := instant(t, "2027-02-01T08:00:00Z")
		var s State
		var out Result
		for i := range 3 {
			s, out = r.Apply(s, Input{Now: now.Add(time.Duration(i) * time.Minute)})
		}
		if len(out.Held) != 1 || !out.Held[0].First.Equal(now) || !out.Held[0].Until.Equal(now.Add(time.Hour)) || !out.Ends.Equal(now.Add(time.Hour)) {
			t.Errorf("held back %+v, ends %s", out.Held, out.Ends)
		}
	})
}

// Each threshold is passed once, however what is spent is split.
func TestThresholds_PassedOnceHoweverSplit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &Rule{Thresholds: &Thresholds{Values: numbers(t, "10", "20.5", "40", "99.999")}}
		spent := rapid.SliceOfN(rapid.IntRange(0, 30_000), 1, 40).Draw(rt, "spent")
		s, _ := r.Apply(State{}, Input{Value: Int(0)})
		fired := map[string]int{}
		sum := 0
		for _, n := range spent {
			var out Result
			sum += n
			v := number(t, fmt.Sprintf("%d.%03d", sum/1000, sum%1000))
			if s, out = r.Apply(again(t, r, s), Input{Value: v}); len(out.Firings) > 0 {
				for _, f := range out.Firings {
					fired[f.Name]++
				}
			}
		}
		for _, v := range r.Thresholds.Values {
			want := 0
			if number(t, fmt.Sprintf("%d.%03d", sum/1000, sum%1000)).cmp(v) >= 0 {
				want = 1
			}
			if fired[v.String()] != want {
				rt.Fatalf("%s fired %d times at %d; want %d", v, fired[v.String()], sum, want)
			}
		}
	})
}

func TestState_OfAnotherKindKeyOrFieldIsBegunAnew(t *testing.T) {
	rule := func(key, field string) *Rule {
		return &Rule{Crossing: &Crossing{Down: number(t, "10")}, Key: key, Field: field}
	}
	s, _ := rule("data.id", "data.amount").Apply(State{}, Input{Value: Int(12)})
	for name, c := range map[string]struct {
		rule *Rule
		want string
	}{
		"the same":       {rule("data.id", "data.amount"), "down 10"},
		"another value":  {&Rule{Crossing: &Crossing{Down: number(t, "11")}, Key: "data.id", Field: "data.amount"}, "down 11"},
		"another key":    {rule("data.other", "data.amount"), ""},
		"another field":  {rule("data.id", "data.total"), ""},
		"another kind":   {&Rule{Thresholds: &Thresholds{Values: numbers(t, "5")}, Key: "data.id", Field: "data.amount"}, ""},
		"parts shifted":  {rule("data.iddata", ".amount"), ""},
		"only a cap now": {&Rule{Cap: &Cap{N: 1, Window: time.Hour}, Key: "data.id", Field: "data.amount"}, ""},
	} {
		if _, out := c.rule.Apply(s, Input{Value: Int(9)}); inWords(out) != c.want {
			t.Errorf("%s: %q; want %q", name, inWords(out), c.want)
		}
	}
}

func TestNumber_RefusesWhatHasNoBound(t *testing.T) {
	for _, text := range []string{"", "x", "1/3", "0x10", "1e31", "1e-31", "1E999999999", strings.Repeat("9", 31), "0." + strings.Repeat("1", 31), "1p4", "NaN", "Inf", "1_000", "--1", "1e"} {
		if n, err := Parse(text); err == nil {
			t.Errorf("%q is read as %s", text, n)
		}
	}
	for text, want := range map[string]string{"8.10": "8.1", "-0.5": "-0.5", "1e3": "1000", "1.5e-3": "0.0015", "007": "7", "1E2": "100"} {
		if n, err := Parse(text); err != nil || n.String() != want {
			t.Errorf("%q is read as %s, %v; want %s", text, n, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	n, _ := Parse("66.6")
	for _, s := range []State{{}, {fired: 2, windowFrom: 9}, {kept: n, phase: depleted, disarmed: []Number{Int(-1)}}, {due: 7, set: Origin{Source: "s", ID: "i"}, held: []byte("x")}} {
		f.Add(s.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := Decode(s.Append(nil)); err != nil || string(again.Append(nil)) != string(s.Append(nil)) {
			t.Errorf("%x is read as %x, %v", b, s.Append(nil), err)
		}
	})
}

// A state has no more than its rule has room for, also right after the list was cut and where the event has no value.
func TestThresholds_OfACutListTakeNoMoreThanItsRoom(t *testing.T) {
	var values []Number
	for i := range MaxThresholds {
		values = append(values, Int(int64(1_000_000_000_000_000_000+i)))
	}
	long := &Rule{Thresholds: &Thresholds{Values: values, Rearm: Int(1)}}
	s, _ := long.Apply(State{}, Input{Value: Int(0)})
	s, out := long.Apply(s, Input{Value: Int(2_000_000_000_000_000_000)})
	if len(out.Firings) != MaxThresholds {
		t.Fatalf("%d firings", len(out.Firings))
	}
	cut := &Rule{Thresholds: &Thresholds{Values: values[:1], Rearm: Int(1)}}
	s, _ = cut.Apply(s, Input{})
	if len(s.disarmed) != 1 {
		t.Errorf("%d values are remembered", len(s.disarmed))
	}
	again(t, cut, s)
}

// A rule that is not in force follows, and nothing comes of it.
func TestSilent_FollowsAndFiresNothing(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	down := &Rule{Crossing: &Crossing{Down: Int(10)}, Cap: &Cap{N: 1, Window: time.Hour}}
	silent := *down
	silent.Silent = true
	s, _ := down.Apply(State{}, Input{Now: at, Value: Int(20)})
	s, out := silent.Apply(s, Input{Now: at, Value: Int(5)})
	if inWords(out) != "" || s.fired != 0 {
		t.Errorf("%q, %d counted", inWords(out), s.fired)
	}
	s, _ = down.Apply(s, Input{Now: at, Value: Int(15)})
	if _, out = down.Apply(s, Input{Now: at, Value: Int(5)}); inWords(out) != "down 10" {
		t.Errorf("in force again it fires %q", inWords(out))
	}
	delayed := &Rule{Delayed: &Delayed{Days: 1, At: -1, Zone: time.UTC}}
	follows := *delayed
	follows.Silent = true
	in := Input{Now: at, Day: DayOf(at, time.UTC), Origin: Origin{ID: "e"}}
	s, _ = delayed.Apply(State{}, in)
	if s, out = follows.Apply(s, in); s.due != 0 || inWords(out) != "" || out.Ends.IsZero() {
		t.Errorf("pending %t, %q, ends %s", s.due != 0, inWords(out), out.Ends)
	}
}
