package account

import (
	"fmt"
	"testing"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/profile"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// under begins with a subscriber whose class is a ready profile; outcomes until here are not looked at.
func under(p *partition, name string) {
	p.t.Helper()
	class, err := profile.Class(name)
	if err != nil {
		p.t.Fatal(err)
	}
	class.Name = gold().GetName()
	p.configures(class)
	p.activates()
	p.forget()
}

// costs is usage with its two prices in a currency.
func (p *partition) costs(usage *eventv1.UsageCharged, currency, net, gross string) {
	p.t.Helper()
	usage.Net, usage.Gross = in(currency, net), in(currency, gross)
	p.publishes("usage.charged", usage)
}

func in(currency, amount string) *money.Money {
	m := units(amount)
	m.CurrencyCode = currency
	return m
}

func (p *partition) chargesIn(currency, amount string) {
	p.t.Helper()
	p.events++
	p.commands(fmt.Sprintf("charge-%d", p.events), &controlv1.ChargeCommand{Amount: in(currency, amount)}, "command.charge")
}

func roaming() *eventv1.UsageCharged {
	return &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true}
}

func outside() *eventv1.UsageCharged {
	return &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_VOICE, OutOfBundle: true}
}

func bought() *eventv1.UsageCharged {
	return &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_CONTENT, ThirdParty: true}
}

func limitIn(currency, amount string) func(*controlv1.ChangeCommand) {
	return func(c *controlv1.ChangeCommand) { c.CurrentLimit = in(currency, amount) }
}

func TestProfiles_CountASubscriber(t *testing.T) {
	run(t, []story{
		{"EU roaming alerts at 40 EUR without VAT and blocks at 50", func(p *partition) {
			under(p, "eu-roaming")
			p.costs(roaming(), "EUR", "39.99", "47.59")
			p.costs(roaming(), "EUR", "0.01", "0.02")
			p.costs(roaming(), "EUR", "9.99", "11.89")
			p.costs(roaming(), "EUR", "0.01", "0.02")
		}, []string{"alert 80% at 40 40/50 USAGE", "reached 50/50 USAGE blocked"}},
		{"EU roaming leaves calls abroad and data at home alone", func(p *partition) {
			under(p, "eu-roaming")
			p.costs(&eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_VOICE, Roaming: true}, "EUR", "60", "72")
			p.costs(&eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA}, "EUR", "60", "72")
		}, []string{}},
		{"EU roaming alerts those who go on again at 100 EUR, once a month, and protects them in the next", func(p *partition) {
			under(p, "eu-roaming")
			p.costs(roaming(), "EUR", "50", "60")
			p.changes(data, to(offForMonth))
			p.costs(roaming(), "EUR", "49.99", "60")
			p.costs(roaming(), "EUR", "0.01", "0.02")
			p.costs(roaming(), "EUR", "100", "120")
			p.at("2026-04-01T00:00")
			p.ticks()
			p.costs(roaming(), "EUR", "50", "60")
		}, []string{
			"alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked", "opted_out temporarily-inactive 50/50 CHANGE",
			"released 50/50 CHANGE", "alert notice at 100 100/50 USAGE", "renewed 0/50 RENEWAL", "activated 0/50 RENEWAL",
			"alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked",
		}},
		{"EU roaming alerts again at 100 EUR those who opted out for good, too", func(p *partition) {
			under(p, "eu-roaming")
			p.changes(data, to(offForGood))
			p.costs(roaming(), "EUR", "250", "300")
		}, []string{"opted_out permanently-inactive 0/50 CHANGE", "alert notice at 100 250/50 USAGE"}},
		{"UK roaming alerts at 36 GBP with VAT and blocks at 45, and does not alert again", func(p *partition) {
			under(p, "uk-roaming")
			p.costs(roaming(), "GBP", "29.99", "35.99")
			p.costs(roaming(), "GBP", "0.01", "0.01")
			p.costs(roaming(), "GBP", "7.50", "9")
			p.changes(data, to(offForMonth))
			p.costs(roaming(), "GBP", "500", "600")
		}, []string{
			"alert 80% at 36 36/45 USAGE", "reached 45/45 USAGE blocked", "opted_out temporarily-inactive 45/45 CHANGE", "released 45/45 CHANGE",
		}},
		{"a UK month begins at midnight in London, also in summer", func(p *partition) {
			p.at("2026-06-20T12:00")
			under(p, "uk-roaming")
			p.costs(roaming(), "GBP", "37.5", "45")
			p.at("2026-06-30T22:59")
			p.ticks()
			p.forget()
			p.at("2026-06-30T23:00")
			p.ticks()
		}, []string{"renewed 0/45 RENEWAL", "released 0/45 RENEWAL"}},
		{"a UK bill limit is none until the customer sets it", func(p *partition) {
			under(p, "uk-bill-limit")
			p.costs(outside(), "GBP", "1000", "1200")
			p.changes(overspend, to(turnedOn))
		}, []string{"refused LIMIT_REQUIRED"}},
		{"a UK bill limit has outcomes when near and when reached, with VAT, and is passed only where the customer agrees", func(p *partition) {
			under(p, "uk-bill-limit")
			p.changes(overspend, limitIn("GBP", "20"), to(turnedOn))
			p.costs(outside(), "GBP", "13.33", "15.99")
			p.costs(outside(), "GBP", "0.01", "0.01")
			p.costs(outside(), "GBP", "3.33", "4")
			p.costs(outside(), "GBP", "3", "3.6")
			p.changes(overspend, limitIn("GBP", "30"))
		}, []string{
			"overspend limit_changed 0/20 CHANGE", "overspend activated 0/20 CHANGE", "overspend alert 80% at 16 16/20 USAGE",
			"overspend reached 20/20 USAGE blocked", "overspend limit_changed 23.6/30 CHANGE", "overspend released 23.6/30 CHANGE",
		}},
		{"UK payments are 40 GBP each and 240 a month, with VAT, and opting out is refused", func(p *partition) {
			under(p, "uk-psr")
			p.chargesIn("GBP", "40.01")
			for range 5 {
				p.chargesIn("GBP", "40")
			}
			p.changes(payment, to(off))
			p.costs(bought(), "GBP", "33.33", "39.99")
			p.chargesIn("GBP", "0.02")
			p.chargesIn("GBP", "0.01")
		}, []string{
			"payment alert 80% at 192 200/240 CHARGE", "payment reached 240/240 CHARGE blocked",
			"refused CARRIER_BILLING.UNAUTHORIZED_AMOUNT", "refused STATE_NOT_ELIGIBLE", "refused CARRIER_BILLING.USER_AMOUNT_THRESHOLD_OVERPASSED",
		}},
		{"EU payments are 50 EUR each and 300 a month, with VAT, and opting out is refused", func(p *partition) {
			under(p, "eu-psd2")
			p.chargesIn("EUR", "50.01")
			for range 5 {
				p.chargesIn("EUR", "50")
			}
			p.changes(payment, to(off))
			p.costs(bought(), "EUR", "41.66", "49.99")
			p.chargesIn("EUR", "0.02")
			p.chargesIn("EUR", "0.01")
		}, []string{
			"payment alert 80% at 240 250/300 CHARGE", "payment reached 300/300 CHARGE blocked",
			"refused CARRIER_BILLING.UNAUTHORIZED_AMOUNT", "refused STATE_NOT_ELIGIBLE", "refused CARRIER_BILLING.USER_AMOUNT_THRESHOLD_OVERPASSED",
		}},
	})
}
