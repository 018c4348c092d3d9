package account

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestChange_RefusedChangesNothing(t *testing.T) {
	pounds := func(c *controlv1.ChangeCommand) { c.CurrentLimit = &money.Money{CurrencyCode: "GBP", Units: 20} }
	run(t, []story{
		{"activation of overspend without a limit", func(p *partition) {
			whole(p)
			p.changes(overspend, to(turnedOn))
		}, []string{"refused LIMIT_REQUIRED"}},
		{"renewal days that not every month has, or no month", func(p *partition) {
			whole(p)
			p.changes(data, day(0))
			p.changes(data, day(29))
			p.changes(payment, day(31))
			p.changes(overspend, day(-1))
		}, []string{"refused RENEWAL_DAY_OUT_OF_RANGE", "refused RENEWAL_DAY_OUT_OF_RANGE", "refused RENEWAL_DAY_OUT_OF_RANGE", "refused RENEWAL_DAY_OUT_OF_RANGE"}},
		{"a limit below 0, or past what can be counted", func(p *partition) {
			whole(p)
			p.changes(overspend, currentLimit("-1"))
			p.changes(overspend, func(c *controlv1.ChangeCommand) {
				c.NextLimit = &money.Money{CurrencyCode: "EUR", Units: 9223372036, Nanos: 854775808}
			})
		}, []string{"refused AMOUNT_INVALID", "refused AMOUNT_INVALID"}},
		{"a limit in the currency of something else", func(p *partition) {
			whole(p)
			p.changes(overspend, pounds)
		}, []string{"refused CURRENCY_MISMATCH"}},
		{"states that the option has not, or the present one does not lead to", func(p *partition) {
			whole(p)
			p.changes(overspend, to(offForMonth))
			p.changes(data, to(off))
			p.changes(data, to(offForGood))
			p.changes(data, to(offForMonth))
		}, []string{"opted_out permanently-inactive 0/50 CHANGE", "refused STATE_NOT_ELIGIBLE", "refused STATE_NOT_ELIGIBLE", "refused STATE_NOT_ELIGIBLE"}},
		{"a state that the class does not offer", func(p *partition) {
			whole(p, func(c *configv1.ClassOfService) { c.DataSafeguard.States = []eventv1.Safeguard_State{offForMonth} })
			p.changes(data, to(offForGood))
		}, []string{"refused STATE_NOT_ELIGIBLE"}},
		{"limits of an option that are the class's", func(p *partition) {
			whole(p)
			p.changes(data, currentLimit("20"))
			p.changes(payment, alertsAt(percent(50)))
		}, []string{"refused CHANGE_INVALID", "refused CHANGE_INVALID"}},
		{"thresholds that are none", func(p *partition) {
			whole(p)
			p.changes(overspend, alertsAt(percent(1001)))
			p.changes(overspend, alertsAt(&eventv1.Threshold{}))
			p.changes(overspend, alertsAt(&eventv1.Threshold{Percent: 80, SecondNotice: true}))
			p.changes(overspend, alertsAt(&eventv1.Threshold{Amount: &money.Money{CurrencyCode: "GBP", Units: 1}}))
			p.changes(overspend, alertsAt(make([]*eventv1.Threshold, 17)...))
		}, []string{
			"refused THRESHOLD_INVALID", "refused THRESHOLD_INVALID", "refused THRESHOLD_INVALID", "refused CURRENCY_MISMATCH", "refused THRESHOLD_INVALID",
		}},
		{"an option that is not offered", func(p *partition) {
			p.configures(gold())
			p.activates()
			p.forget()
			p.changes(overspend, to(turnedOn), currentLimit("20"))
			p.charges("1")
		}, []string{"refused OPTION_NOT_OFFERED", "refused OPTION_NOT_OFFERED"}},
		{"no option at all", func(p *partition) {
			whole(p)
			p.changes(eventv1.Safeguard_OPTION_UNSPECIFIED, day(2))
		}, []string{"refused CHANGE_INVALID"}},
		{"a number that has no subscriber, or none any more", func(p *partition) {
			p.configures(full())
			p.changes(data, day(2))
			p.charges("1")
			p.activates()
			p.terminates()
			p.forget()
			p.changes(data, day(2))
			p.charges("1")
			p.reapplies("gold")
		}, []string{
			"refused SUBSCRIBER_NOT_FOUND", "refused SUBSCRIBER_NOT_FOUND", "refused SUBSCRIBER_NOT_FOUND", "refused SUBSCRIBER_NOT_FOUND", "refused SUBSCRIBER_NOT_FOUND",
		}},
		{"a class that is gone", func(p *partition) {
			whole(p)
			p.configures()
			p.changes(data, day(2))
			p.charges("1")
		}, []string{"refused CLASS_OF_SERVICE_UNKNOWN", "refused UNKNOWN"}},
		{"of several fields one that can't be refuses all", func(p *partition) {
			whole(p)
			p.changes(overspend, day(15), currentLimit("20"), alertsAt(percent(50)), to(offForMonth))
		}, []string{"refused STATE_NOT_ELIGIBLE"}},
		{"a refused call does not bring the catalog's change either", func(p *partition) {
			whole(p)
			p.uses("30")
			p.configures(full(func(c *configv1.ClassOfService) { c.DataSafeguard.Limit = units("30") }))
			p.changes(data, day(0))
		}, []string{"refused RENEWAL_DAY_OUT_OF_RANGE"}},
	})
}

func TestChange_NamesEveryViolationAtOnce(t *testing.T) {
	p := newPartition(t)
	whole(p)
	sub, _ := p.record()
	zero := int32(0)
	for _, test := range []struct {
		name     string
		change   *controlv1.ChangeCommand
		kind     fault.Kind
		reason   string
		found    []string
		eligible string
	}{
		{
			"faults of several kinds", &controlv1.ChangeCommand{
				Option: overspend, RenewalDay: &zero, CurrentLimit: units("-1"), NextLimit: &money.Money{CurrencyCode: "GBP"}, State: offForMonth,
				AlertThresholds: &eventv1.ThresholdList{Thresholds: []*eventv1.Threshold{percent(0)}},
			},
			fault.Invalid, ReasonChange, []string{ReasonDay, ReasonAmount, ReasonCurrency, ReasonThreshold, ReasonState}, "",
		},
		{
			"one alone", &controlv1.ChangeCommand{Option: overspend, CurrentLimit: units("-1"), NextLimit: units("-2")},
			fault.Invalid, ReasonAmount, []string{ReasonAmount, ReasonAmount}, "",
		},
		{
			"what the present state excludes", &controlv1.ChangeCommand{Option: data, State: off},
			fault.Precondition, ReasonState, []string{ReasonState}, "temporarily-inactive,permanently-inactive",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &event.Event{ID: "x", Type: "command.change", Data: test.change}
			u := turn{cause: cause{event: e}, at: p.now, tenant: "acme", msisdn: msisdn, catalog: p.catalogs[1], exists: true, decision: decision{sub: sub}}
			_, err := u.command()
			var found []string
			for _, v := range fault.ViolationsOf(err) {
				found = append(found, v.Reason)
			}
			if fault.KindOf(err) != test.kind || fault.ReasonOf(err) != test.reason {
				t.Errorf("%v %s: %v", fault.KindOf(err), fault.ReasonOf(err), err)
			}
			if diff := cmp.Diff(test.found, found); diff != "" {
				t.Error(diff)
			}
			if e := err.(*fault.Error); e.Metadata[EligibleStates] != test.eligible {
				t.Errorf("eligible %q", e.Metadata[EligibleStates])
			}
		})
	}
}
