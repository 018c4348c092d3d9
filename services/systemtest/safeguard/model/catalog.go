package model

import (
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// configure draws classes anew, or changes one of them.
func (h *history) configure(all bool) {
	for _, name := range classNames {
		if all || h.chance(40) {
			h.classes[name] = h.draw(name)
		}
	}
	if !all && h.chance(8) {
		delete(h.classes, h.class())
	}
	if all {
		h.policy = &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(0)}
		if h.chance(50) {
			h.policy.DedupWindow = durationpb.New(pick(h, []time.Duration{24 * time.Hour, 36 * time.Hour, 72 * time.Hour, 35 * 24 * time.Hour}))
		}
		if h.mix.Grace {
			h.policy.UnknownGrace = nil
			if h.chance(30) {
				h.policy.UnknownGrace = durationpb.New(time.Duration(1+h.rand.IntN(7200)) * time.Second)
			}
			if h.chance(20) {
				h.policy.DefaultClassOfService = "gold"
			}
		}
	}
	s := &configv1.Snapshot{Tenants: []*configv1.Tenant{{Name: "tenants/" + tenant, Subscribers: h.policy}}}
	for _, name := range classNames {
		if c := h.classes[name]; c != nil {
			s.ClassesOfService = append(s.ClassesOfService, proto.CloneOf(c))
		}
	}
	h.add(Step{At: h.now, Snapshot: s})
}

// alike is what the three options have in common.
type alike struct {
	basis    configv1.AmountBasis
	rating   configv1.RatingBasis
	alerts   []*configv1.AlertThreshold
	zone     string
	day      int32
	currency string
	second   *money.Money
	scope    string
}

func (h *history) alike(class string) alike {
	s := alike{zone: pick(h, zones), day: pick(h, []int32{0, 1, 1, 2, 15, 28, int32(1 + h.rand.IntN(28))}), currency: "EUR"}
	if class == "silver" && h.chance(30) {
		s.currency = "GBP"
	}
	if h.chance(15) {
		s.basis = configv1.AmountBasis_AMOUNT_BASIS_GROSS
	}
	if h.chance(10) {
		s.rating = configv1.RatingBasis_RATING_BASIS_WHOLESALE
	}
	for _, percent := range []int32{1, 50, 80, 100, 150} {
		if h.chance(25) {
			s.alerts = append(s.alerts, &configv1.AlertThreshold{Threshold: &configv1.AlertThreshold_Percent{Percent: percent}})
		}
	}
	if h.chance(25) {
		s.alerts = append(s.alerts, &configv1.AlertThreshold{Threshold: &configv1.AlertThreshold_Amount{Amount: Money(10*Unit, s.currency)}})
	}
	if h.chance(30) {
		s.second = Money(pick(h, []int64{10 * Unit, 60 * Unit, 100 * Unit}), s.currency)
	}
	return s
}

// states that a class offers; none means all.
func (h *history) states(all ...eventv1.Safeguard_State) (states []eventv1.Safeguard_State) {
	if h.chance(80) {
		return nil
	}
	states = append(states, Active)
	for _, s := range all {
		if h.chance(50) {
			states = append(states, s)
		}
	}
	return states
}

func (h *history) draw(class string) *configv1.ClassOfService {
	c := &configv1.ClassOfService{Name: "tenants/" + tenant + "/classesOfService/" + class}
	for _, o := range h.mix.Options {
		if h.chance(12) {
			continue
		}
		s := h.alike(class)
		switch o {
		case Data:
			if h.chance(10) {
				s.scope = "usage.roaming"
			}
			c.DataSafeguard = &configv1.DataSafeguardOption{
				Limit: Money(h.limit(), s.currency), AmountBasis: s.basis, AlertThresholds: s.alerts, Scope: s.scope, TimeZone: s.zone, RenewalDay: s.day,
				RatingBasis: s.rating, States: h.states(Temporarily, Permanently), SecondNotice: s.second,
			}
		case Overspend:
			if h.chance(10) {
				s.scope = "usage.roaming || usage.out_of_bundle"
			}
			p := &configv1.OverspendSafeguardOption{
				CurrencyCode: s.currency, AmountBasis: s.basis, AlertThresholds: s.alerts, Scope: s.scope, TimeZone: s.zone, RenewalDay: s.day,
				RatingBasis: s.rating, SecondNotice: s.second,
			}
			if h.chance(30) {
				p.DefaultLimit = Money(h.limit(), s.currency)
				if h.chance(40) {
					p.DefaultState, p.States = Active, h.states(Inactive)
				}
			}
			if h.chance(30) {
				p.InactivePolicy = configv1.InactivePolicy_INACTIVE_POLICY_BLOCK
			}
			c.OverspendSafeguard = p
		case Payment:
			if h.chance(10) {
				s.scope = "usage.third_party && !usage.roaming"
			}
			c.PaymentSafeguard = &configv1.PaymentSafeguardOption{
				Limit: Money(h.limit(), s.currency), AmountBasis: s.basis, AlertThresholds: s.alerts, Scope: s.scope, TimeZone: s.zone, RenewalDay: s.day,
				RatingBasis: s.rating, States: h.states(Inactive), SecondNotice: s.second,
			}
			if h.chance(60) {
				c.PaymentSafeguard.PerPaymentLimit = Money(pick(h, []int64{1, 10 * Unit, 50 * Unit}), s.currency)
			}
		}
	}
	return c
}
