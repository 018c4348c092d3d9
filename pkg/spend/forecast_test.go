package spend

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestForecast_AbsentWhereNothingIsToForecast(t *testing.T) {
	start := "2026-06-01T00:00:00Z"
	tests := map[string]struct {
		now          string
		spent, limit Amount
		want         string // empty: no forecast
	}{
		"half spent in ten days, the rest in ten more": {"2026-06-11T00:00:00Z", 25 * Unit, 50 * Unit, "2026-06-21T00:00:00Z"},
		"a third of the spend is left":                 {"2026-06-01T01:00:00Z", 3, 4, "2026-06-01T01:20:00Z"},
		"whole seconds, rounded down":                  {"2026-06-01T01:00:01Z", 7, 10, "2026-06-01T01:25:44Z"},
		"parts of a second of now do not count":        {"2026-06-11T00:00:00.999Z", 25 * Unit, 50 * Unit, "2026-06-21T00:00:00Z"},
		"nothing spent":                                {"2026-06-11T00:00:00Z", 0, 50 * Unit, ""},
		"a period younger than an hour":                {"2026-06-01T00:59:59.999999999Z", 25 * Unit, 50 * Unit, ""},
		"a period of exactly an hour":                  {"2026-06-01T01:00:00Z", 25 * Unit, 50 * Unit, "2026-06-01T02:00:00Z"},
		"exactly at the limit nothing is ahead":        {"2026-06-11T00:00:00Z", 50 * Unit, 50 * Unit, ""},
		"past the limit nothing is ahead":              {"2026-06-11T00:00:00Z", 60 * Unit, 50 * Unit, ""},
		"no limit":                                     {"2026-06-11T00:00:00Z", 1, 0, ""},
		"past the year 9999":                           {"2026-06-11T00:00:00Z", 1, Max, ""},
		"a product of more than 64 bits":               {"2026-06-11T00:00:00Z", Max / 2, Max - 1, "2026-06-21T00:00:00Z"},
		"a quotient one bit past 64":                   {"2026-06-11T00:00:00Z", 431_999, Max, ""},
		"now before the period":                        {"2026-05-31T00:00:00Z", 25 * Unit, 50 * Unit, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			at, ok := Forecast(mustTime(t, tc.now), mustTime(t, start), tc.spent, tc.limit)
			if ok != (tc.want != "") || ok && !at.Equal(mustTime(t, tc.want)) {
				t.Errorf("got %s, %v; want %q", at, ok, tc.want)
			}
		})
	}
}

func TestForecast_IsTheFormulaInWholeSeconds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "start"), 0)
		elapsed := rapid.Int64Range(3600, 70*24*3600).Draw(t, "elapsed")
		spent := rapid.Int64Range(1, int64(Max)-1).Draw(t, "spent")
		limit := rapid.Int64Range(spent+1, int64(Max)).Draw(t, "limit")
		now := start.Add(time.Duration(elapsed) * time.Second)
		left := new(big.Int).Mul(big.NewInt(limit-spent), big.NewInt(elapsed))
		left.Div(left, big.NewInt(spent))
		want := left.Add(left, big.NewInt(now.Unix()))
		at, ok := Forecast(now, start, Amount(spent), Amount(limit))
		if ok != (want.Cmp(big.NewInt(lastSecond)) <= 0) {
			t.Fatalf("a forecast is %v at %s", ok, want)
		}
		if ok && at.Unix() != want.Int64() {
			t.Fatalf("got %d, want %s", at.Unix(), want)
		}
	})
}
