package spend

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestThresholdAt_RoundsUpOrOverflows(t *testing.T) {
	tests := map[string]struct {
		threshold Threshold
		limit     Amount
		want      Amount
		err       error
	}{
		"eighty percent of fifty is forty":                {Threshold{Percent: 80}, 50 * Unit, 40 * Unit, nil},
		"an amount does not depend on a limit":            {Threshold{Amount: 100 * Unit}, 50 * Unit, 100 * Unit, nil},
		"a percent that is no whole billionth rounds up":  {Threshold{Percent: 80}, 7, 6, nil},
		"one percent of one billionth rounds up to it":    {Threshold{Percent: 1}, 1, 1, nil},
		"a percent that is whole is not rounded":          {Threshold{Percent: 50}, 200, 100, nil},
		"a hundred percent is the limit":                  {Threshold{Percent: 100}, 12345, 12345, nil},
		"a percent of no limit is 0":                      {Threshold{Percent: 80}, 0, 0, nil},
		"past a hundred percent":                          {Threshold{Percent: 150}, 3, 5, nil},
		"the whole of the highest limit needs 128 bits":   {Threshold{Percent: 100}, Max, Max, nil},
		"99 % of the highest limit needs 128 bits":        {Threshold{Percent: 99}, Max, 9131138316486228049, nil},
		"more than the highest amount is an overflow":     {Threshold{Percent: 101}, Max, 0, ErrOverflow},
		"ten times the highest amount is an overflow":     {Threshold{Percent: 1000}, Max, 0, ErrOverflow},
		"a percent of a negative limit makes no sense":    {Threshold{Percent: 80}, -1, 0, ErrNegative},
		"one billionth past the highest is an overflow":   {Threshold{Percent: 200}, 1 << 62, 0, ErrOverflow},
		"the last limit whose double is still an amount":  {Threshold{Percent: 200}, 1<<62 - 1, Max - 1, nil},
		"a percent so high that 128 bits are not a guard": {Threshold{Percent: math.MaxInt64}, Max, 0, ErrOverflow},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tc.threshold.At(tc.limit)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %d, %v; want %d, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestThresholdAt_IsTheCeiling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(0, math.MaxInt64).Draw(t, "limit")
		percent := rapid.Int64Range(1, 1000).Draw(t, "percent")
		got, err := Threshold{Percent: percent}.At(Amount(limit))
		want := new(big.Int).Mul(big.NewInt(limit), big.NewInt(percent))
		want.Add(want, big.NewInt(99)).Div(want, big.NewInt(100))
		if want.IsInt64() != (err == nil) || err == nil && int64(got) != want.Int64() {
			t.Fatalf("%d %% of %d = %d, %v; want %s", percent, limit, got, err, want)
		}
	})
}

func TestThresholdValidate_NeedsExactlyOneOfPercentAndAmount(t *testing.T) {
	tests := map[string]struct {
		threshold Threshold
		ok        bool
		text      string
	}{
		"a percent":               {Threshold{Percent: 80}, true, "80%"},
		"an amount":               {Threshold{Amount: 40*Unit + Unit/2}, true, "40.5"},
		"neither":                 {Threshold{}, false, "0"},
		"both":                    {Threshold{Percent: 80, Amount: 1}, false, "80%"},
		"a percent below 1":       {Threshold{Percent: -1}, false, "-1%"},
		"a percent past 1000":     {Threshold{Percent: 1001}, false, "1001%"},
		"an amount below 0":       {Threshold{Amount: -1}, false, "-0.000000001"},
		"the highest percent":     {Threshold{Percent: 1000}, true, "1000%"},
		"the smallest amount":     {Threshold{Amount: 1}, true, "0.000000001"},
		"a whole limit's percent": {Threshold{Percent: 100}, true, "100%"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tc.threshold.Validate(); (err == nil) != tc.ok {
				t.Errorf("got %v", err)
			}
			if got := tc.threshold.String(); got != tc.text {
				t.Errorf("written %q, want %q", got, tc.text)
			}
		})
	}
}

func TestCrossed_EachOnceLowestFirst(t *testing.T) {
	percents := func(ps ...int64) (ts []Threshold) {
		for _, p := range ps {
			ts = append(ts, Threshold{Percent: p})
		}
		return ts
	}
	tests := map[string]struct {
		peak, spent, limit Amount
		thresholds         []Threshold
		want               []string
	}{
		"one billionth below fires nothing":           {0, 40*Unit - 1, 50 * Unit, percents(80), nil},
		"exactly at the threshold fires it":           {0, 40 * Unit, 50 * Unit, percents(80), []string{"80%"}},
		"one billionth past the threshold fires it":   {0, 40*Unit + 1, 50 * Unit, percents(80), []string{"80%"}},
		"fired before does not fire again":            {40 * Unit, 45 * Unit, 50 * Unit, percents(80), nil},
		"after a refund the same spend fires nothing": {45 * Unit, 41 * Unit, 50 * Unit, percents(80), nil},
		"one charge over several fires each, lowest first": {
			0, 60 * Unit, 50 * Unit, percents(100, 50, 80), []string{"50%", "80%", "100%"},
		},
		"only those between peak and spend fire": {30 * Unit, 45 * Unit, 50 * Unit, percents(50, 80, 100), []string{"80%"}},
		"amounts and percents are ordered by the spend they are at": {
			0, 50 * Unit, 50 * Unit, []Threshold{{Percent: 80}, {Amount: 10 * Unit}, {Amount: 45 * Unit}}, []string{"10", "80%", "45"},
		},
		"at the same spend the percent comes first":         {0, 40 * Unit, 50 * Unit, []Threshold{{Amount: 40 * Unit}, {Percent: 80}}, []string{"80%", "40"}},
		"one listed twice fires once":                       {0, 40 * Unit, 50 * Unit, percents(80, 50, 80), []string{"50%", "80%"}},
		"a limit of 0 has no percent to fire":               {0, 10, 0, percents(1, 80, 100), nil},
		"a limit raised arms a percent above the peak":      {40 * Unit, 80 * Unit, 100 * Unit, percents(80), []string{"80%"}},
		"a limit lowered does not fire what it passed":      {30 * Unit, 31 * Unit, 20 * Unit, percents(80), nil},
		"a threshold that no spend can reach does not fire": {0, Max, Max, percents(100, 101), []string{"100%"}},
		"no thresholds, nothing fires":                      {0, Max, Max, nil, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(tc.thresholds)
			var got []string
			for _, c := range Crossed(tc.peak, tc.spent, tc.limit, tc.thresholds) {
				got = append(got, c.Threshold.String())
				if at, err := c.Threshold.At(tc.limit); err != nil || at != c.At {
					t.Errorf("%s is at %s, not at %s (%v)", c.Threshold, c.At, at, err)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, tc.thresholds); diff != "" {
				t.Errorf("the caller's list was changed: %s", diff)
			}
		})
	}
}

func TestCharge_ThatFiresNothingAllocatesNothing(t *testing.T) {
	thresholds := []Threshold{{Percent: 50}, {Percent: 80}, {Amount: 100 * Unit}}
	if n := testing.AllocsPerRun(100, func() {
		_, _, _ = Count{Spent: 45 * Unit, Peak: 45 * Unit}.Charge(Unit, 50*Unit, thresholds)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
