package roster

import (
	"slices"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/tollgate/wording"
	"google.golang.org/genproto/googleapis/type/money"
)

// Classes are a tenant's classes of service by their ids.
type Classes map[string]*configv1.ClassOfService

// offer is what a class says of an option, as far as an activation can disagree with it.
type offer struct {
	currency     string
	states       []eventv1.Safeguard_State
	defaultState eventv1.Safeguard_State
	// limited: a subscriber that is active has a limit, whatever its row says.
	limited bool
}

// offerOf is nil where the class does not have the option.
func offerOf(c *configv1.ClassOfService, o eventv1.Safeguard_Option) *offer {
	switch o {
	case eventv1.Safeguard_OPTION_DATA:
		if d := c.GetDataSafeguard(); d != nil {
			return &offer{d.GetLimit().GetCurrencyCode(), d.GetStates(), d.GetDefaultState(), true}
		}
	case eventv1.Safeguard_OPTION_OVERSPEND:
		if d := c.GetOverspendSafeguard(); d != nil {
			return &offer{d.GetCurrencyCode(), d.GetStates(), d.GetDefaultState(), d.GetDefaultLimit() != nil}
		}
	case eventv1.Safeguard_OPTION_PAYMENT:
		if d := c.GetPaymentSafeguard(); d != nil {
			return &offer{d.GetLimit().GetCurrencyCode(), d.GetStates(), d.GetDefaultState(), true}
		}
	}
	return nil
}

// judge adds what the service would refuse the row for.
func (c Classes) judge(s *subscriber) {
	id := s.data.GetClassOfService()
	if id == "" {
		return // said already
	}
	class, ok := c[id]
	if !ok {
		s.faults.Add(columnClass, "the tenant has no class of service %q", id)
		return
	}
	for i, standing := range s.options {
		if standing == nil {
			continue
		}
		o := offerOf(class, wording.Options[i])
		if o == nil {
			s.faults.Add(prefixes[i]+"*", "class of service %s does not offer the %s safeguard", id, wording.Option(wording.Options[i]))
			continue
		}
		o.judge(s, prefixes[i], standing)
	}
}

func (o *offer) judge(s *subscriber, prefix string, standing *eventv1.InitialOption) {
	state := standing.GetState()
	if state != 0 && state != eventv1.Safeguard_STATE_ACTIVE && len(o.states) > 0 && !slices.Contains(o.states, state) {
		s.faults.Add(prefix+"state", "class of service %s does not offer %s", s.data.GetClassOfService(), wording.State(state))
	}
	if state == 0 {
		state = o.defaultState
	}
	if state == eventv1.Safeguard_STATE_ACTIVE && !o.limited && standing.GetCurrentLimit() == nil {
		s.faults.Add(prefix+"current_limit", "is required while active: class of service %s has no default", s.data.GetClassOfService())
	}
	for _, amount := range []struct {
		column string
		m      *money.Money
	}{{"current_limit", standing.GetCurrentLimit()}, {"next_limit", standing.GetNextLimit()}, {"spent", standing.GetSpent()}} {
		if amount.m != nil && amount.m.GetCurrencyCode() != o.currency {
			s.faults.Add(prefix+amount.column, "must be in %s, the currency of class of service %s, not in %s",
				o.currency, s.data.GetClassOfService(), amount.m.GetCurrencyCode())
		}
	}
}
