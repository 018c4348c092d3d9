// Package ledger is a model of the data safeguard for tests and proofs: what one subscriber's events come to, worked out by
// plain integers. It shares no code with what counts, so that both are not wrong in the same way.
package ledger

import "math"

// Unit is one unit of a currency, in billionths.
const Unit = 1_000_000_000

// Rule is a limit and where the subscriber is told on the way there, both in billionths.
type Rule struct{ Limit, Alert int64 }

// Account is what one subscriber has spent in a period, and was told.
type Account struct {
	Spent   int64
	Blocked bool
	Told    []Told

	rule Rule
	peak int64
}

// Told is one outcome.
type Told struct {
	// Kind is the type of its event behind "safeguard.".
	Kind string
	// Cause is the id of the event behind it.
	Cause   string
	Spent   int64
	Blocked bool
	// Overshoot is how far the limit was passed, on an overshoot alone.
	Overshoot int64
}

// Open is the account of a subscriber from the activation on.
func (r Rule) Open(activation string) *Account {
	return &Account{rule: r, Told: []Told{{Kind: "activated", Cause: activation}}}
}

func (a *Account) tell(kind, cause string) *Told {
	a.Told = append(a.Told, Told{Kind: kind, Cause: cause, Spent: a.Spent, Blocked: a.Blocked})
	return &a.Told[len(a.Told)-1]
}

// Fits says whether an amount can be counted at all.
func (a *Account) Fits(amount int64) bool { return amount <= math.MaxInt64-a.Spent }

// Charge counts usage.
func (a *Account) Charge(cause string, amount int64) {
	before, was := a.Spent, a.Blocked
	a.Spent += amount
	a.Blocked = a.Spent >= a.rule.Limit
	if a.peak < a.rule.Alert && a.Spent >= a.rule.Alert {
		a.tell("alert", cause)
	}
	a.peak = max(a.peak, a.Spent)
	if a.Blocked && !was {
		a.tell("reached", cause)
	}
	if before < a.rule.Limit && a.Spent > a.rule.Limit {
		a.tell("overshoot", cause).Overshoot = a.Spent - a.rule.Limit
	}
}

// Refund gives back what was counted before, once.
func (a *Account) Refund(cause string, amount int64) {
	was := a.Blocked
	a.Spent -= amount
	a.Blocked = a.Spent >= a.rule.Limit
	if was && !a.Blocked {
		a.tell("released", cause)
	}
}
