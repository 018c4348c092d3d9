// Package class validates classes of service.
package class

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/scope"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Validate adds to f what is wrong with a class by itself.
func Validate(f *fault.Violations, c *configv1.ClassOfService) {
	if o := c.GetDataSafeguard(); o != nil {
		var inner fault.Violations
		j := optionValidator{&inner, spend.Data, o.GetLimit().GetCurrencyCode(), "the limit's"}
		j.limit(o.GetLimit())
		j.common(o)
		f.AddErr("data_safeguard", inner.Err(reason.ConfigInvalid))
	}
	if o := c.GetOverspendSafeguard(); o != nil {
		var inner fault.Violations
		validateOverspend(&inner, o)
		f.AddErr("overspend_safeguard", inner.Err(reason.ConfigInvalid))
	}
	if o := c.GetPaymentSafeguard(); o != nil {
		var inner fault.Violations
		j := optionValidator{&inner, spend.Payment, o.GetLimit().GetCurrencyCode(), "the limit's"}
		limit, ok := j.limit(o.GetLimit())
		j.perPayment(o.GetPerPaymentLimit(), limit, ok)
		j.common(o)
		f.AddErr("payment_safeguard", inner.Err(reason.ConfigInvalid))
	}
}

func validateOverspend(f *fault.Violations, o *configv1.OverspendSafeguardOption) {
	j := optionValidator{f, spend.Overspend, o.GetCurrencyCode(), "currency_code's"}
	if !event.IsCurrency(j.currency) {
		f.Add("currency_code", event.FormCurrency+", not %q", cut(j.currency))
	}
	if limit := o.GetDefaultLimit(); limit != nil {
		j.amount("default_limit", limit, 0)
	} else if o.GetDefaultState() == eventv1.Safeguard_STATE_ACTIVE {
		f.AddAs(reason.LimitRequired, "default_limit", "is required where default_state is active")
	}
	j.common(o)
	if _, known := configv1.InactivePolicy_name[int32(o.GetInactivePolicy())]; !known {
		f.Add("inactive_policy", "%d is not known", o.GetInactivePolicy())
	}
}

// optionValidator lists what is wrong with one option of a class.
type optionValidator struct {
	*fault.Violations
	option spend.Option
	// currency is the option's, for all its amounts; whose is where it is set.
	currency, whose string
}

// limit is the month's of an option that can't be without; ok is false where it can't be read.
func (j optionValidator) limit(m *money.Money) (limit spend.Amount, ok bool) {
	if m == nil {
		j.AddAs(reason.LimitRequired, "limit", "is required")
		return 0, false
	}
	if !event.IsCurrency(j.currency) {
		j.Add("limit.currency_code", event.FormCurrency+", not %q", cut(j.currency))
	}
	return j.amount("limit", m, 0)
}

// amount reads money of the option's currency that is at least least; amounts are whole billionths, so 1 is anything
// above 0. Where the option's currency itself can't be read, that alone is reported.
func (j optionValidator) amount(field string, m *money.Money, least spend.Amount) (a spend.Amount, ok bool) {
	same := m.GetCurrencyCode() == j.currency || !event.IsCurrency(j.currency)
	if !same {
		j.AddAs(reason.CurrencyMismatch, field, "must be in %s currency, %s, not in %q", j.whose, j.currency, cut(m.GetCurrencyCode()))
	}
	a, err := spend.AmountOf(m.GetUnits(), m.GetNanos())
	switch {
	case err != nil:
		j.AddAs(reason.AmountInvalid, field, "%s", err)
	case a < least && least == 0:
		j.AddAs(reason.AmountInvalid, field, "must not be below 0")
	case a < least:
		j.AddAs(reason.AmountInvalid, field, "must be above 0: leave it out where there is none")
	default:
		return a, same
	}
	return 0, false
}

// perPayment may not be above the month's limit: it would never bind, so that one of the two is a mistake.
// Beside a limit of 0, which blocks all payments, it is what holds once that is lifted.
func (j optionValidator) perPayment(m *money.Money, limit spend.Amount, limited bool) {
	if m == nil {
		return
	}
	most, ok := j.amount("per_payment_limit", m, 1)
	if ok && limited && limit > 0 && most > limit {
		j.AddAs(reason.AmountInvalid, "per_payment_limit", "must not be above the limit of the month, %s", limit)
	}
}

func (j optionValidator) common(o configclient.Offered) {
	if _, known := configv1.AmountBasis_name[int32(o.GetAmountBasis())]; !known {
		j.Add("amount_basis", "%d is not known", o.GetAmountBasis())
	}
	if _, known := configv1.RatingBasis_name[int32(o.GetRatingBasis())]; !known {
		j.Add("rating_basis", "%d is not known", o.GetRatingBasis())
	}
	j.thresholds(o.GetAlertThresholds())
	if o.GetScope() != "" {
		_, err := scope.Compile(o.GetScope())
		j.AddErr("scope", err)
	}
	if o.GetTimeZone() != "" {
		if _, err := spend.Zone(o.GetTimeZone()); err != nil {
			j.Add("time_zone", "must be the IANA name of a zone, such as Europe/Berlin, not %q", cut(o.GetTimeZone()))
		}
	}
	if day := o.GetRenewalDay(); day != 0 {
		if _, err := spend.RenewalDayOf(int64(day)); err != nil {
			j.AddAs(reason.RenewalDayOutOfRange, "renewal_day", "%s", err)
		}
	}
	j.states(o)
	if _, known := configv1.UnknownPolicy_name[int32(o.GetOnUnknown())]; !known {
		j.Add("on_unknown", "%d is not known", o.GetOnUnknown())
	}
	if notice := o.GetSecondNotice(); notice != nil {
		j.amount("second_notice", notice, 1)
	}
}

func (j optionValidator) thresholds(all []*configv1.AlertThreshold) {
	seen := map[spend.Threshold]bool{}
	for i, given := range all {
		field := at("alert_thresholds", i)
		t := spend.Threshold{Percent: int64(given.GetPercent())}
		if m := given.GetAmount(); m != nil {
			amount, ok := j.amount(field+".amount", m, 1)
			if !ok {
				continue
			}
			t.Amount = amount
		}
		if err := t.Validate(); err != nil {
			j.AddErr(field, err)
			continue
		}
		if seen[t] {
			j.Add(field, "%s is there twice", t)
		}
		seen[t] = true
	}
}

func (j optionValidator) states(o configclient.Offered) {
	all := configclient.StatesOf(j.option)
	offered := []spend.State{spend.Active}
	for i, given := range o.GetStates() {
		state := configclient.StateOf(given)
		switch {
		case !slices.Contains(all, state):
			j.Add(at("states", i), "%s is not a state of this option, which has %s", given, shownStates(all))
		case slices.Contains(o.GetStates()[:i], given):
			j.Add(at("states", i), "%s is there twice", given)
		default:
			offered = append(offered, state)
		}
	}
	if len(o.GetStates()) == 0 {
		offered = all
	}
	initial := configclient.DefaultStateOf(j.option)
	if given := o.GetDefaultState(); given != eventv1.Safeguard_STATE_UNSPECIFIED {
		if initial = configclient.StateOf(given); !slices.Contains(all, initial) {
			j.Add("default_state", "%s is not a state of this option, which has %s", given, shownStates(all))
			return
		}
	}
	if !slices.Contains(offered, initial) {
		j.Add("default_state", "%s is not among states: a new subscriber could not be in it", initial)
	}
}

func shownStates(all []spend.State) string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.String()
	}
	return strings.Join(names, ", ")
}

func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// cut keeps a message short whatever was sent.
func cut(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
