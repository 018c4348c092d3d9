package account

import (
	"testing"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// noticeOf gives all options a second notice.
func noticeOf(amount string) func(*configv1.ClassOfService) {
	return func(c *configv1.ClassOfService) {
		c.DataSafeguard.SecondNotice, c.OverspendSafeguard.SecondNotice, c.PaymentSafeguard.SecondNotice = units(amount), units(amount), units(amount)
	}
}

func blocksInactive(c *configv1.ClassOfService) {
	c.OverspendSafeguard.InactivePolicy = configv1.InactivePolicy_INACTIVE_POLICY_BLOCK
}

func TestOptions_CountTheirOwn(t *testing.T) {
	run(t, []story{
		{"an activation begins each option in its default state, and publishes nothing of one that is off", func(p *partition) {
			p.configures(full())
			p.activates()
		}, []string{"activated 0/50 ACTIVATION", "payment activated 0/300 ACTIVATION"}},
		{"an overspend safeguard with a default limit begins active", func(p *partition) {
			p.configures(full(defaultLimit("20")))
			p.activates()
			p.overspends("20")
		}, []string{
			"activated 0/50 ACTIVATION", "overspend activated 0/20 ACTIVATION", "payment activated 0/300 ACTIVATION",
			"overspend alert 80% at 16 20/20 USAGE blocked", "overspend reached 20/20 USAGE blocked",
		}},
		{"inactive blocks from the start where the class has it so", func(p *partition) {
			p.configures(full(blocksInactive))
			p.activates()
		}, []string{"activated 0/50 ACTIVATION", "overspend reached 0/- ACTIVATION blocked", "payment activated 0/300 ACTIVATION"}},
		{"the class's word on what inactive means blocks and opens from the next event on", func(p *partition) {
			whole(p)
			p.configures(full(blocksInactive))
			p.uses("1")
			p.configures(full())
			p.uses("1")
		}, []string{"overspend reached 0/- CATALOG blocked", "overspend released 0/- CATALOG"}},
		{"a payment that comes as usage is counted whole, above the cap of one payment and the limit", func(p *partition) {
			whole(p)
			p.pays("310")
		}, []string{"payment alert 80% at 240 310/300 USAGE blocked", "payment reached 310/300 USAGE blocked", "payment overshoot by 10 310/300 USAGE blocked"}},
		{"an event that counts against two options has outcomes by option, each with alerts, reached and overshoot", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.uses("60", with(func(u *eventv1.UsageCharged) { u.OutOfBundle = true }))
		}, []string{
			"alert 80% at 40 60/50 USAGE blocked", "reached 60/50 USAGE blocked", "overshoot by 10 60/50 USAGE blocked",
			"overspend alert 80% at 16 60/20 USAGE blocked", "overspend reached 60/20 USAGE blocked", "overspend overshoot by 40 60/20 USAGE blocked",
		}},
		{"an event that one of two options can't count is counted by neither", func(p *partition) {
			whole(p, func(c *configv1.ClassOfService) {
				c.OverspendSafeguard.AmountBasis = configv1.AmountBasis_AMOUNT_BASIS_GROSS
			})
			p.uses("40", with(func(u *eventv1.UsageCharged) { u.OutOfBundle = true }))
			p.uses("39")
		}, []string{"rejected AMOUNT_MISSING"}},
		{"options may count in different currencies, and an event that is in scope of both is refused", func(p *partition) {
			whole(p, func(c *configv1.ClassOfService) { c.OverspendSafeguard.CurrencyCode = "GBP" })
			p.uses("50", with(func(u *eventv1.UsageCharged) { u.OutOfBundle = true }))
		}, []string{"rejected CURRENCY_MISMATCH"}},
		{"an option may count wholesale amounts, net or gross", func(p *partition) {
			whole(p, func(c *configv1.ClassOfService) {
				c.DataSafeguard.RatingBasis = configv1.RatingBasis_RATING_BASIS_WHOLESALE
				c.PaymentSafeguard.RatingBasis, c.PaymentSafeguard.AmountBasis = configv1.RatingBasis_RATING_BASIS_WHOLESALE, configv1.AmountBasis_AMOUNT_BASIS_GROSS
			})
			p.uses("1", with(func(u *eventv1.UsageCharged) {
				u.ThirdParty, u.WholesaleNet, u.WholesaleGross = true, units("50"), units("300")
			}))
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Gross = units("2") }))
		}, []string{
			"alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked",
			"payment alert 80% at 240 300/300 USAGE blocked", "payment reached 300/300 USAGE blocked", "rejected AMOUNT_MISSING",
		}},
		{"a refund counts against all options that its usage counted against", func(p *partition) {
			whole(p, defaultLimit("20"))
			both := with(func(u *eventv1.UsageCharged) { u.OutOfBundle = true })
			p.uses("60", both)
			p.forget()
			p.uses("-45", both, corrects("2026-03-02T09:00"))
		}, []string{"released 15/50 REFUND", "overspend released 15/20 REFUND"}},
		{"a barred event counts against none", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.uses("60", with(func(u *eventv1.UsageCharged) { u.OutOfBundle, u.ThirdParty, u.Blocked = true, true, true }))
		}, []string{}},
		{"options renew at their own days, and the same day in their order", func(p *partition) {
			p.configures(full(func(c *configv1.ClassOfService) { c.OverspendSafeguard.RenewalDay = 15 }))
			p.activates()
			p.forget()
			p.at("2026-04-01T00:00")
			p.ticks()
		}, []string{"overspend renewed 0/- RENEWAL", "renewed 0/50 RENEWAL", "payment renewed 0/300 RENEWAL"}},
		{"an event may be late for one option and of the running period for another", func(p *partition) {
			p.configures(full(defaultLimit("20"), func(c *configv1.ClassOfService) { c.OverspendSafeguard.RenewalDay = 15 }))
			p.activates()
			p.at("2026-04-02T09:00")
			p.ticks()
			p.forget()
			p.uses("16", on("2026-03-30T09:00"), with(func(u *eventv1.UsageCharged) { u.OutOfBundle = true }))
			p.at("2026-04-02T10:00")
			p.ticks()
		}, []string{"overspend alert 80% at 16 16/20 USAGE", "late 16 of 2026-03-01T00:00 0/50 USAGE"}},
		{"a second notice has one outcome a period, in every state, with the alerts by its amount", func(p *partition) {
			whole(p, noticeOf("45"))
			p.uses("60")
			p.uses("60")
			p.overspends("45")
			p.at("2026-04-01T00:00")
			p.overspends("100")
		}, []string{
			"alert 80% at 40 60/50 USAGE blocked", "alert notice at 45 60/50 USAGE blocked", "reached 60/50 USAGE blocked", "overshoot by 10 60/50 USAGE blocked",
			"overspend alert notice at 45 45/- USAGE",
			"renewed 0/50 RENEWAL", "released 0/50 RENEWAL", "overspend renewed 0/- RENEWAL", "payment renewed 0/300 RENEWAL",
			"overspend alert notice at 45 100/- USAGE",
		}},
		{"a second notice after a refund has no outcome again", func(p *partition) {
			whole(p, noticeOf("100"))
			p.uses("100")
			p.forget()
			p.uses("-60", corrects("2026-03-02T09:00"))
			p.uses("60")
		}, []string{"released 40/50 REFUND", "reached 100/50 USAGE blocked", "overshoot by 50 100/50 USAGE blocked"}},
		{"usage older than ids are remembered is counted unless the tenant rejects it", func(p *partition) {
			whole(p)
			p.at("2026-03-04T09:00")
			p.uses("40", on("2026-03-03T08:59"))
			p.tenant.TooLateToDeduplicate = configv1.TooLateToDeduplicate_TOO_LATE_TO_DEDUPLICATE_REJECT
			p.configures(full())
			p.uses("10", on("2026-03-03T08:59"))
			p.uses("10", on("2026-03-03T09:00"))
		}, []string{"alert 80% at 40 40/50 USAGE", "rejected TOO_LATE_TO_DEDUPLICATE", "reached 50/50 USAGE blocked"}},
	})
}

func TestAmounts_AtAndPastWhatCanBeCounted(t *testing.T) {
	most := &money.Money{CurrencyCode: "EUR", Units: 9223372036, Nanos: 854775807}
	run(t, []story{
		{"the highest amount there is can be spent, and a billionth more can't", func(p *partition) {
			active(p, limit("9000000000"))
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Net = most }))
			p.uses("0.000000001")
		}, []string{
			"alert 80% at 7200000000 9223372036.854775807/9000000000 USAGE blocked", "reached 9223372036.854775807/9000000000 USAGE blocked",
			"overshoot by 223372036.854775807 9223372036.854775807/9000000000 USAGE blocked", "rejected AMOUNT_INVALID",
		}},
		{"an amount past what can be counted is refused", func(p *partition) {
			active(p)
			p.uses("1", with(func(u *eventv1.UsageCharged) {
				u.Net = &money.Money{CurrencyCode: "EUR", Units: 9223372036, Nanos: 854775808}
			}))
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Net = &money.Money{CurrencyCode: "EUR", Units: 1 << 62} }))
			p.uses("1", corrects("2026-03-02T09:00"), with(func(u *eventv1.UsageCharged) { u.Net = &money.Money{CurrencyCode: "EUR", Units: -1 << 63} }))
		}, []string{"rejected AMOUNT_INVALID", "rejected AMOUNT_INVALID", "rejected AMOUNT_INVALID"}},
	})
}

func TestInitialOptions_AreThoseOfAnotherSystem(t *testing.T) {
	migrated := func(p *partition, options ...*eventv1.InitialOption) {
		p.publishes("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold", Options: options})
	}
	over := func(edit func(*eventv1.InitialOption)) *eventv1.InitialOption {
		o := &eventv1.InitialOption{Option: overspend}
		edit(o)
		return o
	}
	run(t, []story{
		{"state, day, limits and spend are taken over, and what lies behind has no outcome again", func(p *partition) {
			p.configures(full(noticeOf("17")))
			migrated(p,
				&eventv1.InitialOption{Option: data, State: offForMonth, Spent: units("70")},
				over(func(o *eventv1.InitialOption) {
					o.State, o.RenewalDay, o.CurrentLimit, o.NextLimit, o.Spent = turnedOn, 15, units("20"), units("30"), units("17")
				}),
				&eventv1.InitialOption{Option: payment, Spent: units("300")},
			)
			p.overspends("3")
			p.at("2026-03-15T00:00")
			p.ticks()
		}, []string{
			"opted_out temporarily-inactive 70/50 ACTIVATION", "overspend activated 17/20 next 30 ACTIVATION",
			"payment activated 300/300 ACTIVATION blocked", "payment reached 300/300 ACTIVATION blocked",
			"overspend reached 20/20 next 30 USAGE blocked",
			"overspend limit_changed 0/30 RENEWAL", "overspend renewed 0/30 RENEWAL", "overspend released 0/30 RENEWAL",
		}},
		{"an active overspend safeguard needs a limit", func(p *partition) {
			p.configures(full())
			migrated(p, over(func(o *eventv1.InitialOption) { o.State = turnedOn }))
		}, []string{"rejected LIMIT_REQUIRED"}},
		{"a renewal day that not every month has", func(p *partition) {
			p.configures(full())
			migrated(p, over(func(o *eventv1.InitialOption) { o.RenewalDay = 29 }))
		}, []string{"rejected RENEWAL_DAY_OUT_OF_RANGE"}},
		{"an amount in another currency", func(p *partition) {
			p.configures(full())
			migrated(p, over(func(o *eventv1.InitialOption) { o.CurrentLimit = &money.Money{CurrencyCode: "GBP", Units: 1} }))
		}, []string{"rejected CURRENCY_MISMATCH"}},
		{"a spend below 0", func(p *partition) {
			p.configures(full())
			migrated(p, over(func(o *eventv1.InitialOption) { o.Spent = units("-1") }))
		}, []string{"rejected AMOUNT_INVALID"}},
		{"a state that the option has not", func(p *partition) {
			p.configures(full())
			migrated(p, over(func(o *eventv1.InitialOption) { o.State = offForMonth }))
		}, []string{"rejected STATE_NOT_ELIGIBLE"}},
		{"an option that the class does not offer", func(p *partition) {
			p.configures(gold())
			migrated(p, over(func(*eventv1.InitialOption) {}))
		}, []string{"rejected OPTION_NOT_OFFERED"}},
		{"an option named twice, or none, and a limit that is the class's", func(p *partition) {
			p.configures(full())
			migrated(p, over(func(*eventv1.InitialOption) {}), over(func(*eventv1.InitialOption) {}))
			migrated(p, &eventv1.InitialOption{})
			migrated(p, &eventv1.InitialOption{Option: data, CurrentLimit: units("1")})
		}, []string{"rejected EVENT_INVALID", "rejected EVENT_INVALID", "rejected EVENT_INVALID"}},
		{"several faults of several kinds", func(p *partition) {
			p.configures(full())
			migrated(p, over(func(o *eventv1.InitialOption) { o.RenewalDay, o.Spent = 31, units("-1") }))
		}, []string{"rejected EVENT_INVALID"}},
	})
}

func TestOutcomes_HaveTheContactOfTheSubscriber(t *testing.T) {
	p := newPartition(t)
	p.configures(full())
	contact := &eventv1.Contact{Name: "Ada", Email: "ada@example.com", Phone: "447700900123"}
	p.publishes("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold", Language: "cy", Contact: contact})
	p.uses("50")
	p.at("2026-04-01T00:00")
	p.terminates()
	p.activates()
	p.works()
	with, without := 0, 0
	for _, r := range p.out {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		switch d := e.Data.(*eventv1.Safeguard); {
		case d.GetContact().GetEmail() == "ada@example.com" && d.GetLanguage() == "cy":
			with++
		case d.GetContact() == nil && d.GetLanguage() == "en":
			without++
		default:
			t.Errorf("%s has %v in %q", line(t, r), d.GetContact(), d.GetLanguage())
		}
	}
	// Two begin, an alert, a block, three renewals, its release, two end; then two of another subscriber begin.
	if with != 10 || without != 2 {
		t.Errorf("%d outcomes with the contact, %d without: %q", with, without, p.published())
	}
}
