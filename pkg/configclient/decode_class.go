package configclient

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func (d *decoder) class(c *configv1.ClassOfService) *Class {
	out := &Class{Name: c.GetName(), DisplayName: c.GetDisplayName()}
	out.Tenant, out.ID = d.name(c.GetName(), "classesOfService")
	if o := c.GetDataSafeguard(); o != nil {
		r := d.offer(c.GetName()+": data_safeguard", spend.Data, o.GetLimit().GetCurrencyCode())
		out.Data = r.common(o, DefaultDataScope)
		r.limit(o.GetLimit())
	}
	if o := c.GetOverspendSafeguard(); o != nil {
		r := d.offer(c.GetName()+": overspend_safeguard", spend.Overspend, o.GetCurrencyCode())
		out.Overspend = r.common(o, DefaultOverspendScope)
		if o.GetDefaultLimit() != nil {
			r.limit(o.GetDefaultLimit())
		}
		r.inactive(o.GetInactivePolicy())
	}
	if o := c.GetPaymentSafeguard(); o != nil {
		r := d.offer(c.GetName()+": payment_safeguard", spend.Payment, o.GetLimit().GetCurrencyCode())
		out.Payment = r.common(o, DefaultPaymentScope)
		r.limit(o.GetLimit())
		if o.GetPerPaymentLimit() != nil {
			out.Payment.PerPayment = r.amount(o.GetPerPaymentLimit())
		}
	}
	return out
}

// Offered are the getters that the messages of the three options share.
type Offered interface {
	GetAmountBasis() configv1.AmountBasis
	GetRatingBasis() configv1.RatingBasis
	GetAlertThresholds() []*configv1.AlertThreshold
	GetScope() string
	GetTimeZone() string
	GetRenewalDay() int32
	GetStates() []eventv1.Safeguard_State
	GetDefaultState() eventv1.Safeguard_State
	GetOnUnknown() configv1.UnknownPolicy
	GetSecondNotice() *money.Money
}

// offerReader reads one option of one class into out.
type offerReader struct {
	*decoder
	name string
	out  *Offer
}

func (d *decoder) offer(name string, option spend.Option, currency string) offerReader {
	if !spend.IsCurrency(currency) {
		d.fail(name, fmt.Errorf("currency %q is not three capital letters", currency))
	}
	return offerReader{d, name, &Offer{Option: option, Currency: currency, PerPayment: spend.Max}}
}

func (r offerReader) common(o Offered, scope string) *Offer {
	out := r.out
	out.Scope = o.GetScope()
	if strings.TrimSpace(out.Scope) == "" {
		out.Scope = scope
	}
	out.Zone = r.zone(r.name, o.GetTimeZone())
	out.RenewalDay = 1
	if o.GetRenewalDay() != 0 {
		day, err := spend.RenewalDayOf(int64(o.GetRenewalDay()))
		r.fail(r.name, err)
		out.RenewalDay = day
	}
	r.bases(o)
	r.thresholds(o.GetAlertThresholds())
	r.states(o)
	out.UnknownAllows = r.allows(r.name, o.GetOnUnknown())
	if o.GetSecondNotice() != nil {
		out.SecondNotice = r.amount(o.GetSecondNotice())
	}
	return out
}

func (r offerReader) limit(m *money.Money) {
	r.out.Limit, r.out.HasLimit = r.amount(m), true
}

// amount reads money in the option's currency.
func (r offerReader) amount(m *money.Money) spend.Amount {
	if m.GetCurrencyCode() != r.out.Currency {
		r.fail(r.name, fmt.Errorf("an amount is in %q, not in %q", m.GetCurrencyCode(), r.out.Currency))
	}
	a, err := spend.AmountOf(m.GetUnits(), m.GetNanos())
	r.fail(r.name, err)
	return a
}

func (r offerReader) bases(o Offered) {
	switch o.GetAmountBasis() {
	case configv1.AmountBasis_AMOUNT_BASIS_UNSPECIFIED, configv1.AmountBasis_AMOUNT_BASIS_NET:
		r.out.Basis = Net
	case configv1.AmountBasis_AMOUNT_BASIS_GROSS:
		r.out.Basis = Gross
	default:
		r.fail(r.name, fmt.Errorf("amount basis %d is not known", o.GetAmountBasis()))
	}
	switch o.GetRatingBasis() {
	case configv1.RatingBasis_RATING_BASIS_UNSPECIFIED, configv1.RatingBasis_RATING_BASIS_RETAIL:
		r.out.Rating = Retail
	case configv1.RatingBasis_RATING_BASIS_WHOLESALE:
		r.out.Rating = Wholesale
	default:
		r.fail(r.name, fmt.Errorf("rating basis %d is not known", o.GetRatingBasis()))
	}
}

func (r offerReader) thresholds(given []*configv1.AlertThreshold) {
	for _, t := range given {
		threshold := spend.Threshold{Percent: int64(t.GetPercent())}
		if t.GetAmount() != nil {
			threshold.Amount = r.amount(t.GetAmount())
		}
		r.fail(r.name, threshold.Validate())
		r.out.Thresholds = append(r.out.Thresholds, threshold)
	}
	if len(r.out.Thresholds) == 0 {
		r.out.Thresholds = []spend.Threshold{{Percent: 80}}
	}
}

// states keeps the order of the option, whatever the order of the list.
func (r offerReader) states(o Offered) {
	all := StatesOf(r.out.Option)
	r.out.States = all
	if len(o.GetStates()) > 0 {
		chosen := map[spend.State]bool{spend.Active: true}
		for _, s := range o.GetStates() {
			state := StateOf(s)
			if !slices.Contains(all, state) {
				r.fail(r.name, fmt.Errorf("%s is not a state of this option", s))
			}
			chosen[state] = true
		}
		r.out.States = slices.DeleteFunc(all, func(s spend.State) bool { return !chosen[s] })
	}
	r.out.DefaultState = DefaultStateOf(r.out.Option)
	if o.GetDefaultState() != eventv1.Safeguard_STATE_UNSPECIFIED {
		r.out.DefaultState = StateOf(o.GetDefaultState())
	}
	if !slices.Contains(r.out.States, r.out.DefaultState) {
		r.fail(r.name, fmt.Errorf("default state %s is not offered", r.out.DefaultState))
	}
}

func (r offerReader) inactive(p configv1.InactivePolicy) {
	switch p {
	case configv1.InactivePolicy_INACTIVE_POLICY_UNSPECIFIED, configv1.InactivePolicy_INACTIVE_POLICY_OPEN:
	case configv1.InactivePolicy_INACTIVE_POLICY_BLOCK:
		r.out.BlockInactive = true
	default:
		r.fail(r.name, fmt.Errorf("inactive policy %d is not known", p))
	}
}

// StateOf is the state of a message; spend's Unset where it is unknown.
func StateOf(s eventv1.Safeguard_State) spend.State {
	switch s {
	case eventv1.Safeguard_STATE_ACTIVE:
		return spend.Active
	case eventv1.Safeguard_STATE_INACTIVE:
		return spend.Inactive
	case eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE:
		return spend.TemporarilyInactive
	case eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE:
		return spend.PermanentlyInactive
	}
	return spend.Unset
}

func (d *decoder) allows(name string, p configv1.UnknownPolicy) bool {
	switch p {
	case configv1.UnknownPolicy_UNKNOWN_POLICY_UNSPECIFIED, configv1.UnknownPolicy_UNKNOWN_POLICY_BLOCK:
		return false
	case configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW:
		return true
	}
	d.fail(name, fmt.Errorf("unknown policy %d is not known", p))
	return false
}

// zone loads each time zone once: a location takes some kilobytes, and ten thousand classes share a few.
func (d *decoder) zone(name, zone string) *time.Location {
	if zone == "" {
		return time.UTC
	}
	if loc, ok := d.zones[zone]; ok {
		return loc
	}
	loc, err := spend.Zone(zone)
	d.fail(name, err)
	d.zones[zone] = loc
	return loc
}
