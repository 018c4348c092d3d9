package config

import (
	"context"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/scope"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const maxThresholds = 20

func judgeClass(_ context.Context, _ queries, f *fault.Faults, r resource) error {
	c := r.(*configv1.ClassOfService)
	checkText(f, "display_name", c.GetDisplayName(), maxDisplayName)
	if option := c.GetDataSafeguard(); option != nil {
		var inner fault.Faults
		judgeDataSafeguard(&inner, option)
		f.AddErr("data_safeguard", inner.Err("CONFIG_INVALID"))
	}
	return nil
}

func judgeDataSafeguard(f *fault.Faults, o *configv1.DataSafeguardOption) {
	limit := o.GetLimit()
	if limit == nil {
		f.Add("limit", "is required")
	} else if m, err := spend.MoneyOf(limit.GetCurrencyCode(), limit.GetUnits(), limit.GetNanos()); err != nil {
		f.AddErr("limit", err)
	} else if m.Amount < 0 {
		f.Add("limit", "must not be below 0")
	}
	if _, known := configv1.AmountBasis_name[int32(o.GetAmountBasis())]; !known {
		f.Add("amount_basis", "%d is not known", o.GetAmountBasis())
	}
	judgeThresholds(f, o)
	if o.GetScope() != "" {
		_, err := scope.Compile(o.GetScope())
		f.AddErr("scope", err)
	}
	if o.GetTimeZone() != "" {
		if _, err := spend.Zone(o.GetTimeZone()); err != nil {
			f.Add("time_zone", "must be the IANA name of a zone, such as Europe/Berlin, not %q", cut(o.GetTimeZone()))
		}
	}
	if day := o.GetRenewalDay(); day != 0 {
		if _, err := spend.RenewalDayOf(int64(day)); err != nil {
			f.AddErr("renewal_day", err)
		}
	}
}

func judgeThresholds(f *fault.Faults, o *configv1.DataSafeguardOption) {
	if len(o.GetAlertThresholds()) > maxThresholds {
		f.Add("alert_thresholds", "must be at most %d", maxThresholds)
	}
	seen := map[spend.Threshold]bool{}
	for i, given := range o.GetAlertThresholds() {
		field := at("alert_thresholds", i)
		t := spend.Threshold{Percent: int64(given.GetPercent())}
		if amount := given.GetAmount(); amount != nil {
			m, err := spend.MoneyOf(amount.GetCurrencyCode(), amount.GetUnits(), amount.GetNanos())
			if err != nil {
				f.AddErr(field+".amount", err)
				continue
			}
			if m.Currency != o.GetLimit().GetCurrencyCode() {
				f.Add(field+".amount", "must be in the currency of the limit")
			}
			t.Amount = m.Amount
		}
		if err := t.Validate(); err != nil {
			f.AddErr(field, err)
			continue
		}
		if seen[t] {
			f.Add(field, "%s stands twice", t)
		}
		seen[t] = true
	}
}
