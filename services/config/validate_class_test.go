package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

const (
	active      = eventv1.Safeguard_STATE_ACTIVE
	inactive    = eventv1.Safeguard_STATE_INACTIVE
	temporarily = eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE
	permanently = eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE
)

type state = eventv1.Safeguard_State

func eur(units int64) *money.Money { return &money.Money{CurrencyCode: "EUR", Units: units} }
func gbp(units int64) *money.Money { return &money.Money{CurrencyCode: "GBP", Units: units} }

func percent(n int32) *configv1.AlertThreshold {
	return &configv1.AlertThreshold{Threshold: &configv1.AlertThreshold_Percent{Percent: n}}
}

func amount(m *money.Money) *configv1.AlertThreshold {
	return &configv1.AlertThreshold{Threshold: &configv1.AlertThreshold_Amount{Amount: m}}
}

// Rows give the fields that are refused, each with its reason where it has one; none where the class is fine.
func TestClass_ListsEveryViolation(t *testing.T) {
	t.Parallel()
	type class = configv1.ClassOfService
	data := func(change func(o *configv1.DataSafeguardOption)) *class {
		o := &configv1.DataSafeguardOption{Limit: eur(50)}
		change(o)
		return &class{DataSafeguard: o}
	}
	overspend := func(change func(o *configv1.OverspendSafeguardOption)) *class {
		o := &configv1.OverspendSafeguardOption{CurrencyCode: "EUR"}
		change(o)
		return &class{OverspendSafeguard: o}
	}
	payment := func(change func(o *configv1.PaymentSafeguardOption)) *class {
		o := &configv1.PaymentSafeguardOption{Limit: eur(300), PerPaymentLimit: eur(50)}
		change(o)
		return &class{PaymentSafeguard: o}
	}
	type (
		dataOption      = configv1.DataSafeguardOption
		overspendOption = configv1.OverspendSafeguardOption
		paymentOption   = configv1.PaymentSafeguardOption
	)
	for _, test := range []struct {
		name  string
		class *class
		want  []string
	}{
		{"a class may offer nothing", &class{}, nil},
		{"a limit and nothing else is enough", data(func(*dataOption) {}), nil},
		{"a limit of 0 blocks from the start", data(func(o *dataOption) { o.Limit = eur(0) }), nil},
		{"a limit is required", data(func(o *dataOption) { o.Limit = nil }), []string{"data_safeguard.limit LIMIT_REQUIRED"}},
		{"a missing limit is listed once, whatever else is in some currency",
			data(func(o *dataOption) { o.Limit, o.SecondNotice = nil, eur(100) }), []string{"data_safeguard.limit LIMIT_REQUIRED"}},
		{"a limit is not below 0", data(func(o *dataOption) { o.Limit = eur(-1) }), []string{"data_safeguard.limit AMOUNT_INVALID"}},
		{"units and nanos agree in sign", data(func(o *dataOption) { o.Limit.Nanos = -1 }), []string{"data_safeguard.limit AMOUNT_INVALID"}},
		{"an amount past what is counted is refused", data(func(o *dataOption) { o.Limit = eur(9_223_372_037) }), []string{"data_safeguard.limit AMOUNT_INVALID"}},
		{"a currency has three capital letters", data(func(o *dataOption) { o.Limit.CurrencyCode = "eur" }), []string{"data_safeguard.limit.currency_code"}},
		{"three capital letters that are no currency", data(func(o *dataOption) { o.Limit.CurrencyCode = "ABC" }), []string{"data_safeguard.limit.currency_code"}},
		{"every amount is in the limit's currency", payment(func(o *paymentOption) {
			o.PerPaymentLimit, o.SecondNotice = gbp(50), gbp(400)
			o.AlertThresholds = []*configv1.AlertThreshold{percent(80), amount(gbp(250))}
		}), []string{
			"payment_safeguard.per_payment_limit CURRENCY_MISMATCH", "payment_safeguard.alert_thresholds[1].amount CURRENCY_MISMATCH",
			"payment_safeguard.second_notice CURRENCY_MISMATCH",
		}},
		{"an overspend limit is in the currency that the option names", overspend(func(o *overspendOption) { o.DefaultLimit = gbp(5) }),
			[]string{"overspend_safeguard.default_limit CURRENCY_MISMATCH"}},
		{"the day 0 is the default", data(func(o *dataOption) { o.RenewalDay = 0 }), nil},
		{"the day 28 is the last that every month has", data(func(o *dataOption) { o.RenewalDay = 28 }), nil},
		{"the day 29 is refused", data(func(o *dataOption) { o.RenewalDay = 29 }), []string{"data_safeguard.renewal_day RENEWAL_DAY_OUT_OF_RANGE"}},
		{"the day 31 is refused", payment(func(o *paymentOption) { o.RenewalDay = 31 }), []string{"payment_safeguard.renewal_day RENEWAL_DAY_OUT_OF_RANGE"}},
		{"a day below 0 is refused", overspend(func(o *overspendOption) { o.RenewalDay = -1 }), []string{"overspend_safeguard.renewal_day RENEWAL_DAY_OUT_OF_RANGE"}},
		{"thresholds are percents from 1 to 1000 or amounts above 0, each once", data(func(o *dataOption) {
			o.AlertThresholds = []*configv1.AlertThreshold{
				percent(1), percent(1000), amount(eur(40)), {}, percent(1001), percent(-5), amount(eur(0)), amount(eur(-4)), percent(1), amount(eur(40)),
			}
		}), []string{
			"data_safeguard.alert_thresholds[3]", "data_safeguard.alert_thresholds[4]", "data_safeguard.alert_thresholds[5]",
			"data_safeguard.alert_thresholds[6].amount AMOUNT_INVALID", "data_safeguard.alert_thresholds[7].amount AMOUNT_INVALID",
			"data_safeguard.alert_thresholds[8]", "data_safeguard.alert_thresholds[9]",
		}},
		{"a scope must compile", overspend(func(o *overspendOption) { o.Scope = "usage.out_of_bundel || usage.romaing" }),
			[]string{"overspend_safeguard.scope", "overspend_safeguard.scope"}},
		{"a scope is a bool", payment(func(o *paymentOption) { o.Scope = "usage.category" }), []string{"payment_safeguard.scope"}},
		{"a zone is an IANA name", data(func(o *dataOption) { o.TimeZone = "CET+1" }), []string{"data_safeguard.time_zone"}},
		{"the machine's own zone is none", data(func(o *dataOption) { o.TimeZone = "Local" }), []string{"data_safeguard.time_zone"}},
		{"what a newer schema has is not guessed", overspend(func(o *overspendOption) {
			o.AmountBasis, o.RatingBasis, o.OnUnknown, o.InactivePolicy, o.DefaultState, o.States = 77, 77, 77, 77, 77, []state{77}
		}), []string{
			"overspend_safeguard.amount_basis", "overspend_safeguard.rating_basis", "overspend_safeguard.states[0]",
			"overspend_safeguard.default_state", "overspend_safeguard.on_unknown", "overspend_safeguard.inactive_policy",
		}},
		{"the states of the data safeguard are three", data(func(o *dataOption) { o.States = []state{active, temporarily, permanently} }), nil},
		{"inactive is no state of the data safeguard", data(func(o *dataOption) { o.States = []state{active, inactive} }), []string{"data_safeguard.states[1]"}},
		{"an opt-out for a time is no state of the others", payment(func(o *paymentOption) { o.States = []state{temporarily} }), []string{"payment_safeguard.states[0]"}},
		{"no state at all is refused", payment(func(o *paymentOption) { o.States = []state{0} }), []string{"payment_safeguard.states[0]"}},
		{"a state is there once", payment(func(o *paymentOption) { o.States = []state{inactive, inactive} }), []string{"payment_safeguard.states[1]"}},
		{"active need not be named", data(func(o *dataOption) { o.States, o.DefaultState = []state{permanently}, active }), nil},
		{"a default state that is offered is fine", data(func(o *dataOption) { o.States, o.DefaultState = []state{permanently}, permanently }), nil},
		{"a default state is one of the option's", data(func(o *dataOption) { o.DefaultState = inactive }), []string{"data_safeguard.default_state"}},
		{"a default state is offered", data(func(o *dataOption) { o.States, o.DefaultState = []state{permanently}, temporarily }), []string{"data_safeguard.default_state"}},
		{"overspend starts inactive, which must be offered then", overspend(func(o *overspendOption) { o.States = []state{active} }),
			[]string{"overspend_safeguard.default_state"}},
		{"overspend without a limit starts inactive", overspend(func(*overspendOption) {}), nil},
		{"overspend that starts active needs a limit", overspend(func(o *overspendOption) { o.DefaultState = active }),
			[]string{"overspend_safeguard.default_limit LIMIT_REQUIRED"}},
		{"overspend that starts active has one", overspend(func(o *overspendOption) { o.DefaultState, o.DefaultLimit = active, eur(0) }), nil},
		{"an overspend limit is not below 0", overspend(func(o *overspendOption) { o.DefaultLimit = eur(-1) }), []string{"overspend_safeguard.default_limit AMOUNT_INVALID"}},
		{"one payment may be as much as the month", payment(func(o *paymentOption) { o.PerPaymentLimit = eur(300) }), nil},
		{"one payment may not be more than the month", payment(func(o *paymentOption) { o.PerPaymentLimit = eur(301) }), []string{"payment_safeguard.per_payment_limit AMOUNT_INVALID"}},
		{"a cap waits while the month's limit of 0 blocks everything", payment(func(o *paymentOption) { o.Limit = eur(0) }), nil},
		{"no payment at all is a matter of the limit", payment(func(o *paymentOption) { o.PerPaymentLimit = eur(0) }), []string{"payment_safeguard.per_payment_limit AMOUNT_INVALID"}},
		{"a second notice is above 0", data(func(o *dataOption) { o.SecondNotice = eur(0) }), []string{"data_safeguard.second_notice AMOUNT_INVALID"}},
		{"a second notice may lie anywhere", data(func(o *dataOption) { o.SecondNotice = eur(20) }), nil},
		{"everything wrong with every option is listed at once", &class{
			DisplayName:   "x",
			DataSafeguard: &dataOption{Limit: eur(-1), RenewalDay: 30},
			OverspendSafeguard: &overspendOption{
				CurrencyCode: "EURO", DefaultLimit: eur(1), TimeZone: "x",
			},
			PaymentSafeguard: &paymentOption{Limit: eur(1), PerPaymentLimit: eur(2), Scope: "x"},
		}, []string{
			"data_safeguard.limit AMOUNT_INVALID", "data_safeguard.renewal_day RENEWAL_DAY_OUT_OF_RANGE",
			"overspend_safeguard.currency_code", "overspend_safeguard.time_zone",
			"payment_safeguard.per_payment_limit AMOUNT_INVALID", "payment_safeguard.scope",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var f fault.Violations
			validateClass(&f, test.class)
			var got []string
			for _, v := range fault.ViolationsOf(f.Err("CONFIG_INVALID")) {
				text := v.Field
				if v.Reason != "" {
					text += " " + v.Reason
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%v\n%s", f.Err("CONFIG_INVALID"), diff)
			}
		})
	}
}

func TestClass_ViolationKeepsItsReason(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	c := aClass("gold")
	c.OverspendSafeguard = &configv1.OverspendSafeguardOption{CurrencyCode: "EUR", DefaultState: active}
	create := func() error {
		_, err := r.classes.CreateClassOfService(t.Context(), &configv1.CreateClassOfServiceRequest{ClassOfService: c})
		return err
	}
	refused(t, create(), fault.Invalid, "LIMIT_REQUIRED")
	c.DataSafeguard.TimeZone = "x"
	err := create()
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if all := fault.ViolationsOf(err); len(all) != 2 || all[0].Reason != "" || all[1].Reason != "LIMIT_REQUIRED" {
		t.Errorf("%+v", all)
	}
	c.DataSafeguard.TimeZone, c.OverspendSafeguard.DefaultLimit = "", eur(10)
	if err := create(); err != nil {
		t.Error(err)
	}
}
