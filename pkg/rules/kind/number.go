package kind

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// Number is an exact decimal, or a quotient of two, with the currency of an amount. The zero value is absent.
type Number struct {
	// Nearly all are small: num/den in lowest terms, den above 0. Where den is 0 it is rat, or absent.
	num, den int64
	rat      *big.Rat
	currency string
}

// quotient is num/den, den above 0.
func quotient(num, den int64, currency string) Number {
	if d := gcd(magnitude(num), uint64(den)); d > 1 {
		num, den = num/int64(d), den/int64(d)
	}
	return Number{num: num, den: den, currency: currency}
}

// exact is a number of any size.
func exact(r *big.Rat, currency string) Number {
	if r.Num().IsInt64() && r.Denom().IsInt64() {
		return Number{num: r.Num().Int64(), den: r.Denom().Int64(), currency: currency}
	}
	return Number{rat: r, currency: currency}
}

// big is a number that is present.
func (n Number) big() *big.Rat {
	if n.den == 0 {
		return n.rat
	}
	return new(big.Rat).SetFrac64(n.num, n.den)
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// gcd of two, of which b is not 0; it is at most b.
func gcd(a, b uint64) uint64 {
	for a != 0 {
		a, b = b%a, a
	}
	return b
}

// Bounds of a number, so that a state has one: digits before the point and behind it.
const (
	maxWhole    = 30
	maxFraction = 30
	maxCurrency = 8 // bytes
)

// Present reports whether there is a number.
func (n Number) Present() bool { return n.den != 0 || n.rat != nil }

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
	return exact(r, ""), nil
}

// Float is the number that a double was written as: the shortest decimal that reads as it.
func Float(v float64) (Number, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Number{}, fmt.Errorf("%v is no decimal", v)
	}
	if whole := int64(v); math.Abs(v) < 1<<53 && float64(whole) == v {
		return Int(whole), nil
	}
	return Parse(strconv.FormatFloat(v, 'e', -1, 64))
}

// Int is a whole number.
func Int(v int64) Number { return Number{num: v, den: 1} }

// Amount is of units and billionths of a currency.
func Amount(currency string, units int64, nanos int32) (Number, error) {
	if len(currency) > maxCurrency {
		return Number{}, fmt.Errorf("%.40q is no currency", currency)
	}
	const billion = 1_000_000_000
	if nanos == 0 {
		return Number{num: units, den: 1, currency: currency}, nil
	}
	if magnitude(units) < math.MaxInt64/billion-2 { // nanos may be as many as an int32 holds
		return quotient(units*billion+int64(nanos), billion, currency), nil
	}
	r := new(big.Rat).SetFrac64(int64(nanos), billion)
	return exact(r.Add(r, new(big.Rat).SetInt64(units)), currency), nil
}

// comparable reports whether two numbers are of one currency, or one of them of none.
func (n Number) comparable(o Number) bool {
	return n.currency == o.currency || n.currency == "" || o.currency == ""
}

// Less reports whether a number that is present is below another.
func (n Number) Less(o Number) bool { return n.cmp(o) < 0 }

func (n Number) cmp(o Number) int {
	switch {
	case n.den == 0 || o.den == 0:
		return n.big().Cmp(o.big())
	case n.den == o.den || n.num < 0 != (o.num < 0):
		return cmp.Compare(n.num, o.num)
	}
	high, low := bits.Mul64(magnitude(n.num), uint64(o.den))
	otherHigh, otherLow := bits.Mul64(magnitude(o.num), uint64(n.den))
	c := cmp.Or(cmp.Compare(high, otherHigh), cmp.Compare(low, otherLow))
	if n.num < 0 {
		return -c
	}
	return c
}

func (n Number) plus(o Number) Number {
	if !o.Present() {
		return n
	}
	return exact(new(big.Rat).Add(n.big(), o.big()), n.currency)
}

func (n Number) minus(o Number) Number {
	if !o.Present() {
		return n
	}
	return exact(new(big.Rat).Sub(n.big(), o.big()), n.currency)
}

func (n Number) sign() int {
	if n.den == 0 {
		return n.rat.Sign()
	}
	return cmp.Compare(n.num, 0)
}

// percentOf is n in percent of another, which is not 0.
func (n Number) percentOf(whole Number) Number {
	if n.den == 1 && whole.den == 1 && whole.num > 0 && magnitude(n.num) < math.MaxInt64/100 {
		return quotient(n.num*100, whole.num, "")
	}
	r := new(big.Rat).Quo(n.big(), whole.big())
	return exact(r.Mul(r, big.NewRat(100, 1)), "")
}

// String is the number as a decimal where it is one, else as a quotient.
func (n Number) String() string {
	switch {
	case !n.Present():
		return ""
	case n.den == 1:
		return strconv.FormatInt(n.num, 10)
	}
	r := n.big()
	digits, decimal := r.FloatPrec()
	if !decimal {
		return r.RatString()
	}
	return r.FloatString(digits)
}
