package spend

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
)

// Threshold is a spend at which an alert is published: a percent of the limit, or an amount. Exactly one of the two is
// above 0; Validate checks it.
type Threshold struct {
	// Percent of the limit, from 1 to 1000. Above 100 it is for spend that continues after the limit.
	Percent int64
	Amount  Amount
}

// Validate is nil when exactly one of percent and amount is given, within its range.
func (t Threshold) Validate() error {
	switch {
	case (t.Percent != 0) == (t.Amount != 0):
		return fmt.Errorf("threshold must be either a percent or an amount above 0")
	case t.Percent < 0 || t.Percent > 1000:
		return fmt.Errorf("threshold of %d %% must be from 1 to 1000 %%", t.Percent)
	case t.Amount < 0:
		return fmt.Errorf("threshold of %s must be above 0", t.Amount)
	}
	return nil
}

// At is the spend of the threshold under a limit: its amount, or ceil(limit × percent / 100), rounded up so that no
// alert comes before the percent is really reached. ErrOverflow when that is past Max.
func (t Threshold) At(limit Amount) (Amount, error) {
	if t.Percent == 0 {
		return t.Amount, nil
	}
	if limit < 0 || t.Percent < 0 {
		return 0, fmt.Errorf("%d %% of %s: %w", t.Percent, limit, ErrNegative)
	}
	high, low := bits.Mul64(uint64(limit), uint64(t.Percent))
	low, carry := bits.Add64(low, 99, 0)
	high += carry
	if high >= 100 {
		return 0, fmt.Errorf("%d %% of %s: %w", t.Percent, limit, ErrOverflow)
	}
	at, _ := bits.Div64(high, low, 100)
	if at > uint64(Max) {
		return 0, fmt.Errorf("%d %% of %s: %w", t.Percent, limit, ErrOverflow)
	}
	return Amount(at), nil
}

// String is "80%" or the amount as a decimal number.
func (t Threshold) String() string {
	if t.Percent != 0 {
		return strconv.FormatInt(t.Percent, 10) + "%"
	}
	return t.Amount.String()
}

// Fires reports whether the threshold at t fires when spent is reached and peak was the highest spend so far. While the
// peak does not change, a threshold fires once: after a refund the same spend does not fire it again.
func Fires(peak, spent, t Amount) bool { return peak < t && t <= spent }

// Crossing is a threshold that fired, and the spend it was at.
type Crossing struct {
	Threshold Threshold
	At        Amount
}

// Crossed gives the thresholds that fire, lowest first, each once whatever the order of the list; nil when none does.
// No spend reaches a threshold past Max. Where two are at the same spend, the percent comes first.
func Crossed(peak, spent, limit Amount, thresholds []Threshold) []Crossing {
	var crossed []Crossing
	for _, t := range thresholds {
		at, err := t.At(limit)
		if err == nil && Fires(peak, spent, at) {
			crossed = append(crossed, Crossing{Threshold: t, At: at})
		}
	}
	if len(crossed) > 1 {
		slices.SortFunc(crossed, func(a, b Crossing) int {
			return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(b.Threshold.Percent, a.Threshold.Percent))
		})
		crossed = slices.Compact(crossed)
	}
	return crossed
}
