package spend

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCount_ChargesAndRefunds(t *testing.T) {
	eighty := []Threshold{{Percent: 80}}
	tests := map[string]struct {
		count   Count
		amount  Amount // below 0: a refund
		want    Count
		fired   int
		rest    Amount
		wantErr error
	}{
		"a first charge moves spend and peak":                  {Count{}, 10, Count{10, 10}, 0, 0, nil},
		"a charge of nothing changes nothing":                  {Count{10, 10}, 0, Count{10, 10}, 0, 0, nil},
		"a charge that reaches the threshold exactly fires it": {Count{79, 79}, 1, Count{80, 80}, 1, 0, nil},
		"a charge is counted whole past the limit":             {Count{79, 79}, 1000, Count{1079, 1079}, 1, 0, nil},
		"a charge below the peak leaves the peak":              {Count{50, 90}, 10, Count{60, 90}, 0, 0, nil},
		"a charge to exactly the highest amount":               {Count{Max - 1, Max - 1}, 1, Count{Max, Max}, 0, 0, nil},
		"a charge past the highest amount counts nothing":      {Count{Max, Max}, 1, Count{Max, Max}, 0, 0, ErrOverflow},
		"a refund lowers the spend and not the peak":           {Count{90, 90}, -20, Count{70, 90}, 0, 0, nil},
		"a refund of everything":                               {Count{90, 90}, -90, Count{0, 90}, 0, 0, nil},
		"a refund of more than was spent reports the rest":     {Count{90, 90}, -100, Count{0, 90}, 0, -10, nil},
		"the largest refund on nothing spent":                  {Count{0, 0}, math.MinInt64, Count{0, 0}, 0, math.MinInt64, nil},
		"the largest refund on everything spent":               {Count{Max, Max}, math.MinInt64, Count{0, Max}, 0, -1, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var (
				got   Count
				fired []Crossing
				rest  Amount
				err   error
			)
			if tc.amount < 0 {
				got, rest, err = tc.count.Refund(tc.amount)
			} else {
				got, fired, err = tc.count.Charge(tc.amount, 100, eighty)
			}
			if got != tc.want || len(fired) != tc.fired || rest != tc.rest || !errors.Is(err, tc.wantErr) {
				t.Errorf("got %+v, fired %v, rest %d, %v", got, fired, rest, err)
			}
		})
	}
	if _, _, err := (Count{}).Charge(-1, 100, nil); !errors.Is(err, ErrNegative) {
		t.Errorf("a charge below 0: %v", err)
	}
	if _, _, err := (Count{}).Refund(1); !errors.Is(err, ErrNegative) {
		t.Errorf("a refund above 0: %v", err)
	}
}

func TestRaisePeak_WhatWasSpentWhileInactiveFiresNothing(t *testing.T) {
	limit, eighty := 50*Unit, []Threshold{{Percent: 80}, {Percent: 100}}
	c, err := Count{}.Record(42 * Unit)
	if err != nil || c != (Count{Spent: 42 * Unit}) {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := c.Record(Max); !errors.Is(err, ErrOverflow) {
		t.Errorf("past the highest: %v", err)
	}
	c = c.RaisePeak()
	c, fired, err := c.Charge(Unit, limit, eighty)
	if err != nil || len(fired) != 0 {
		t.Errorf("after activation at 42 of 50, a charge fired %v, %v", fired, err)
	}
	_, fired, err = c.Charge(7*Unit, limit, eighty)
	if err != nil || len(fired) != 1 || fired[0].Threshold.Percent != 100 {
		t.Errorf("at the limit: %v, %v", fired, err)
	}
}

func TestOvershoot_IsOfTheChargeThatCrosses(t *testing.T) {
	tests := map[string]struct{ before, after, limit, want Amount }{
		"the charge that crosses":            {40, 60, 50, 10},
		"a charge that ends at the limit":    {40, 50, 50, 0},
		"a charge that ends below the limit": {40, 49, 50, 0},
		"a charge from exactly the limit":    {50, 60, 50, 0},
		"a charge from past the limit":       {55, 60, 50, 0},
		"a limit of 0 is reached already":    {0, 10, 0, 0},
		"from nothing to the highest amount": {0, Max, 1, Max - 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Overshoot(tc.before, tc.after, tc.limit); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// However a sum is split into charges, with refunds in between, each threshold at or below the highest spend fires
// exactly once, in ascending order, and the total is the same.
func TestCharge_EachThresholdFiresOnceHoweverASumIsSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := Amount(rapid.Int64Range(0, 1000).Draw(t, "limit"))
		thresholds := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Threshold {
			if rapid.Bool().Draw(t, "percent?") {
				return Threshold{Percent: rapid.Int64Range(1, 200).Draw(t, "percent")}
			}
			return Threshold{Amount: Amount(rapid.Int64Range(1, 2000).Draw(t, "amount"))}
		}), 0, 6).Draw(t, "thresholds")
		parts := rapid.SliceOf(rapid.Int64Range(-300, 300)).Draw(t, "parts")

		var (
			c       Count
			total   Amount
			highest Amount
			fired   []Crossing
		)
		for _, part := range parts {
			amount := Amount(part)
			if amount < 0 {
				next, rest, err := c.Refund(amount)
				if err != nil || next.Peak != c.Peak {
					t.Fatalf("refund %d of %+v: %+v, %v", amount, c, next, err)
				}
				c, total = next, total+amount-rest
				continue
			}
			next, crossed, err := c.Charge(amount, limit, thresholds)
			if err != nil {
				t.Fatal(err)
			}
			c, total = next, total+amount
			highest = max(highest, total)
			fired = append(fired, crossed...)
		}
		if c.Spent != total || c.Spent < 0 || c.Peak != highest {
			t.Fatalf("counted %+v, want %d with a peak of %d", c, total, highest)
		}
		_, whole, err := Count{}.Charge(highest, limit, thresholds)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole, fired); diff != "" {
			t.Fatalf("one charge of %d and %v do not fire the same: %s", highest, parts, diff)
		}
		for _, threshold := range thresholds {
			at, err := threshold.At(limit)
			if err != nil {
				t.Fatal(err)
			}
			times := 0
			for _, crossing := range fired {
				if crossing.Threshold == threshold {
					times++
				}
			}
			if want := at > 0 && at <= highest; times > 1 || (times == 1) != want {
				t.Fatalf("threshold %s at %d fired %d times up to %d", threshold, at, times, highest)
			}
		}
	})
}
