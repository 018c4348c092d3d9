package kind

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Number is an exact decimal, or a quotient of two, with the currency of an amount. The zero value is absent.
type Number struct {
	rat      *big.Rat
	currency string
}

// Bounds of a number, so that a state has one: digits before the point and behind it.
const (
	maxWhole    = 30
	maxFraction = 30
	maxCurrency = 8 // bytes
)

// Present reports whether there is a number.
func (n Number) Present() bool { return n.rat != nil }

// Parse reads a decimal as written, such as "8.1", "-3" or "1e3".
func Parse(text string) (Number, error) {
	text = strings.ToLower(text)
	whole, fraction, _ := strings.Cut(strings.TrimLeft(text, "+-"), ".")
	mantissa, exponent, scientific := strings.Cut(fraction, "e")
	if !scientific {
		whole, exponent, _ = strings.Cut(whole, "e")
	}
	e := 0
	if exponent != "" {
		var err error
		if e, err = strconv.Atoi(exponent); err != nil || e > 400 || e < -400 {
			return Number{}, fmt.Errorf("%.40q is no decimal", text)
		}
	}
	if len(whole) > 400 || len(mantissa) > 400 || strings.Trim(text, "+-.0123456789e") != "" {
		return Number{}, fmt.Errorf("%.40q is no decimal", text)
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return Number{}, fmt.Errorf("%.40q is no decimal", text)
	}
	if len(strings.TrimLeft(whole, "0"))+e > maxWhole || len(mantissa)-e > maxFraction {
		return Number{}, fmt.Errorf("%.40q has more than %d digits before its point or %d behind it", text, maxWhole, maxFraction)
	}
	return Number{rat: r}, nil
}

// Float is the number that a double was written as: the shortest decimal that reads as it.
func Float(v float64) (Number, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Number{}, fmt.Errorf("%v is no decimal", v)
	}
	return Parse(strconv.FormatFloat(v, 'e', -1, 64))
}

// Int is a whole number.
func Int(v int64) Number { return Number{rat: new(big.Rat).SetInt64(v)} }

// Amount is of units and billionths of a currency.
func Amount(currency string, units int64, nanos int32) (Number, error) {
	if len(currency) > maxCurrency {
		return Number{}, fmt.Errorf("%.40q is no currency", currency)
	}
	r := new(big.Rat).SetFrac(big.NewInt(int64(nanos)), big.NewInt(1_000_000_000))
	return Number{rat: r.Add(r, new(big.Rat).SetInt64(units)), currency: currency}, nil
}

// comparable reports whether two numbers are of one currency, or one of them of none.
func (n Number) comparable(o Number) bool {
	return n.currency == o.currency || n.currency == "" || o.currency == ""
}

// Less reports whether a number that is present is below another.
func (n Number) Less(o Number) bool { return n.cmp(o) < 0 }

func (n Number) cmp(o Number) int { return n.rat.Cmp(o.rat) }

func (n Number) plus(o Number) Number {
	if !o.Present() {
		return n
	}
	return Number{rat: new(big.Rat).Add(n.rat, o.rat), currency: n.currency}
}

func (n Number) minus(o Number) Number {
	if !o.Present() {
		return n
	}
	return Number{rat: new(big.Rat).Sub(n.rat, o.rat), currency: n.currency}
}

func (n Number) sign() int { return n.rat.Sign() }

// percentOf is n in percent of another, which is not 0.
func (n Number) percentOf(whole Number) Number {
	r := new(big.Rat).Quo(n.rat, whole.rat)
	return Number{rat: r.Mul(r, big.NewRat(100, 1))}
}

// String is the number as a decimal where it is one, else as a quotient.
func (n Number) String() string {
	if n.rat == nil {
		return ""
	}
	digits, exact := n.rat.FloatPrec()
	if !exact {
		return n.rat.RatString()
	}
	return n.rat.FloatString(digits)
}
