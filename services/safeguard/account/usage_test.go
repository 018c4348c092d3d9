package account

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestUsage_CountedAgainstTheLimit(t *testing.T) {
	run(t, []story{
		{"an activation begins an active safeguard", func(p *partition) {
			p.configures(gold())
			p.activates()
		}, []string{"activated 0/50 ACTIVATION"}},
		{"usage below every threshold publishes nothing", func(p *partition) {
			active(p)
			p.uses("39.999999999")
		}, []string{}},
		{"the threshold is crossed at exactly its amount", func(p *partition) {
			active(p)
			p.uses("39.99")
			p.uses("0.01")
		}, []string{"alert 80% at 40 40/50 USAGE"}},
		{"exactly at the limit is reached, without overshoot", func(p *partition) {
			active(p)
			p.uses("40")
			p.uses("10")
		}, []string{"alert 80% at 40 40/50 USAGE", "reached 50/50 USAGE blocked"}},
		{"a billionth below the limit is not reached", func(p *partition) {
			active(p)
			p.uses("49.999999999")
		}, []string{"alert 80% at 40 49.999999999/50 USAGE"}},
		{"one event over everything publishes all of it, alerts ascending, then reached, then overshoot", func(p *partition) {
			active(p, thresholds("100%", "30", "80%"))
			p.uses("52.5")
		}, []string{
			"alert at 30 52.5/50 USAGE blocked", "alert 80% at 40 52.5/50 USAGE blocked", "alert 100% at 50 52.5/50 USAGE blocked",
			"reached 52.5/50 USAGE blocked", "overshoot by 2.5 52.5/50 USAGE blocked",
		}},
		{"usage after the limit is counted and not published again", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.uses("3")
		}, []string{}},
		{"a threshold above the limit alerts on spend that goes on", func(p *partition) {
			active(p, thresholds("200%"))
			p.uses("50")
			p.uses("50")
		}, []string{"reached 50/50 USAGE blocked", "alert 200% at 100 100/50 USAGE blocked"}},
		{"a limit of 0 blocks from the start", func(p *partition) {
			p.configures(gold(limit("0"), thresholds("10")))
			p.activates()
			p.uses("1")
		}, []string{"activated 0/0 ACTIVATION blocked", "reached 0/0 ACTIVATION blocked"}},
		{"the same event at another offset counts once", func(p *partition) {
			active(p)
			e := p.uses("25")
			p.append(e, e)
			p.uses("14")
		}, []string{}},
		{"another event under a used id is refused", func(p *partition) {
			active(p)
			e := *p.uses("25")
			e.Data = &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: units("26")}
			p.append(&e)
		}, []string{"rejected ID_REUSED"}},
		{"usage at home, or of another kind, is out of scope", func(p *partition) {
			active(p)
			p.uses("100", with(func(u *eventv1.UsageCharged) { u.Roaming = false }))
			p.uses("100", with(func(u *eventv1.UsageCharged) { u.Category = eventv1.UsageCharged_CATEGORY_VOICE }))
		}, []string{}},
		{"out of scope, an amount that is missing or foreign is ignored", func(p *partition) {
			active(p)
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Roaming, u.Net = false, nil }))
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Roaming, u.Net.CurrencyCode = false, "GBP" }))
		}, []string{}},
		{"a class may count something else", func(p *partition) {
			active(p, func(o *configv1.DataSafeguardOption) {
				o.Scope = "usage.category == DATA && usage.visited_country == 'CH'"
			})
			p.uses("100")
			p.uses("50", with(func(u *eventv1.UsageCharged) { u.VisitedCountry = "CH" }))
		}, []string{"alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked"}},
		{"a class may count gross amounts", func(p *partition) {
			active(p, func(o *configv1.DataSafeguardOption) { o.AmountBasis = configv1.AmountBasis_AMOUNT_BASIS_GROSS })
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Gross = units("50") }))
		}, []string{"alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked"}},
		{"a barred service is recorded only", func(p *partition) {
			active(p)
			p.uses("100", with(func(u *eventv1.UsageCharged) { u.Blocked = true }))
		}, []string{}},
		{"other events pass", func(p *partition) {
			active(p)
			p.publishes("subscriber.suspended", &eventv1.SubscriberStatusChanged{})
			p.publishes("subscriber.roaming_changed", &eventv1.SubscriberRoamingChanged{Roaming: true})
		}, []string{}},
		{"a class without the option counts nothing", func(p *partition) {
			p.configures(bare())
			p.activates()
			p.uses("1000")
		}, []string{}},
	})
}

func TestUsage_RejectedWithItsReason(t *testing.T) {
	run(t, []story{
		{"usage of a number without a subscriber", func(p *partition) {
			p.configures(gold())
			p.uses("1")
		}, []string{"rejected SUBSCRIBER_UNKNOWN"}},
		{"usage in another currency", func(p *partition) {
			active(p)
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Net.CurrencyCode = "GBP" }))
		}, []string{"rejected CURRENCY_MISMATCH"}},
		{"usage without the amount that is counted", func(p *partition) {
			active(p)
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Net, u.Gross = nil, units("1") }))
		}, []string{"rejected AMOUNT_MISSING"}},
		{"a negative amount that corrects nothing", func(p *partition) {
			active(p)
			p.uses("-1")
		}, []string{"rejected CORRECTS_MISSING"}},
		{"a sum that is more than can be counted", func(p *partition) {
			active(p, limit("9000000000"))
			p.uses("5000000000")
			p.uses("5000000000")
		}, []string{"rejected AMOUNT_INVALID"}},
		{"an amount whose parts disagree", func(p *partition) {
			active(p)
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Net.Nanos = -1 }))
		}, []string{"rejected AMOUNT_INVALID"}},
		{"usage from before the activation", func(p *partition) {
			active(p)
			p.uses("1", on("2026-03-02T08:59"))
		}, []string{"rejected BEFORE_ACTIVATION"}},
		{"a refund for usage from before the activation", func(p *partition) {
			active(p)
			p.uses("-1", corrects("2026-03-02T08:59"))
		}, []string{"rejected BEFORE_ACTIVATION"}},
		{"an activation under a class that the tenant has not", func(p *partition) {
			p.configures()
			p.activates()
			p.uses("1")
		}, []string{"rejected CLASS_OF_SERVICE_UNKNOWN", "rejected SUBSCRIBER_UNKNOWN"}},
		{"an activation before there is any configuration", func(p *partition) {
			p.activates()
		}, []string{"rejected CLASS_OF_SERVICE_UNKNOWN"}},
		{"a second activation of an active number", func(p *partition) {
			active(p)
			p.activates()
		}, []string{"rejected ALREADY_ACTIVE"}},
		{"an activation that would not fit a record", func(p *partition) {
			p.configures(gold())
			p.publishes("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold", Imsi: "not digits"})
		}, []string{"rejected EVENT_INVALID"}},
		{"usage under a scope that cannot be read", func(p *partition) {
			active(p, func(o *configv1.DataSafeguardOption) { o.Scope = "usage.colour" })
			p.uses("1")
		}, []string{"rejected SCOPE_INVALID"}},
		{"usage for which the scope fails", func(p *partition) {
			active(p, func(o *configv1.DataSafeguardOption) { o.Scope = "1 / usage.quantity > 0" })
			p.uses("1")
			p.uses("50", with(func(u *eventv1.UsageCharged) { u.Quantity = 1 }))
		}, []string{"rejected SCOPE_INVALID", "alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked"}},
		{"usage of a class that was deleted, which counts on once it is back", func(p *partition) {
			active(p)
			p.uses("30")
			p.configures()
			p.uses("10")
			p.configures(gold())
			p.uses("10")
		}, []string{"rejected CLASS_OF_SERVICE_UNKNOWN", "alert 80% at 40 40/50 USAGE"}},
		{"a refused event leaves nothing behind, not even a new limit", func(p *partition) {
			active(p)
			p.uses("30")
			p.configures(gold(limit("20")))
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Net.CurrencyCode = "GBP" }))
			p.uses("1")
		}, []string{"rejected CURRENCY_MISMATCH", "limit_changed 30/20 CATALOG blocked", "reached 30/20 CATALOG blocked"}},
	})
}

func TestUsage_RejectedMayCountWhenSentAgain(t *testing.T) {
	p := newPartition(t)
	p.configures(gold())
	e := p.uses("50")
	p.activates(on("2026-03-02T08:00"))
	p.append(e)
	want := []string{"rejected SUBSCRIBER_UNKNOWN", "activated 0/50 ACTIVATION", "alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked"}
	if diff := cmp.Diff(want, p.published()); diff != "" {
		t.Error(diff)
	}
}

func TestRefund_GivesRoomBack(t *testing.T) {
	run(t, []story{
		{"a refund that leads below the limit releases", func(p *partition) {
			active(p)
			p.uses("51")
			p.forget()
			p.uses("-1", corrects("2026-03-02T09:00"))
			p.uses("-1", corrects("2026-03-02T09:00"))
		}, []string{"released 49/50 REFUND"}},
		{"what had its outcome has none again after a refund", func(p *partition) {
			active(p)
			p.uses("45")
			p.uses("-20", corrects("2026-03-02T09:00"))
			p.forget()
			p.uses("20")
		}, []string{}},
		{"the limit itself is reached again after a release", func(p *partition) {
			active(p)
			p.uses("50")
			p.uses("-20", corrects("2026-03-02T09:00"))
			p.forget()
			p.uses("20")
		}, []string{"reached 50/50 USAGE blocked"}},
		{"a refund of more than was spent ends at 0, and its rest has an outcome", func(p *partition) {
			active(p)
			p.uses("5")
			p.uses("-7", corrects("2026-03-02T09:00"))
			p.at("2026-03-02T10:30")
			p.uses("39.99")
		}, []string{"late -2 of 2026-03-01T00:00 0/50 REFUND"}},
		{"a refund for an earlier period gives no room", func(p *partition) {
			active(p)
			p.at("2026-04-03T00:00")
			p.uses("50")
			p.forget()
			p.uses("-20", corrects("2026-03-15T00:00"))
			p.at("2026-04-03T02:00")
			p.ticks()
		}, []string{"late -20 of 2026-03-01T00:00 50/50 REFUND blocked"}},
		{"a refund in the next period for usage of this one is late as well", func(p *partition) {
			active(p)
			p.uses("50")
			p.at("2026-04-01T00:00")
			p.uses("-1", corrects("2026-03-31T23:59"))
			p.at("2026-04-01T01:00")
			p.ticks()
		}, []string{
			"alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked", "renewed 0/50 RENEWAL", "released 0/50 RENEWAL",
			"late -1 of 2026-03-01T00:00 0/50 REFUND",
		}},
	})
}

// Usage that is turned away leaves its subscriber as it was, to the byte.
func TestUsage_RejectedChangesNothing(t *testing.T) {
	for name, e := range map[string]func(*partition){
		"a refund without corrects":     func(p *partition) { p.uses("-5") },
		"no net amount":                 func(p *partition) { p.uses("5", with(func(u *eventv1.UsageCharged) { u.Net = nil })) },
		"another currency":              func(p *partition) { p.uses("5", with(func(u *eventv1.UsageCharged) { u.Net.CurrencyCode = "GBP" })) },
		"from before the activation":    func(p *partition) { p.uses("5", on("2026-03-02T08:59")) },
		"an amount past int64 nanos":    func(p *partition) { p.uses("5", with(func(u *eventv1.UsageCharged) { u.Net.Units = 1 << 40 })) },
		"nanos of another sign":         func(p *partition) { p.uses("5", with(func(u *eventv1.UsageCharged) { u.Net.Nanos = -1 })) },
		"an id used for something else": func(p *partition) { p.uses("6", func(e *event.Event) { e.ID = "used" }) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t)
			whole(p)
			p.uses("7", func(e *event.Event) { e.ID = "used" })
			p.overspends("3")
			p.pays("2")
			p.works()
			before, _ := p.record()
			p.forget()
			e(p)
			p.works()
			after, _ := p.record()
			if diff := cmp.Diff(before, after, compareRecords); diff != "" {
				t.Error(diff)
			}
			if len(p.out) != 1 || p.out[0].Topic != "rejected" {
				t.Errorf("%d records were published", len(p.out))
			}
		})
	}
}

// One id and source for several subscribers are as many events: each is counted, and what follows bears ids of its own.
func TestUsage_OneIDOfSeveralSubscribersCountsForEach(t *testing.T) {
	p := newPartition(t)
	p.configures(gold())
	numbers := []string{"447700900201", "447700900202", "447700900203", "447700900204"}
	for _, n := range numbers {
		p.activates(as(n))
	}
	p.forget()
	one := func(e *event.Event) { e.ID = "cdr-1" }
	for _, n := range numbers {
		e := p.uses("52", as(n), one)
		p.append(e) // a repeat of each is known
	}
	p.works()
	outcomes, ids := map[string]int{}, map[string]bool{}
	for _, r := range p.out {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		outcomes[e.Subject+" "+e.Type]++
		ids[e.ID] = true
	}
	for _, n := range numbers {
		for _, kind := range []string{"alert", "reached", "overshoot"} {
			if outcomes[n+" safeguard."+kind] != 1 {
				t.Errorf("%s was published %d times for %s", kind, outcomes[n+" safeguard."+kind], n)
			}
		}
	}
	if len(ids) != len(p.out) {
		t.Errorf("%d events bear %d ids", len(p.out), len(ids))
	}
}
