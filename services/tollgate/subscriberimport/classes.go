package subscriberimport

import (
	"slices"

	"google.golang.org/genproto/googleapis/type/money"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/tollgate/format"
)

// Classes are a tenant's classes of service by id.
type Classes map[string]*configv1.ClassOfService

// offer is the part of a class's option with which an activation can conflict.
type offer struct {
	currency     string
	states       []eventv1.Safeguard_State
	defaultState eventv1.Safeguard_State
	// limited: an active subscriber has a limit, whatever its row has.
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

// validate adds the violations for which the service would reject the row.
func (c Classes) validate(s *subscriber) {
	id := s.data.GetClassOfService()
	if id == "" {
		return // reported already
	}
	class, ok := c[id]
	if !ok {
		s.faults.Add(columnClass, "the tenant has no class of service %q", id)
		return
	}
	for i, initial := range s.options {
		if initial == nil {
			continue
		}
		o := offerOf(class, format.Options[i])
		if o == nil {
			s.faults.Add(prefixes[i]+"*", "class of service %s does not offer the %s safeguard", id, format.Option(format.Options[i]))
			continue
		}
		o.validate(s, prefixes[i], initial)
	}
}

func (o *offer) validate(s *subscriber, prefix string, initial *eventv1.InitialOption) {
	state := initial.GetState()
	if state != 0 && state != eventv1.Safeguard_STATE_ACTIVE && len(o.states) > 0 && !slices.Contains(o.states, state) {
		s.faults.Add(prefix+"state", "class of service %s does not offer %s", s.data.GetClassOfService(), format.State(state))
	}
	if state == 0 {
		state = o.defaultState
	}
	if state == eventv1.Safeguard_STATE_ACTIVE && !o.limited && initial.GetCurrentLimit() == nil {
		s.faults.Add(prefix+"current_limit", "is required while active: class of service %s has no default", s.data.GetClassOfService())
	}
	for _, amount := range []struct {
		column string
		m      *money.Money
	}{{"current_limit", initial.GetCurrentLimit()}, {"next_limit", initial.GetNextLimit()}, {"spent", initial.GetSpent()}} {
		if amount.m != nil && amount.m.GetCurrencyCode() != o.currency {
			s.faults.Add(prefix+amount.column, "must be in %s, the currency of class of service %s, not in %s",
				o.currency, s.data.GetClassOfService(), amount.m.GetCurrencyCode())
		}
	}
}
