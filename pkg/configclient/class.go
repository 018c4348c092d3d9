package configclient

import (
	"time"

	"github.com/tollgate/tollgate/pkg/spend"
)

// Class is a class of service.
type Class struct {
	Name, Tenant, ID string
	DisplayName      string
	// Data, Overspend and Payment are nil where the class does not offer the option.
	Data, Overspend, Payment *Offer
}

// Offer is one safeguard as a class offers it.
type Offer struct {
	Option   spend.Option
	Currency string
	// Limit is the cut-off limit of a subscriber that has set none.
	Limit spend.Amount
	// HasLimit is false for an overspend safeguard without a default limit, whose Limit is 0: a subscriber must set a
	// limit to activate it.
	HasLimit bool
	// PerPayment is the largest amount of one payment; spend.Max where there is no cap.
	PerPayment spend.Amount
	Basis      Basis
	Rating     Rating
	// Thresholds has at least one; 80 % by default.
	Thresholds []spend.Threshold
	// Scope is CEL over the usage event, never empty.
	Scope      string
	Zone       *time.Location
	RenewalDay spend.RenewalDay
	// States are the states a subscriber may choose, in the order of StatesOf. Active is always among them.
	States []spend.State
	// DefaultState is that of a new subscriber, one of States.
	DefaultState spend.State
	// BlockInactive: while an overspend safeguard is inactive, usage is blocked instead of unprotected.
	BlockInactive bool
	// UnknownAllows is the decision while the counter can't be read: true allows.
	UnknownAllows bool
	// SecondNotice is the spend at which subscribers who continue are notified, in every state; 0 where no such notice
	// is sent.
	SecondNotice spend.Amount
}

// Offer returns the class's offer of an option, or nil.
func (c *Class) Offer(o spend.Option) *Offer {
	switch o {
	case spend.Data:
		return c.Data
	case spend.Overspend:
		return c.Overspend
	case spend.Payment:
		return c.Payment
	}
	return nil
}

// What counts for an option where the class sets nothing.
const (
	DefaultDataScope      = "usage.category == DATA && usage.roaming"
	DefaultOverspendScope = "usage.out_of_bundle"
	DefaultPaymentScope   = "usage.third_party"
)

// StatesOf returns all states of an option, in display order. The caller owns the slice.
func StatesOf(o spend.Option) []spend.State {
	return append([]spend.State{spend.Active}, spend.Active.Eligible(o)...)
}

// DefaultStateOf is the state of a new subscriber where the class sets none.
func DefaultStateOf(o spend.Option) spend.State {
	if o == spend.Overspend {
		return spend.Inactive
	}
	return spend.Active
}

// Basis is the amount of a charge that an option counts.
type Basis uint8

const (
	// Net counts without VAT.
	Net Basis = iota
	// Gross counts with VAT.
	Gross
)

// Rating is the price that an option counts.
type Rating uint8

const (
	// Retail is what the subscriber pays.
	Retail Rating = iota
	// Wholesale is what the operator pays.
	Wholesale
)
