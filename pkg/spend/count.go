package spend

import "fmt"

// Count is what one option has counted in the running period. A new period starts from the zero value.
type Count struct {
	// Spent is the spend of the period, never below 0.
	Spent Amount
	// Peak is the highest spend that was compared with the thresholds. Refunds and changes of the limit do not change
	// it: a percent threshold that a new limit moves above the peak can fire again; one at or below the peak does not.
	Peak Amount
}

// Charge counts an amount (0 or above) whole and gives the thresholds it crosses, lowest first. On an error, which is
// ErrNegative or ErrOverflow, nothing is counted.
func (c Count) Charge(amount, limit Amount, thresholds []Threshold) (Count, []Crossing, error) {
	next, err := c.Record(amount)
	if err != nil {
		return c, nil, err
	}
	return next.RaisePeak(), Crossed(next.Peak, next.Spent, limit, thresholds), nil
}

// Record counts an amount (0 or above) and compares it with no threshold. It is for an option that is not active: its
// spend is kept, so that an activation in the same period continues from the true figure.
func (c Count) Record(amount Amount) (Count, error) {
	if amount < 0 {
		return c, fmt.Errorf("charge %s: %w", amount, ErrNegative)
	}
	spent, err := c.Spent.Add(amount)
	if err != nil {
		return c, fmt.Errorf("charge: %w", err)
	}
	c.Spent = spent
	return c, nil
}

// RaisePeak makes the spend the peak, after a charge and at activation: no threshold at or below it fires any more.
func (c Count) RaisePeak() Count {
	c.Peak = max(c.Peak, c.Spent)
	return c
}

// Refund lowers the spend by a correction, whose amount is 0 or below as its event carries it. The spend is
// never lower than 0; rest (0 or below) is the part of the correction that was left over. The peak does not change.
func (c Count) Refund(amount Amount) (next Count, rest Amount, err error) {
	if amount > 0 {
		return c, 0, fmt.Errorf("refund %s: %w", amount, ErrNegative)
	}
	left, err := c.Spent.Add(amount)
	if err != nil {
		return c, 0, fmt.Errorf("refund: %w", err)
	}
	next = c
	next.Spent = max(left, 0)
	return next, min(left, 0), nil
}

// Overshoot is how far the charge that led from before to after went past the limit, where this charge crossed it; else
// 0. A charge that ends exactly at the limit has no overshoot; a charge that starts at the limit did not cross it.
func Overshoot(before, after, limit Amount) Amount {
	if before < limit && limit < after {
		return after - limit
	}
	return 0
}
