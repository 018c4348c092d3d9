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
	// Limit is the cut-off of a subscriber that has set none.
	Limit spend.Amount
	// HasLimit is false of an overspend safeguard without a default limit, whose Limit is 0: a subscriber must set one
	// to activate it.
	HasLimit bool
	// PerPayment is the most that one payment may be; spend.Max where nothing caps it.
	PerPayment spend.Amount
	Basis      Basis
	Rating     Rating
	// Thresholds has at least one; 80 % by default.
	Thresholds []spend.Threshold
	// Scope is CEL over the usage event, never empty.
	Scope      string
	Zone       *time.Location
	RenewalDay spend.RenewalDay
	// States may be chosen, in the order of StatesOf. Active is always among them.
	States []spend.State
	// DefaultState is that of a new subscriber, one of States.
	DefaultState spend.State
	// BlockInactive is the class's word on an overspend safeguard that is inactive: no access, not no protection.
	BlockInactive bool
	// UnknownAllows is the answer while the counter can't be read: true lets it through.
	UnknownAllows bool
	// SecondNotice is the spend at which those who go on are told, in every state; 0 where nobody is.
	SecondNotice spend.Amount
}

// Offer is the class's one of an option, or nil.
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

// What counts for an option where the class says nothing.
const (
	DefaultDataScope      = "usage.category == DATA && usage.roaming"
	DefaultOverspendScope = "usage.out_of_bundle"
	DefaultPaymentScope   = "usage.third_party"
)

// StatesOf are all states that an option has, in the order they are shown. The slice is the caller's own.
func StatesOf(o spend.Option) []spend.State {
	return append([]spend.State{spend.Active}, spend.Active.Eligible(o)...)
}

// DefaultStateOf is the state of a new subscriber where the class says nothing.
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
