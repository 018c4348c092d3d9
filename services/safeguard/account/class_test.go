package account

import (
	"testing"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// silver is another class.
func silver(edits ...func(*configv1.ClassOfService)) *configv1.ClassOfService {
	c := full(edits...)
	c.Name = "tenants/acme/classesOfService/silver"
	return c
}

// dataLimit changes the data safeguard of a class.
func dataLimit(amount string) func(*configv1.ClassOfService) {
	return func(c *configv1.ClassOfService) { c.DataSafeguard.Limit = units(amount) }
}

// inPounds makes a class count in another currency.
func inPounds(c *configv1.ClassOfService) {
	for _, m := range []*money.Money{c.GetDataSafeguard().GetLimit(), c.GetPaymentSafeguard().GetLimit(), c.GetPaymentSafeguard().GetPerPaymentLimit(), c.GetOverspendSafeguard().GetDefaultLimit()} {
		if m != nil {
			m.CurrencyCode = "GBP"
		}
	}
	c.OverspendSafeguard.CurrencyCode = "GBP"
}

func (p *partition) reclasses(class string, edits ...func(*event.Event)) *event.Event {
	p.t.Helper()
	return p.publishes("subscriber.cos_changed", &eventv1.SubscriberClassOfServiceChanged{ClassOfService: class}, edits...)
}

func TestClass_Changed(t *testing.T) {
	run(t, []story{
		{"spend, peak and period stay, and the new limit holds at once", func(p *partition) {
			p.configures(full(), silver(dataLimit("40")))
			p.activates()
			p.uses("40")
			p.forget()
			p.reclasses("silver")
		}, []string{"limit_changed 40/40 CLASS_OF_SERVICE blocked", "reached 40/40 CLASS_OF_SERVICE blocked"}},
		{"a higher limit releases", func(p *partition) {
			p.configures(full(), silver(dataLimit("100")))
			p.activates()
			p.uses("50")
			p.forget()
			p.reclasses("silver")
			p.uses("30")
		}, []string{"limit_changed 50/100 CLASS_OF_SERVICE", "released 50/100 CLASS_OF_SERVICE", "alert 80% at 80 80/100 USAGE"}},
		{"zone and renewal day follow at the next period", func(p *partition) {
			p.configures(full(), silver(func(c *configv1.ClassOfService) { renews("Europe/Berlin", 15)(c.DataSafeguard) }))
			p.activates()
			p.forget()
			p.reclasses("silver")
			p.at("2026-04-01T00:00")
			p.ticks()
			p.at("2026-04-14T21:59")
			p.uses("40")
			p.at("2026-04-14T22:00")
			p.uses("40")
		}, []string{
			"renewed 0/50 RENEWAL", "overspend renewed 0/- RENEWAL", "payment renewed 0/300 RENEWAL",
			"alert 80% at 40 40/50 USAGE", "renewed 0/50 RENEWAL", "alert 80% at 40 40/50 USAGE",
		}},
		{"an option that is not offered there is not blocked", func(p *partition) {
			p.configures(full(), silver(func(c *configv1.ClassOfService) { c.DataSafeguard = nil }))
			p.activates()
			p.uses("50")
			p.forget()
			p.reclasses("silver")
			p.uses("50")
		}, []string{"released 50/50 CLASS_OF_SERVICE", "deactivated 50/50 CLASS_OF_SERVICE"}},
		{"back in the same period it goes on from the true figure", func(p *partition) {
			p.configures(full(), silver(func(c *configv1.ClassOfService) { c.DataSafeguard = nil }))
			p.activates()
			p.uses("50")
			p.forget()
			p.reclasses("silver")
			p.uses("50")
			p.reclasses("gold")
			p.uses("1")
		}, []string{
			"released 50/50 CLASS_OF_SERVICE", "deactivated 50/50 CLASS_OF_SERVICE",
			"activated 50/50 CLASS_OF_SERVICE blocked", "reached 50/50 CLASS_OF_SERVICE blocked",
		}},
		{"back in a later period it begins anew", func(p *partition) {
			p.configures(full(), silver(func(c *configv1.ClassOfService) {
				c.DataSafeguard, c.PaymentSafeguard, c.OverspendSafeguard = nil, nil, nil
			}))
			p.activates()
			p.uses("50")
			p.forget()
			p.reclasses("silver")
			p.at("2026-04-01T00:00")
			p.ticks()
			p.reclasses("gold")
		}, []string{
			"released 50/50 CLASS_OF_SERVICE", "deactivated 50/50 CLASS_OF_SERVICE", "payment deactivated 0/300 CLASS_OF_SERVICE",
			"activated 0/50 CLASS_OF_SERVICE", "payment activated 0/300 CLASS_OF_SERVICE",
		}},
		{"an option that only the new class offers begins", func(p *partition) {
			p.configures(gold(), silver(defaultLimit("20")))
			p.activates()
			p.uses("30")
			p.reclasses("silver")
		}, []string{"activated 0/50 ACTIVATION", "overspend activated 0/20 CLASS_OF_SERVICE", "payment activated 0/300 CLASS_OF_SERVICE"}},
		{"a limit of its own goes along", func(p *partition) {
			p.configures(full(defaultLimit("20")), silver(defaultLimit("30")))
			p.activates()
			p.changes(overspend, currentLimit("25"))
			p.forget()
			p.reclasses("silver")
		}, []string{}},
		{"in another currency spend begins at 0, and the renewal has the reason", func(p *partition) {
			p.configures(full(defaultLimit("20")), silver(defaultLimit("15"), inPounds))
			p.activates()
			p.uses("50")
			p.overspends("5")
			p.changes(overspend, currentLimit("25"), nextLimit("30"))
			p.forget()
			p.reclasses("silver")
			p.uses("40", with(func(u *eventv1.UsageCharged) { u.Net.CurrencyCode = "GBP" }))
			p.uses("1")
		}, []string{
			"limit_changed 0/50 CLASS_OF_SERVICE", "renewed 0/50 COS_CURRENCY", "released 0/50 CLASS_OF_SERVICE",
			"overspend limit_changed 0/15 CLASS_OF_SERVICE", "overspend renewed 0/15 COS_CURRENCY",
			"payment limit_changed 0/300 CLASS_OF_SERVICE", "payment renewed 0/300 COS_CURRENCY",
			"alert 80% at 40 40/50 USAGE", "rejected CURRENCY_MISMATCH",
		}},
		{"in another currency without a default limit an overspend safeguard is off", func(p *partition) {
			p.configures(full(defaultLimit("20")), silver(inPounds))
			p.activates()
			p.overspends("20")
			p.forget()
			p.reclasses("silver")
		}, []string{
			"limit_changed 0/50 CLASS_OF_SERVICE", "renewed 0/50 COS_CURRENCY",
			"overspend limit_changed 0/- CLASS_OF_SERVICE", "overspend renewed 0/- COS_CURRENCY", "overspend deactivated 0/- CLASS_OF_SERVICE",
			"overspend released 0/- CLASS_OF_SERVICE",
			"payment limit_changed 0/300 CLASS_OF_SERVICE", "payment renewed 0/300 COS_CURRENCY",
		}},
		{"the same class again changes nothing", func(p *partition) {
			whole(p)
			p.uses("30")
			p.reclasses("gold")
		}, []string{}},
		{"a class that the tenant has not is refused", func(p *partition) {
			whole(p)
			p.reclasses("platinum")
			p.uses("40")
		}, []string{"rejected CLASS_OF_SERVICE_UNKNOWN", "alert 80% at 40 40/50 USAGE"}},
		{"a change from before the last event of the life is stale", func(p *partition) {
			p.configures(full(), silver(dataLimit("100")))
			p.activates()
			p.at("2026-03-02T10:00")
			p.forget()
			p.reclasses("silver", on("2026-03-02T08:59"))
			p.reclasses("silver")
			p.reclasses("gold", on("2026-03-02T09:30"))
		}, []string{"rejected STALE", "limit_changed 0/100 CLASS_OF_SERVICE", "rejected STALE"}},
	})
}

func TestLife_IsRecorded(t *testing.T) {
	p := newPartition(t)
	whole(p)
	p.at("2026-03-02T10:00")
	p.publishes("subscriber.suspended", &eventv1.SubscriberStatusChanged{})
	p.publishes("subscriber.sim_swapped", &eventv1.SubscriberSimSwapped{OldImsi: "234150999999999", NewImsi: "234150888888888"})
	p.publishes("subscriber.sim_swapped", &eventv1.SubscriberSimSwapped{NewImsi: "none"})
	p.uses("50")
	p.works()
	s, _ := p.record()
	if !s.Suspended || s.IMSI != "234150888888888" || !s.latest.Equal(p.now) || !s.Activated.Equal(moment("2026-03-02T09:00")) {
		t.Errorf("%+v", s)
	}
	p.publishes("subscriber.resumed", &eventv1.SubscriberStatusChanged{})
	p.publishes("subscriber.suspended", &eventv1.SubscriberStatusChanged{}, on("2026-03-02T09:59"))
	// Counting and blocking have gone on, under the new IMSI.
	outcomes := p.published()
	want := []string{"rejected EVENT_INVALID", "alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked", "rejected STALE"}
	if len(outcomes) != len(want) {
		t.Fatalf("got %q", outcomes)
	}
	for i := range want {
		if outcomes[i] != want[i] {
			t.Errorf("got %q, want %q", outcomes[i], want[i])
		}
	}
	if s, _ = p.record(); s.Suspended {
		t.Error("still suspended")
	}
	if e, err := event.Decode(p.out[1].Value); err != nil || e.Data.(*eventv1.Safeguard).GetImsi() != "234150888888888" {
		t.Errorf("published %v, %v", e, err)
	}
}
