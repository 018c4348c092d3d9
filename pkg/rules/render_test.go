package rules

import (
	"testing"

	"google.golang.org/genproto/googleapis/type/money"
)

func TestMoney_HasTheDigitsOfItsCurrency(t *testing.T) {
	for name, tc := range map[string]struct {
		currency string
		units    int64
		nanos    int32
		want     string
	}{
		"two digits":                  {"EUR", 50, 0, "50.00"},
		"a half":                      {"EUR", 0, 500_000_000, "0.50"},
		"more where it needs more":    {"EUR", 1, 1, "1.000000001"},
		"none for the yen":            {"JPY", 500, 0, "500"},
		"three for the dinar":         {"KWD", 1, 500_000_000, "1.500"},
		"below zero":                  {"EUR", -3, -250_000_000, "-3.25"},
		"below zero by less than one": {"EUR", 0, -250_000_000, "-0.25"},
		"a code that is not assigned": {"QQQ", 1, 0, "1.00"},
		"what is no money is empty":   {"EUR", 1, -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decimal(&money.Money{CurrencyCode: tc.currency, Units: tc.units, Nanos: tc.nanos}); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
