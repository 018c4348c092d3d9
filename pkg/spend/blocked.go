package spend

// Standing is all that decides whether an option blocks.
type Standing struct {
	// Offered says whether the subscriber's class of service has the option.
	Offered bool
	State   State
	// BlockInactive is the class's choice for an overspend safeguard that is not active: no access instead of no
	// protection. It has no meaning for the other options.
	BlockInactive bool
	Spent, Limit  Amount
}

// Blocked is the one bit that usage, inventory and authorisation share. Exactly at the limit is reached, so a limit of
// 0 blocks from the start.
func (s Standing) Blocked() bool {
	switch {
	case !s.Offered:
		return false
	case s.State == Active:
		return s.Spent >= s.Limit
	}
	return s.State == Inactive && s.BlockInactive
}

// Refusal says why a payment may not be made; the zero value is that it may.
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

// Admits judges a payment that is asked for before it is made: it must fit whole under the month's limit and under the
// cap of one payment (Max where there is none). An option that is not active is open. A payment that comes as usage
// has happened and is counted, never asked about.
func (s Standing) Admits(amount, perPayment Amount) Refusal {
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
