package spend

// Counter is the spend of an option against its limit, and all else that decides whether it blocks.
type Counter struct {
	// Offered is true where the subscriber's class of service has the option.
	Offered bool
	State   State
	// BlockInactive is the class's choice for an overspend safeguard that is not active: no access instead of no
	// protection. It has no meaning for the other options.
	BlockInactive bool
	Spent, Limit  Amount
}

// Blocked is the one bit that usage, inventory and authorisation share. A spend of exactly the limit blocks, so a limit
// of 0 blocks from the start.
func (s Counter) Blocked() bool {
	switch {
	case !s.Offered:
		return false
	case s.State == Active:
		return s.Spent >= s.Limit
	}
	return s.State == Inactive && s.BlockInactive
}

// Refusal is why a payment may not be made; the zero value means that it may.
type Refusal uint8

const (
	// Admitted means that the payment may be made.
	Admitted Refusal = iota
	// NotAPayment means that the amount is 0 or below.
	NotAPayment
	// OverMonth means that the month's limit is reached, or would be passed by this payment.
	OverMonth
	// OverPayment means that the amount is above what one payment may be.
	OverPayment
)

// Admits decides on a payment before it is made: the whole amount must fit under the month's limit and under the cap of
// one payment (Max where there is none). An option that is not active admits every payment. A payment that comes as usage
// has happened: it is counted, not decided on.
func (s Counter) Admits(amount, perPayment Amount) Refusal {
	switch {
	case amount <= 0:
		return NotAPayment
	case !s.Offered || s.State != Active:
		return Admitted
	case s.Blocked():
		return OverMonth
	case amount > perPayment:
		return OverPayment
	case amount > s.Limit-s.Spent: // cannot overflow: 0 ≤ spent < limit
		return OverMonth
	}
	return Admitted
}
