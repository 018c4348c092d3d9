package account

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// ofCharge names the charge by call that a refund takes back.
func ofCharge(reference, at string) func(*event.Event) {
	return with(func(u *eventv1.UsageCharged) {
		u.Corrects = &eventv1.Correction{Id: reference, Source: ChargeSource, Time: stamp(at)}
	})
}

func TestCharge_CountedOnlyWhereAllowed(t *testing.T) {
	run(t, []story{
		{"charges up to exactly the limit are counted", func(p *partition) {
			whole(p)
			for range 6 {
				p.charges("50")
			}
			p.charges("0.01")
		}, []string{
			"payment alert 80% at 240 250/300 CHARGE", "payment reached 300/300 CHARGE blocked",
			"refused CARRIER_BILLING.USER_AMOUNT_THRESHOLD_OVERPASSED",
		}},
		{"one that would pass the month's limit is refused, and a smaller one still fits", func(p *partition) {
			whole(p)
			p.pays("260")
			p.forget()
			p.charges("40.01")
			p.charges("40")
		}, []string{"payment reached 300/300 CHARGE blocked", "refused CARRIER_BILLING.USER_AMOUNT_THRESHOLD_OVERPASSED"}},
		{"one above the cap of a payment is refused", func(p *partition) {
			whole(p)
			p.charges("50.000000001")
			p.charges("50")
		}, []string{"refused CARRIER_BILLING.UNAUTHORIZED_AMOUNT"}},
		{"without a cap one may be as much as is left", func(p *partition) {
			whole(p, func(c *configv1.ClassOfService) { c.PaymentSafeguard.PerPaymentLimit = nil })
			p.charges("300")
		}, []string{"payment alert 80% at 240 300/300 CHARGE blocked", "payment reached 300/300 CHARGE blocked"}},
		{"while the safeguard is off everything is allowed, and recorded", func(p *partition) {
			whole(p)
			p.changes(payment, to(off))
			p.charges("400")
			p.changes(payment, to(turnedOn))
		}, []string{"payment deactivated 0/300 CHANGE", "payment activated 400/300 CHANGE blocked", "payment reached 400/300 CHANGE blocked"}},
		{"nothing, less than nothing, another currency and what can't be counted are no charges", func(p *partition) {
			whole(p)
			p.charges("0")
			p.charges("-1")
			p.commands("c-1", &controlv1.ChargeCommand{}, "command.charge")
			p.commands("c-2", &controlv1.ChargeCommand{Amount: &money.Money{CurrencyCode: "GBP", Units: 1}}, "command.charge")
			p.commands("c-3", &controlv1.ChargeCommand{Amount: &money.Money{CurrencyCode: "EUR", Units: 1 << 62}}, "command.charge")
			p.commands("c-4", &controlv1.ChargeCommand{Amount: &money.Money{CurrencyCode: "EUR", Units: 1, Nanos: -1}}, "command.charge")
		}, []string{
			"refused AMOUNT_INVALID", "refused AMOUNT_INVALID", "refused AMOUNT_INVALID", "refused CURRENCY_MISMATCH", "refused AMOUNT_INVALID", "refused AMOUNT_INVALID",
		}},
		{"a sum past what can be counted is no charge either", func(p *partition) {
			whole(p)
			p.changes(payment, to(off))
			p.forget()
			p.charges("9000000000")
			p.charges("9000000000")
		}, []string{"refused AMOUNT_INVALID"}},
		{"the same charge again is counted once", func(p *partition) {
			whole(p)
			for range 7 {
				p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("50")}, "command.charge")
			}
			p.pays("190")
		}, []string{"payment alert 80% at 240 240/300 USAGE"}},
		{"another charge under the same reference is not counted", func(p *partition) {
			whole(p)
			p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("50")}, "command.charge")
			p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("49")}, "command.charge")
			p.pays("190")
		}, []string{"payment alert 80% at 240 240/300 USAGE"}},
		{"a refused charge is decided anew when it comes again", func(p *partition) {
			whole(p)
			p.pays("300")
			p.forget()
			p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("50")}, "command.charge")
			p.pays("-50", corrects("2026-03-02T09:00"))
			p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("50")}, "command.charge")
		}, []string{
			"payment released 250/300 REFUND", "payment reached 300/300 CHARGE blocked", "refused CARRIER_BILLING.USER_AMOUNT_THRESHOLD_OVERPASSED",
		}},
		{"usage does not push a charge's reference out", func(p *partition) {
			whole(p)
			charge := &controlv1.ChargeCommand{Amount: units("50")}
			p.commands("ref-1", charge, "command.charge")
			for range 2000 {
				p.pays("0.01")
			}
			p.commands("ref-1", charge, "command.charge")
			p.pays("169.99")
			p.pays("0.01")
		}, []string{"payment alert 80% at 240 240/300 USAGE"}},
	})
}

func TestCharge_RefundGivesBackWhatWasCounted(t *testing.T) {
	run(t, []story{
		{"one that was counted, whatever the refund's own scope", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("50")}, "command.charge")
			p.pays("250")
			p.overspends("20")
			p.forget()
			p.overspends("-50", ofCharge("ref-1", "2026-03-02T09:00"))
		}, []string{"payment released 250/300 REFUND"}},
		{"one that was not counted is refused", func(p *partition) {
			whole(p)
			p.pays("300")
			p.forget()
			p.pays("-50", ofCharge("ref-1", "2026-03-02T09:00"))
		}, []string{"rejected CHARGE_NOT_COUNTED"}},
		{"usage of the same id is no charge", func(p *partition) {
			whole(p)
			p.pays("300", func(e *event.Event) { e.ID = "ref-1" })
			p.forget()
			p.pays("-50", ofCharge("ref-1", "2026-03-02T09:00"))
		}, []string{"rejected CHARGE_NOT_COUNTED"}},
		{"one further back than calls are remembered is taken at its word", func(p *partition) {
			whole(p)
			p.pays("300")
			p.at("2026-03-03T10:00")
			p.forget()
			p.pays("-50", ofCharge("ref-1", "2026-03-03T10:00"))
			p.pays("-50", ofCharge("ref-1", "2026-03-02T10:00"))
		}, []string{"rejected CHARGE_NOT_COUNTED", "payment released 250/300 REFUND"}},
		{"what a class lets its subscribers take over again pushes nothing out", func(p *partition) {
			whole(p)
			p.pays("300")
			p.at("2026-03-02T10:00")
			p.forget()
			for range 17 {
				p.reapplies("gold")
			}
			p.pays("-50", ofCharge("ref-1", "2026-03-02T09:30"))
		}, []string{"rejected CHARGE_NOT_COUNTED"}},
		{"one that newer calls have pushed out is taken at its word", func(p *partition) {
			whole(p)
			p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("50")}, "command.charge")
			p.pays("250")
			p.at("2026-03-02T10:00")
			p.forget()
			for i := range int32(17) {
				p.commands(fmt.Sprintf("ref-a-%d", i), &controlv1.ChangeCommand{Option: data, State: turnedOn}, "command.change")
			}
			p.pays("-10", ofCharge("ref-2", "2026-03-02T10:01"))
			p.pays("-50", ofCharge("ref-1", "2026-03-02T09:00"))
		}, []string{"rejected CHARGE_NOT_COUNTED", "payment released 250/300 REFUND"}},
	})
}

// A caller's reference for the calls of a campaign once gave the events of two subscribers one id: a reader that drops repeats
// by id, as dispatchers of webhooks do, dropped the second subscriber's.
func TestCommands_UnderOneReferenceHaveOutcomesOfTheirOwn(t *testing.T) {
	p := newPartition(t)
	p.configures(full())
	p.activates()
	p.activates(as(newNumber))
	p.works()
	p.forget()
	for _, subject := range []string{msisdn, newNumber} {
		p.append(&event.Event{
			ID: "campaign", Source: ChangeSource, Type: TypeChange, Tenant: "acme", Subject: subject, Time: p.now,
			Data: &controlv1.ChangeCommand{Option: payment, State: off},
		})
	}
	p.works()
	subjects := map[string]string{}
	for _, r := range p.out {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := subjects[e.ID]; ok {
			t.Errorf("%s of %s and of %s have one id", e.Type, before, e.Subject)
		}
		subjects[e.ID] = e.Subject
	}
	if len(subjects) != 2 {
		t.Errorf("got %v", subjects)
	}
}

func TestCharge_UncountableIsDecidedByTheTenant(t *testing.T) {
	for _, allows := range []bool{false, true} {
		p := newPartition(t)
		if allows {
			p.tenant.OnUnknown = configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW
		}
		waits(p)
		p.activates()
		p.configures()
		p.works()
		charge := &event.Event{ID: "r", Source: ChargeSource, Type: TypeCharge, Tenant: "acme", Subject: msisdn, Time: p.now, Data: &controlv1.ChargeCommand{Amount: units("5")}}
		first := int64(len(p.Records))
		p.append(charge)
		outcomes := map[int64]*optionsv1.ChargeResponse{} // by offset: a batch may be worked more than once
		p.rules = witness{NewRules("safeguards"), func(j foldtest.Decision) {
			m, _ := j.Value.(*optionsv1.ChargeResponse)
			if refused, ok := errors.AsType[*RefusedCharge](j.Err); ok {
				m = refused.Answer
			}
			outcomes[j.Offset] = m
		}}
		p.works()
		p.configures(full())
		second := int64(len(p.Records))
		p.append(charge) // it was not counted: now it is
		p.works()
		if m := outcomes[first]; m.GetAllowed() != allows || m.GetRefusal() != ReasonUnknown || m.GetSpent() != nil {
			t.Errorf("got %v", m)
		}
		if m := outcomes[second]; !m.GetAllowed() || m.GetRefusal() != "" || amount(m.GetSpent()) != "5" {
			t.Errorf("got %v", m)
		}
	}
}

// A charge of a number whose usage waits for its activation is decided by the tenant too.
func TestCharge_OfANumberNotYetActivatedIsDecidedByTheTenant(t *testing.T) {
	for _, allows := range []bool{false, true} {
		p := newPartition(t)
		if allows {
			p.tenant.OnUnknown = configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW
		}
		waits(p)
		p.uses("1")
		p.works()
		var answer *optionsv1.ChargeResponse
		p.rules = witness{NewRules("safeguards"), func(j foldtest.Decision) {
			answer, _ = j.Value.(*optionsv1.ChargeResponse)
			if refused, ok := errors.AsType[*RefusedCharge](j.Err); ok {
				answer = refused.Answer
			}
		}}
		p.charges("5")
		p.works()
		if answer == nil || answer.GetAllowed() != allows || answer.GetRefusal() != ReasonUnknown || answer.GetSpent() != nil {
			t.Errorf("the tenant allows: %v; answered %v", allows, answer)
		}
	}
}

func TestUncountable_WhereUsageIsHeldOrTheClassIsGone(t *testing.T) {
	for name, test := range map[string]struct {
		sub  Subscriber
		want bool
	}{
		"a number that usage is held for":            {Subscriber{Life: LifePending}, true},
		"a terminated number that usage is held for": {Subscriber{Life: LifeTerminated, held: []heldEvent{{}}}, true},
		"a terminated number":                        {Subscriber{Life: LifeTerminated}, false},
		"a subscriber of a class that is gone":       {Subscriber{Class: "silver"}, true},
		"a subscriber":                               {Subscriber{Class: "gold"}, false},
	} {
		v := View{Tenant: "acme", MSISDN: msisdn, Exists: true, Subscriber: test.sub, Now: moment("2026-03-12T10:00")}
		if test.sub.Alive() {
			v.Under(catalogOf(t, 3, full()))
		}
		if v.Uncountable() != test.want {
			t.Errorf("%s: %t", name, v.Uncountable())
		}
	}
}
