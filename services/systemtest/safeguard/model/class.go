package model

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// The options, in the order in which an event counts against them.
const (
	Data      = eventv1.Safeguard_OPTION_DATA
	Overspend = eventv1.Safeguard_OPTION_OVERSPEND
	Payment   = eventv1.Safeguard_OPTION_PAYMENT
)

// Options are all of them, in that order.
var Options = [...]eventv1.Safeguard_Option{Data, Overspend, Payment}

// The states, and where each option may go from one.
const (
	Active      = eventv1.Safeguard_STATE_ACTIVE
	Temporarily = eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE
	Permanently = eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE
	Inactive    = eventv1.Safeguard_STATE_INACTIVE
)

func edges(o eventv1.Safeguard_Option, from eventv1.Safeguard_State) []eventv1.Safeguard_State {
	switch {
	case o == Data && from == Active:
		return []eventv1.Safeguard_State{Temporarily, Permanently}
	case o == Data && from == Temporarily:
		return []eventv1.Safeguard_State{Active, Permanently}
	case from == Active:
		return []eventv1.Safeguard_State{Inactive}
	default:
		return []eventv1.Safeguard_State{Active}
	}
}

// rule is an option as a class of service offers it, every default filled in.
type rule struct {
	which eventv1.Safeguard_Option
	// limit and its currency; of overspend what holds for a subscriber that has set none, if anything.
	limit          int64
	limited        bool
	currency       string
	perPayment     int64
	capped         bool
	gross          bool
	wholesale      bool
	alerts         []alert
	scope          func(*eventv1.UsageCharged) bool
	zone           *time.Location
	day            int
	states         []eventv1.Safeguard_State
	state          eventv1.Safeguard_State
	second         int64
	notes          bool // there is a second notice
	inactiveBlocks bool
}

// alert is a threshold as configured: a percentage of the limit, or an amount where percent is 0.
type alert struct {
	percent int32
	amount  int64
}

// Scopes are expressions other than the defaults, each with what it means.
var Scopes = map[string]func(*eventv1.UsageCharged) bool{
	"usage.roaming":                           func(u *eventv1.UsageCharged) bool { return u.GetRoaming() },
	"usage.roaming || usage.out_of_bundle":    func(u *eventv1.UsageCharged) bool { return u.GetRoaming() || u.GetOutOfBundle() },
	"usage.third_party && !usage.roaming":     func(u *eventv1.UsageCharged) bool { return u.GetThirdParty() && !u.GetRoaming() },
	"usage.category == DATA && usage.roaming": isRoamingData,
}

func isRoamingData(u *eventv1.UsageCharged) bool {
	return u.GetCategory() == eventv1.UsageCharged_CATEGORY_DATA && u.GetRoaming()
}

// common is what the three messages of the catalog have in common.
type common interface {
	GetAmountBasis() configv1.AmountBasis
	GetAlertThresholds() []*configv1.AlertThreshold
	GetScope() string
	GetTimeZone() string
	GetRenewalDay() int32
	GetRatingBasis() configv1.RatingBasis
	GetStates() []eventv1.Safeguard_State
	GetDefaultState() eventv1.Safeguard_State
	GetSecondNotice() *money.Money
}

// ruleOf reads an option of a class; nil where the class does not offer it.
func ruleOf(c *configv1.ClassOfService, o eventv1.Safeguard_Option) *rule {
	r := &rule{which: o, state: Active, day: 1}
	var configured common
	limit := func(m *money.Money) {
		r.limit, r.limited, r.currency = mustNanos(m), true, m.GetCurrencyCode()
	}
	switch {
	case o == Data && c.GetDataSafeguard() != nil:
		configured, r.scope = c.GetDataSafeguard(), isRoamingData
		r.states = []eventv1.Safeguard_State{Active, Temporarily, Permanently}
		limit(c.GetDataSafeguard().GetLimit())
	case o == Overspend && c.GetOverspendSafeguard() != nil:
		s := c.GetOverspendSafeguard()
		configured, r.scope = s, (*eventv1.UsageCharged).GetOutOfBundle
		r.states, r.state, r.currency = []eventv1.Safeguard_State{Active, Inactive}, Inactive, s.GetCurrencyCode()
		r.inactiveBlocks = s.GetInactivePolicy() == configv1.InactivePolicy_INACTIVE_POLICY_BLOCK
		if s.GetDefaultLimit() != nil {
			limit(s.GetDefaultLimit())
		}
	case o == Payment && c.GetPaymentSafeguard() != nil:
		s := c.GetPaymentSafeguard()
		configured, r.scope = s, (*eventv1.UsageCharged).GetThirdParty
		r.states = []eventv1.Safeguard_State{Active, Inactive}
		limit(s.GetLimit())
		if s.GetPerPaymentLimit() != nil {
			r.perPayment, r.capped = mustNanos(s.GetPerPaymentLimit()), true
		}
	default:
		return nil
	}
	r.gross = configured.GetAmountBasis() == configv1.AmountBasis_AMOUNT_BASIS_GROSS
	r.wholesale = configured.GetRatingBasis() == configv1.RatingBasis_RATING_BASIS_WHOLESALE
	for _, t := range configured.GetAlertThresholds() {
		a := alert{percent: t.GetPercent()}
		if t.GetAmount() != nil {
			a.amount = mustNanos(t.GetAmount())
		}
		r.alerts = append(r.alerts, a)
	}
	if len(r.alerts) == 0 {
		r.alerts = []alert{{percent: 80}}
	}
	if s := configured.GetScope(); s != "" {
		if r.scope = Scopes[s]; r.scope == nil {
			panic("the model does not know the scope " + s)
		}
	}
	r.zone = zoneOf(configured.GetTimeZone())
	if d := configured.GetRenewalDay(); d != 0 {
		r.day = int(d)
	}
	if s := configured.GetStates(); len(s) > 0 {
		r.states = slices.Clone(s)
		if !slices.Contains(r.states, Active) {
			r.states = append(r.states, Active)
		}
	}
	if s := configured.GetDefaultState(); s != 0 {
		r.state = s
	}
	if configured.GetSecondNotice() != nil {
		r.second, r.notes = mustNanos(configured.GetSecondNotice()), true
	}
	return r
}

func mustNanos(m *money.Money) int64 {
	n, ok := Nanos(m)
	if !ok {
		panic(fmt.Sprintf("the catalog has an amount that is none: %v", m))
	}
	return n
}

var zonesByName sync.Map

// zoneOf is a zone of the IANA's database; an empty name is UTC.
func zoneOf(name string) *time.Location {
	if z, known := zonesByName.Load(name); known {
		return z.(*time.Location)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		panic(fmt.Sprintf("the model does not know the zone %s: %v", name, err))
	}
	zonesByName.Store(name, zone)
	return zone
}
