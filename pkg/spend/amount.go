package spend

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

var (
	// ErrOverflow means that an amount would lie outside of what Amount can hold. Nothing ever wraps.
	ErrOverflow = errors.New("amount is past 9,223,372,036.854775807 units")
	// ErrNotMoney means that units and nanos do not form an amount: nanos out of range, or signs that disagree.
	ErrNotMoney = errors.New("units and nanos do not form an amount")
	// ErrCurrency means that two currencies differ; there is no conversion.
	ErrCurrency = errors.New("currencies differ")
	// ErrNegative means that an amount is below 0 where only a charge is allowed, or above 0 where only a refund is.
	ErrNegative = errors.New("amount has the wrong sign")
)

// Amount is a sum of money as a whole count of billionths of its currency's unit: 50.00 EUR is 50,000,000,000.
type Amount int64

const (
	// Unit is one unit of a currency.
	Unit Amount = 1_000_000_000
	// Max is the highest amount there is; as a limit it means that nothing limits.
	Max Amount = math.MaxInt64
)

// AmountOf reads google.type.Money's two numbers: nanos lies within ±999,999,999 and agrees in sign with units.
// It fails with ErrNotMoney or ErrOverflow.
func AmountOf(units int64, nanos int32) (Amount, error) {
	if nanos <= -int32(Unit) || nanos >= int32(Unit) {
		return 0, fmt.Errorf("nanos %d is not within ±999,999,999: %w", nanos, ErrNotMoney)
	}
	if (units > 0 && nanos < 0) || (units < 0 && nanos > 0) {
		return 0, fmt.Errorf("units %d and nanos %d differ in sign: %w", units, nanos, ErrNotMoney)
	}
	if units > int64(Max/Unit) || units < math.MinInt64/int64(Unit) {
		return 0, fmt.Errorf("%d units: %w", units, ErrOverflow)
	}
	return (Amount(units) * Unit).Add(Amount(nanos))
}

// Units is the amount as google.type.Money's two numbers; AmountOf reads them back.
func (a Amount) Units() (units int64, nanos int32) {
	return int64(a / Unit), int32(a % Unit)
}

// Add is a + b, or ErrOverflow.
func (a Amount) Add(b Amount) (Amount, error) {
	sum := a + b
	if (a >= 0) == (b >= 0) && (sum >= 0) != (a >= 0) {
		return 0, fmt.Errorf("%s + %s: %w", a, b, ErrOverflow)
	}
	return sum, nil
}

// Sub is a − b, or ErrOverflow.
func (a Amount) Sub(b Amount) (Amount, error) {
	diff := a - b
	if (a >= 0) != (b >= 0) && (diff >= 0) != (a >= 0) {
		return 0, fmt.Errorf("%s - %s: %w", a, b, ErrOverflow)
	}
	return diff, nil
}

// String is the amount as a decimal number of units without trailing zeros: "50", "-0.5", "0.000000001". How many
// digits a person sees depends on the currency and is decided where text is rendered.
func (a Amount) String() string {
	magnitude := uint64(a)
	sign := ""
	if a < 0 {
		magnitude, sign = -magnitude, "-"
	}
	whole := sign + strconv.FormatUint(magnitude/uint64(Unit), 10)
	rest := magnitude % uint64(Unit)
	if rest == 0 {
		return whole
	}
	return whole + "." + strings.TrimRight(fmt.Sprintf("%09d", rest), "0")
}

// Money is an amount with its currency.
type Money struct {
	Amount Amount
	// Currency is the three-letter code of ISO 4217, in capitals.
	Currency string
}

// MoneyOf reads the three fields of google.type.Money. It fails with ErrNotMoney, ErrOverflow or ErrCurrency.
func MoneyOf(currency string, units int64, nanos int32) (Money, error) {
	if !IsCurrency(currency) {
		return Money{}, fmt.Errorf("currency %q is not three capital letters: %w", currency, ErrCurrency)
	}
	a, err := AmountOf(units, nanos)
	if err != nil {
		return Money{}, err
	}
	return Money{Amount: a, Currency: currency}, nil
}

// IsCurrency reports whether code has the form of an ISO 4217 code: three capital letters. It does not
// check that the code is assigned: a catalog names the currencies it accepts.
func IsCurrency(code string) bool {
	if len(code) != 3 {
		return false
	}
	for i := range len(code) {
		if code[i] < 'A' || code[i] > 'Z' {
			return false
		}
	}
	return true
}

// Add is m + n of one currency, else ErrCurrency; or ErrOverflow.
func (m Money) Add(n Money) (Money, error) {
	if m.Currency != n.Currency {
		return Money{}, fmt.Errorf("%s + %s: %w", m, n, ErrCurrency)
	}
	sum, err := m.Amount.Add(n.Amount)
	return Money{Amount: sum, Currency: m.Currency}, err
}

// Sub is m − n of one currency, else ErrCurrency; or ErrOverflow.
func (m Money) Sub(n Money) (Money, error) {
	if m.Currency != n.Currency {
		return Money{}, fmt.Errorf("%s - %s: %w", m, n, ErrCurrency)
	}
	diff, err := m.Amount.Sub(n.Amount)
	return Money{Amount: diff, Currency: m.Currency}, err
}

// String is the amount and the currency: "50 EUR".
func (m Money) String() string { return m.Amount.String() + " " + m.Currency }
