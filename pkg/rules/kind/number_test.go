package kind

import (
	"bytes"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/wire"
)

// A number that is small is the same as one of any size: compared, reckoned with, written and read.
func TestNumber_SmallIsAsExact(t *testing.T) {
	edges := []int64{0, 1, -1, 2, 3, 7, 99, 100, -100, 1_000_000_000, math.MaxInt64, math.MinInt64, math.MaxInt64 / 100, math.MaxInt64/100 + 1, 1 << 53}
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.OneOf(rapid.SampledFrom(edges), rapid.Int64Range(-1000, 1000), rapid.Int64())
		draw := func(name string) (small, large Number) {
			num, den := whole.Draw(t, name+" num"), whole.Draw(t, name+" den")
			if den <= 0 {
				den = 1
			}
			r := new(big.Rat).SetFrac64(num, den)
			return exact(r, "EUR"), Number{rat: r, currency: "EUR"}
		}
		a, bigA := draw("a")
		b, bigB := draw("b")
		if a.den == 0 || b.den == 0 {
			t.Fatalf("%s and %s are not small", bigA.rat, bigB.rat)
		}
		if got, want := a.cmp(b), bigA.cmp(bigB); got != want || a.cmp(bigB) != want || bigA.cmp(b) != want {
			t.Fatalf("%s beside %s is %d, want %d", a, b, got, want)
		}
		same := func(what string, got, want Number) {
			t.Helper()
			if got.cmp(want) != 0 || got.String() != want.String() || got.sign() != want.sign() || got.currency != want.currency {
				t.Fatalf("%s of %s and %s is %s, want %s", what, a, b, got, want)
			}
			written := appendNumber(nil, got)
			if !bytes.Equal(written, appendNumber(nil, Number{rat: want.big(), currency: want.currency})) {
				t.Fatalf("%s is written as %x", got, written)
			}
			r := wire.Reader{Rest: written}
			if read := readNumber(&r); r.Bad || len(r.Rest) > 0 || read.cmp(got) != 0 || read.currency != got.currency {
				t.Fatalf("%s is read as %s", got, read)
			}
		}
		same("the first", a, bigA)
		same("the sum", a.plus(b), bigA.plus(bigB))
		same("the difference", a.minus(b), bigA.minus(bigB))
		if b.sign() != 0 {
			same("the percentage", a.percentOf(b), bigA.percentOf(bigB))
		}
		units, nanos := whole.Draw(t, "units"), rapid.Int32().Draw(t, "nanos")
		amount, err := Amount("EUR", units, nanos)
		if err != nil {
			t.Fatal(err)
		}
		want := new(big.Rat).SetFrac64(int64(nanos), 1_000_000_000)
		same("the amount", amount, Number{rat: want.Add(want, new(big.Rat).SetInt64(units)), currency: "EUR"})
	})
}

// A double is the shortest decimal that reads as it, also where it is a whole number.
func TestFloat_OfWholeNumbers(t *testing.T) {
	for _, v := range []float64{0, 1, -1, 100, 1<<53 - 1, 1 << 53, -(1 << 60), 1e15, 0.5, -2.25} {
		got, err := Float(v)
		if want, ok := new(big.Rat).SetString(big.NewFloat(v).Text('g', 17)); err != nil || !ok || got.big().Cmp(want) != 0 {
			t.Errorf("%v is %s, %v; want %s", v, got, err, want)
		}
	}
}
