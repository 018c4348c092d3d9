package model

import (
	"math/big"

	"google.golang.org/genproto/googleapis/type/money"
)

// Unit is one unit of a currency, in billionths.
const Unit = 1_000_000_000

// Nanos is an amount in billionths; ok is false where it is none, or more than can be counted.
func Nanos(m *money.Money) (nanos int64, ok bool) {
	units, rest := m.GetUnits(), int64(m.GetNanos())
	if rest <= -Unit || rest >= Unit || units > 0 && rest < 0 || units < 0 && rest > 0 {
		return 0, false
	}
	sum := new(big.Int).Mul(big.NewInt(units), big.NewInt(Unit))
	sum.Add(sum, big.NewInt(rest))
	return sum.Int64(), sum.IsInt64()
}

// Money is the amount on the wire.
func Money(nanos int64, currency string) *money.Money {
	return &money.Money{CurrencyCode: currency, Units: nanos / Unit, Nanos: int32(nanos % Unit)}
}

// plus adds; ok is false where the sum can't be counted.
func plus(a, b int64) (sum int64, ok bool) {
	s := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
	return s.Int64(), s.IsInt64()
}

// share is the amount of a percentage of a limit, rounded up to a whole billionth. ok is false where it can't be counted: it
// is never reached.
func share(limit int64, percent int32) (amount int64, ok bool) {
	hundred := big.NewInt(100)
	p := new(big.Int).Mul(big.NewInt(limit), big.NewInt(int64(percent)))
	q, r := new(big.Int).QuoRem(p, hundred, new(big.Int))
	if r.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q.Int64(), q.IsInt64()
}
