// Package format reads and writes options, their states and amounts of money as people type them: the words of the API,
// not the names of its enumerations.
package format

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Options are all options in display order.
var Options = []eventv1.Safeguard_Option{
	eventv1.Safeguard_OPTION_DATA, eventv1.Safeguard_OPTION_OVERSPEND, eventv1.Safeguard_OPTION_PAYMENT,
}

// Option is "data", "overspend" or "payment"; empty for none.
func Option(o eventv1.Safeguard_Option) string {
	if o == eventv1.Safeguard_OPTION_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(o.String(), "OPTION_"))
}

// ParseOption parses what Option writes.
func ParseOption(word string) (eventv1.Safeguard_Option, bool) {
	for _, o := range Options {
		if Option(o) == word {
			return o, true
		}
	}
	return 0, false
}

// State is "active", "temporarily-inactive" and so on; empty for none.
func State(s eventv1.Safeguard_State) string {
	if s == eventv1.Safeguard_STATE_UNSPECIFIED {
		return ""
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.String(), "STATE_")), "_", "-")
}

// StatesOf returns the states of an option, in display order.
func StatesOf(o eventv1.Safeguard_Option) []eventv1.Safeguard_State {
	if o == eventv1.Safeguard_OPTION_DATA {
		return []eventv1.Safeguard_State{
			eventv1.Safeguard_STATE_ACTIVE, eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE, eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE,
		}
	}
	return []eventv1.Safeguard_State{eventv1.Safeguard_STATE_ACTIVE, eventv1.Safeguard_STATE_INACTIVE}
}

// ParseState parses a state of the option; the error lists the option's states.
func ParseState(o eventv1.Safeguard_Option, word string) (eventv1.Safeguard_State, error) {
	states := StatesOf(o)
	words := make([]string, len(states))
	for i, s := range states {
		if words[i] = State(s); words[i] == word {
			return s, nil
		}
	}
	return 0, fmt.Errorf("must be %s, not %q", strings.Join(words, " or "), word)
}

// Money is "12.5 EUR"; empty for none.
func Money(m *money.Money) string {
	if m == nil {
		return ""
	}
	a, err := spend.AmountOf(m.GetUnits(), m.GetNanos())
	if err != nil {
		return fmt.Sprintf("%d units and %d nanos %s", m.GetUnits(), m.GetNanos(), m.GetCurrencyCode())
	}
	return spend.Money{Amount: a, Currency: m.GetCurrencyCode()}.String()
}

// ParseMoney parses "12.50 EUR", and "12.50" where fallback is a currency.
func ParseMoney(text, fallback string) (*money.Money, error) {
	number, currency, named := strings.Cut(strings.TrimSpace(text), " ")
	switch currency = strings.TrimSpace(currency); {
	case !named && fallback == "":
		return nil, fmt.Errorf("must name its currency, such as 12.50 EUR, not only %q", text)
	case !named:
		currency = fallback
	}
	if !event.IsCurrency(currency) {
		return nil, fmt.Errorf("must be an amount and a currency of ISO 4217, such as 12.50 EUR, not %q in %q", number, currency)
	}
	a, err := amount(number)
	if err != nil {
		return nil, err
	}
	units, nanos := a.Units()
	return &money.Money{CurrencyCode: currency, Units: units, Nanos: nanos}, nil
}

// decimals is the largest number of digits after the point.
const decimals = 9

// amount parses a decimal number with a point. It never rounds: a further digit is an error.
func amount(text string) (spend.Amount, error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, rest, pointed := strings.Cut(digits, ".")
	if !allDigits(whole) || pointed && !allDigits(rest) {
		return 0, fmt.Errorf("must be a number such as 12.50, not %q", text)
	}
	if len(rest) > decimals {
		return 0, fmt.Errorf("must have at most %d digits after the point, not %d", decimals, len(rest))
	}
	units, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("must not be past %s", spend.Max)
	}
	nanos := int64(0)
	for i := range decimals {
		nanos *= 10
		if i < len(rest) {
			nanos += int64(rest[i] - '0')
		}
	}
	if negative {
		units, nanos = -units, -nanos
	}
	a, err := spend.AmountOf(units, int32(nanos))
	if err != nil {
		return 0, fmt.Errorf("must not be past %s", spend.Max)
	}
	return a, nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
