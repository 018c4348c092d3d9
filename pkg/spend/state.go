package spend

import (
	"fmt"
	"slices"
)

// Option is one of the three safeguards. Outcomes of one event are published in this order.
type Option uint8

const (
	// Data counts roaming data.
	Data Option = iota
	// Overspend counts what lies outside of the bundle.
	Overspend
	// Payment counts payments to others through the phone bill.
	Payment

	// Options is how many there are.
	Options = 3
)

var optionNames = [Options]string{Data: "data", Overspend: "overspend", Payment: "payment"}

// String is the option in lower case.
func (o Option) String() string {
	if int(o) < len(optionNames) {
		return optionNames[o]
	}
	return fmt.Sprintf("option %d", uint8(o))
}

// State is the state of an option.
type State uint8

const (
	// Unset is no state: the option is not offered, or the record is older than the option.
	Unset State = iota
	// Active counts against the limit and blocks at it.
	Active
	// Inactive is the other state of overspend and payment.
	Inactive
	// TemporarilyInactive is data's opt-out until the next period.
	TemporarilyInactive
	// PermanentlyInactive is data's opt-out until the subscriber activates it again.
	PermanentlyInactive
)

var stateNames = [...]string{
	Unset: "unset", Active: "active", Inactive: "inactive",
	TemporarilyInactive: "temporarily-inactive", PermanentlyInactive: "permanently-inactive",
}

// String is the state as the API writes it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Eligible gives the states that a command may change to from the present one, in the order they are shown. The slice is
// the caller's own.
func (s State) Eligible(o Option) []State {
	if o != Data {
		switch s {
		case Active:
			return []State{Inactive}
		case Inactive:
			return []State{Active}
		}
		return nil
	}
	switch s {
	case Active:
		return []State{TemporarilyInactive, PermanentlyInactive}
	case TemporarilyInactive:
		return []State{Active, PermanentlyInactive}
	case PermanentlyInactive:
		return []State{Active}
	}
	return nil
}

// CanBecome reports whether a command may change the state to next. The present state is always accepted and changes
// nothing.
func (s State) CanBecome(o Option, next State) bool {
	return s != Unset && (s == next || slices.Contains(s.Eligible(o), next))
}

// AtRenewal is the state in which the next period starts.
func (s State) AtRenewal() State {
	if s == TemporarilyInactive {
		return Active
	}
	return s
}
