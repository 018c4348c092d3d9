package rules

import (
	"strings"

	"golang.org/x/text/currency"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/spend"
)

// decimal is an amount with at least as many digits as its currency has, and never fewer than it needs: "50.00",
// "0.125", "500" of JPY.
func decimal(m *money.Money) string {
	amount, err := spend.AmountOf(m.GetUnits(), m.GetNanos())
	if err != nil {
		return "" // no valid event holds it
	}
	s := amount.String()
	digits := 2
	if unit, err := currency.ParseISO(m.GetCurrencyCode()); err == nil {
		digits, _ = currency.Standard.Rounding(unit)
	}
	_, fraction, _ := strings.Cut(s, ".")
	if missing := digits - len(fraction); missing > 0 {
		if fraction == "" {
			s += "."
		}
		s += strings.Repeat("0", missing)
	}
	return s
}

// word is an enum's value as people write it: STATE_TEMPORARILY_INACTIVE of State is "temporarily-inactive". Empty for
// the one that sets nothing.
func word(of protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	value := of.Values().ByNumber(n)
	if n == 0 || value == nil {
		return ""
	}
	var prefix strings.Builder
	for i, c := range string(of.Name()) {
		if i > 0 && c >= 'A' && c <= 'Z' {
			prefix.WriteByte('_')
		}
		prefix.WriteRune(c)
	}
	name := strings.TrimPrefix(string(value.Name()), strings.ToUpper(prefix.String())+"_")
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}
