package scenario

import "math"

// The safeguard of the scenario, in billionths: 50.00 EUR, told at 80 %.
const (
	unit       = 1_000_000_000
	limitUnits = 50
	limit      = limitUnits * unit
	percent    = 80
	alertAt    = limit / 100 * percent
)

// account is what one subscriber's events come to, by plain integers.
type account struct {
	spent, peak int64
	blocked     bool
	told        []told
}

// told is one outcome.
type told struct {
	Kind    string
	Cause   string // id of the event behind it
	Spent   int64
	Blocked bool
	// Overshoot is how far the limit was passed, on an overshoot alone.
	Overshoot int64
}

func newAccount(cause string) *account {
	return &account{told: []told{{Kind: "activated", Cause: cause}}}
}

func (a *account) tell(kind, cause string) *told {
	a.told = append(a.told, told{Kind: kind, Cause: cause, Spent: a.spent, Blocked: a.blocked})
	return &a.told[len(a.told)-1]
}

// fits says whether an amount can be counted at all.
func (a *account) fits(amount int64) bool { return amount <= math.MaxInt64-a.spent }

// charge counts one event that is in scope.
func (a *account) charge(cause string, amount int64) {
	before, was := a.spent, a.blocked
	a.spent += amount
	a.blocked = a.spent >= limit
	if a.peak < alertAt && a.spent >= alertAt {
		a.tell("alert", cause)
	}
	a.peak = max(a.peak, a.spent)
	if a.blocked && !was {
		a.tell("reached", cause)
	}
	if before < limit && a.spent > limit {
		a.tell("overshoot", cause).Overshoot = a.spent - limit
	}
}

// refund gives back what was counted before.
func (a *account) refund(cause string, amount int64) {
	was := a.blocked
	a.spent -= amount
	a.blocked = a.spent >= limit
	if was && !a.blocked {
		a.tell("released", cause)
	}
}
