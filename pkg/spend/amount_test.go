package spend

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestAmountOf_RefusesWhatIsNoAmount(t *testing.T) {
	tests := map[string]struct {
		units int64
		nanos int32
		want  Amount
		err   error
	}{
		"fifty units":                            {50, 0, 50 * Unit, nil},
		"nothing":                                {0, 0, 0, nil},
		"one billionth":                          {0, 1, 1, nil},
		"a negative half has no units to sign":   {0, -500_000_000, -Unit / 2, nil},
		"both negative":                          {-1, -750_000_000, -1_750_000_000, nil},
		"the highest nanos":                      {1, 999_999_999, 2*Unit - 1, nil},
		"the lowest nanos":                       {-1, -999_999_999, -2*Unit + 1, nil},
		"nanos that are a whole unit":            {0, 1_000_000_000, 0, ErrNotMoney},
		"nanos that are a whole negative unit":   {0, -1_000_000_000, 0, ErrNotMoney},
		"signs that disagree, units above 0":     {1, -1, 0, ErrNotMoney},
		"signs that disagree, units below 0":     {-1, 1, 0, ErrNotMoney},
		"exactly the highest amount":             {9_223_372_036, 854_775_807, Max, nil},
		"one billionth past the highest":         {9_223_372_036, 854_775_808, 0, ErrOverflow},
		"exactly the lowest amount":              {-9_223_372_036, -854_775_808, math.MinInt64, nil},
		"one billionth past the lowest":          {-9_223_372_036, -854_775_809, 0, ErrOverflow},
		"units past the highest by one":          {9_223_372_037, 0, 0, ErrOverflow},
		"units whose product would wrap to zero": {1 << 60, 0, 0, ErrOverflow},
		"the highest units an int64 holds":       {math.MaxInt64, 0, 0, ErrOverflow},
		"the lowest units an int64 holds":        {math.MinInt64, 0, 0, ErrOverflow},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := AmountOf(tc.units, tc.nanos)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %d, %v; want %d, %v", got, err, tc.want, tc.err)
			}
			if err != nil {
				return
			}
			if units, nanos := got.Units(); units != tc.units || nanos != tc.nanos {
				t.Errorf("read back %d units %d nanos", units, nanos)
			}
		})
	}
}

func TestAmountString_HasNoTrailingZeros(t *testing.T) {
	for want, a := range map[string]Amount{
		"0": 0, "50": 50 * Unit, "-0.5": -Unit / 2, "0.000000001": 1, "1.000000001": Unit + 1, "100.2": 100*Unit + 200_000_000,
		"9223372036.854775807": Max, "-9223372036.854775808": math.MinInt64,
	} {
		if got := a.String(); got != want {
			t.Errorf("%d: %q, want %q", int64(a), got, want)
		}
	}
}

// amounts are drawn often at the edges, where wrapping would happen.
func amounts() *rapid.Generator[Amount] {
	return rapid.Custom(func(t *rapid.T) Amount {
		return Amount(rapid.OneOf(
			rapid.Int64(),
			rapid.Int64Range(-10, 10),
			rapid.Int64Range(math.MaxInt64-10, math.MaxInt64),
			rapid.Int64Range(math.MinInt64, math.MinInt64+10),
		).Draw(t, "amount"))
	})
}

func TestAmount_SumsAreExactOrAnError(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := amounts().Draw(t, "a"), amounts().Draw(t, "b")
		x, y := big.NewInt(int64(a)), big.NewInt(int64(b))
		for _, op := range []struct {
			name string
			got  func() (Amount, error)
			want *big.Int
		}{
			{"+", func() (Amount, error) { return a.Add(b) }, new(big.Int).Add(x, y)},
			{"-", func() (Amount, error) { return a.Sub(b) }, new(big.Int).Sub(x, y)},
		} {
			got, err := op.got()
			if !op.want.IsInt64() {
				if !errors.Is(err, ErrOverflow) {
					t.Fatalf("%d %s %d = %d, %v; want an overflow", a, op.name, b, got, err)
				}
			} else if err != nil || int64(got) != op.want.Int64() {
				t.Fatalf("%d %s %d = %d, %v; want %s", a, op.name, b, got, err, op.want)
			}
		}
		units, nanos := a.Units()
		if back, err := AmountOf(units, nanos); err != nil || back != a {
			t.Fatalf("%d read back as %d, %v", a, back, err)
		}
	})
}

func TestMoney_CurrenciesDoNotMix(t *testing.T) {
	euro, err := MoneyOf("EUR", 50, 0)
	if err != nil {
		t.Fatal(err)
	}
	pound, err := MoneyOf("GBP", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := euro.Add(pound); !errors.Is(err, ErrCurrency) {
		t.Errorf("euros plus pounds: %v", err)
	}
	if _, err := euro.Sub(pound); !errors.Is(err, ErrCurrency) {
		t.Errorf("euros less pounds: %v", err)
	}
	if sum, err := euro.Add(euro); err != nil || sum.String() != "100 EUR" {
		t.Errorf("%s, %v", sum, err)
	}
	if rest, err := euro.Sub(euro); err != nil || rest.String() != "0 EUR" {
		t.Errorf("%s, %v", rest, err)
	}
	for _, code := range []string{"", "EU", "eur", "EURO", "EÜ", "E R", "123"} {
		if _, err := MoneyOf(code, 1, 0); !errors.Is(err, ErrCurrency) {
			t.Errorf("currency %q: %v", code, err)
		}
	}
	if _, err := MoneyOf("EUR", 1, -1); !errors.Is(err, ErrNotMoney) {
		t.Errorf("signs that disagree: %v", err)
	}
}
