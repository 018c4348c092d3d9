package format_test

import (
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/tollgate/format"
)

func TestParseMoney_RefusesWhatIsNoMoney(t *testing.T) {
	eur := func(units int64, nanos int32) *money.Money {
		return &money.Money{CurrencyCode: "EUR", Units: units, Nanos: nanos}
	}
	for _, tt := range []struct {
		name, text, fallback string
		want                 *money.Money
		fault                string
	}{
		{"an amount with its currency", "12.50 EUR", "", eur(12, 500_000_000), ""},
		{"the fallback is the currency where none is named", "12.50", "EUR", eur(12, 500_000_000), ""},
		{"a currency that is named outdoes the fallback", "3 EUR", "GBP", eur(3, 0), ""},
		{"billionths are kept", "0.000000001 EUR", "", eur(0, 1), ""},
		{"below 0", "-0.5 EUR", "", eur(0, -500_000_000), ""},
		{"the most there is", "9223372036.854775807 EUR", "", eur(9223372036, 854775807), ""},
		{"more than there is", "9223372036.854775808 EUR", "", nil, "must not be past"},
		{"far more than there is", "99999999999999999999 EUR", "", nil, "must not be past"},
		{"a tenth digit is not rounded away", "0.0000000001 EUR", "", nil, "at most 9 digits"},
		{"no currency at all", "12.50", "", nil, "must name its currency"},
		{"a comma is no point", "12,50 EUR", "", nil, `not "12,50"`},
		{"a currency in small letters", "1 eur", "", nil, "must be an amount and a currency"},
		{"an exponent", "1e3 EUR", "", nil, "must be a number"},
		{"a point with nothing behind it", "1. EUR", "", nil, "must be a number"},
		{"nothing", "", "EUR", nil, "must be a number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := format.ParseMoney(tt.text, tt.fallback)
			if (err != nil) != (tt.fault != "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
				t.Fatalf("%v, want %q", err, tt.fault)
			}
			if err == nil && !proto.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestMoney_IsReadAsItIsWritten(t *testing.T) {
	for _, text := range []string{"0 EUR", "12.5 EUR", "-0.000000001 GBP", "9223372036.854775807 EUR"} {
		m, err := format.ParseMoney(text, "")
		if err != nil || format.Money(m) != text {
			t.Errorf("%q became %q: %v", text, format.Money(m), err)
		}
	}
}

func TestWords_OfStatesAndOptions(t *testing.T) {
	for _, o := range format.Options {
		if back, ok := format.ParseOption(format.Option(o)); !ok || back != o {
			t.Errorf("%v became %v", o, back)
		}
		for _, s := range format.StatesOf(o) {
			if back, err := format.ParseState(o, format.State(s)); err != nil || back != s {
				t.Errorf("%v became %v: %v", s, back, err)
			}
		}
	}
	_, err := format.ParseState(eventv1.Safeguard_OPTION_DATA, "inactive")
	if err == nil || err.Error() != `must be active or temporarily-inactive or permanently-inactive, not "inactive"` {
		t.Error(err)
	}
}
