package safeguard

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// story is what happens to one subscriber, and what is said about it.
type story struct {
	name  string
	tells func(p *partition)
	want  []string
}

// run works each story twice, in batches of any size and of one record: that leaves no trace.
func run(t *testing.T, stories []story) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			for _, fetch := range []int{1000, 1} {
				p := newPartition(t)
				p.fetch = fetch
				s.tells(p)
				if diff := cmp.Diff(s.want, p.told()); diff != "" {
					t.Errorf("in batches of %d:\n%s", fetch, diff)
				}
			}
		})
	}
}

// active begins with a subscriber of class gold; what was told until here is not looked at.
func active(p *partition, edits ...func(*configv1.DataSafeguardOption)) {
	p.configures(gold(edits...))
	p.activates()
	p.forget()
}

func TestUsageIsCountedAgainstTheLimit(t *testing.T) {
	run(t, []story{
		{"an activation begins an active safeguard", func(p *partition) {
			p.configures(gold())
			p.activates()
		}, []string{"activated 0/50 ACTIVATION"}},
		{"usage below every threshold says nothing", func(p *partition) {
			active(p)
			p.uses("39.999999999")
		}, []string{}},
		{"the threshold is told at exactly its amount", func(p *partition) {
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
		{"one event over everything tells all of it, alerts ascending, then reached, then overshoot", func(p *partition) {
			active(p, thresholds("100%", "30", "80%"))
			p.uses("52.5")
		}, []string{
			"alert at 30 52.5/50 USAGE blocked", "alert 80% at 40 52.5/50 USAGE blocked", "alert 100% at 50 52.5/50 USAGE blocked",
			"reached 52.5/50 USAGE blocked", "overshoot by 2.5 52.5/50 USAGE blocked",
		}},
		{"usage after the limit is counted and said no more", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.uses("3")
		}, []string{}},
		{"a threshold above the limit tells of spend that goes on", func(p *partition) {
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
		{"out of scope, an amount that is missing or foreign troubles nobody", func(p *partition) {
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
			p.says("subscriber.suspended", &eventv1.SubscriberStatusChanged{})
			p.says("subscriber.roaming_changed", &eventv1.SubscriberRoamingChanged{Roaming: true})
		}, []string{}},
		{"a class without the option counts nothing", func(p *partition) {
			p.configures(bare())
			p.activates()
			p.uses("1000")
		}, []string{}},
	})
}

func TestWhatCannotBeCountedIsRefusedWithItsReason(t *testing.T) {
	run(t, []story{
		{"usage of a number that nobody has", func(p *partition) {
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
			p.says("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold", Imsi: "not digits"})
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

func TestARefusedEventMaySucceedWhenItIsSentAgain(t *testing.T) {
	p := newPartition(t)
	p.configures(gold())
	e := p.uses("50")
	p.activates(on("2026-03-02T08:00"))
	p.append(e)
	want := []string{"rejected SUBSCRIBER_UNKNOWN", "activated 0/50 ACTIVATION", "alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked"}
	if diff := cmp.Diff(want, p.told()); diff != "" {
		t.Error(diff)
	}
}

func TestRefundsGiveRoomBack(t *testing.T) {
	run(t, []story{
		{"a refund that leads below the limit releases", func(p *partition) {
			active(p)
			p.uses("51")
			p.forget()
			p.uses("-1", corrects("2026-03-02T09:00"))
			p.uses("-1", corrects("2026-03-02T09:00"))
		}, []string{"released 49/50 REFUND"}},
		{"what was told once is not told again after a refund", func(p *partition) {
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
		{"a refund of more than was spent ends at 0, and its rest is told", func(p *partition) {
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

func TestPeriodsEndAtTheirTime(t *testing.T) {
	renewed := []string{"alert 80% at 40 50/50 USAGE blocked", "reached 50/50 USAGE blocked", "renewed 0/50 RENEWAL", "released 0/50 RENEWAL"}
	run(t, []story{
		{"a period ends without any usage", func(p *partition) {
			active(p)
			p.uses("50")
			p.at("2026-04-01T00:00")
			p.ticks()
		}, renewed},
		{"an instant before its end nothing happens", func(p *partition) {
			active(p)
			p.uses("50")
			p.at("2026-03-31T23:59")
			p.ticks()
		}, renewed[:2]},
		{"every period that went by is told", func(p *partition) {
			active(p)
			p.at("2026-06-15T12:00")
			p.ticks()
		}, []string{"renewed 0/50 RENEWAL", "renewed 0/50 RENEWAL", "renewed 0/50 RENEWAL"}},
		{"thresholds are armed again in the next period", func(p *partition) {
			active(p)
			p.uses("40")
			p.at("2026-04-01T00:00")
			p.uses("40")
		}, []string{"alert 80% at 40 40/50 USAGE", "renewed 0/50 RENEWAL", "alert 80% at 40 40/50 USAGE"}},
		{"a limit of 0 blocks through a renewal, and says so once", func(p *partition) {
			p.configures(gold(limit("0")))
			p.activates()
			p.at("2026-04-01T00:00")
			p.ticks()
		}, []string{"activated 0/0 ACTIVATION blocked", "reached 0/0 ACTIVATION blocked", "renewed 0/0 RENEWAL blocked"}},
		{"midnight is that of the class's zone, in summer time", func(p *partition) {
			active(p, renews("Europe/Berlin", 1))
			p.at("2026-03-31T21:59")
			p.ticks()
			p.uses("40")
			p.at("2026-03-31T22:00")
			p.uses("40")
		}, []string{"alert 80% at 40 40/50 USAGE", "renewed 0/50 RENEWAL", "alert 80% at 40 40/50 USAGE"}},
		{"a period over the change to winter time is an hour longer", func(p *partition) {
			p.at("2026-10-20T00:00")
			active(p, renews("Europe/Berlin", 15))
			p.at("2026-11-14T22:59")
			p.ticks()
			p.uses("40")
			p.at("2026-11-14T23:00")
			p.ticks()
		}, []string{"alert 80% at 40 40/50 USAGE", "renewed 0/50 RENEWAL"}},
		{"another renewal day and zone of the class hold from the next period on", func(p *partition) {
			active(p)
			p.uses("10")
			p.configures(gold(renews("Europe/Berlin", 10)))
			p.uses("30")
			p.at("2026-04-01T00:00")
			p.ticks()
			p.uses("40")
			p.at("2026-04-09T22:00")
			p.uses("40")
		}, []string{
			"alert 80% at 40 40/50 USAGE", "renewed 0/50 RENEWAL", "alert 80% at 40 40/50 USAGE", "renewed 0/50 RENEWAL", "alert 80% at 40 40/50 USAGE",
		}},
		{"a class that is gone lets periods go on at its midnight", func(p *partition) {
			active(p, renews("Asia/Tokyo", 1))
			p.uses("50")
			p.forget()
			p.configures()
			p.at("2026-04-30T14:59")
			p.ticks()
			p.at("2026-04-30T15:00")
			p.ticks()
		}, []string{"renewed 0/50 RENEWAL", "released 0/50 RENEWAL", "renewed 0/50 RENEWAL"}},
	})
}

// Which of the two the log's time reaches the end by leaves no trace.
func TestEventFirstOrTimerFirstIsTheSameRenewal(t *testing.T) {
	renewal := func(tick bool) [][]byte {
		p := newPartition(t)
		active(p)
		p.uses("50")
		p.forget()
		p.at("2026-04-02T13:00")
		if tick {
			p.ticks()
		}
		p.uses("41")
		p.works()
		var all [][]byte
		for _, r := range p.out {
			all = append(all, r.Value, []byte(r.Time.String()))
		}
		return all
	}
	timer, usage := renewal(true), renewal(false)
	if len(timer) != 6 {
		t.Fatalf("%d outcomes", len(timer)/2)
	}
	// The alert's cause stands at another offset, which is no part of what is told.
	if diff := cmp.Diff(timer, usage); diff != "" {
		t.Error(diff)
	}
}

func TestLateAndEarlyEvents(t *testing.T) {
	run(t, []story{
		{"usage of an earlier period is not counted in this one, and told once an hour with the sum", func(p *partition) {
			active(p)
			p.at("2026-04-02T10:00")
			p.uses("30", on("2026-03-30T10:00"))
			p.at("2026-04-02T10:59")
			p.uses("31", on("2026-03-30T11:00"))
			p.at("2026-04-02T11:00")
			p.uses("1", on("2026-03-30T11:00"))
			p.at("2026-04-02T12:00")
			p.ticks()
		}, []string{"renewed 0/50 RENEWAL", "late 61 of 2026-03-01T00:00 0/50 USAGE", "late 1 of 2026-03-01T00:00 0/50 USAGE"}},
		{"each earlier period is told by itself, the oldest first", func(p *partition) {
			active(p)
			p.at("2026-05-02T10:00")
			p.uses("2", on("2026-04-30T10:00"))
			p.uses("3", on("2026-03-03T10:00"))
			p.at("2026-05-02T11:00")
			p.ticks()
		}, []string{"renewed 0/50 RENEWAL", "renewed 0/50 RENEWAL", "late 3 of 2026-03-01T00:00 0/50 USAGE", "late 2 of 2026-04-01T00:00 0/50 USAGE"}},
		{"usage that claims to be from the next period counts in this one", func(p *partition) {
			active(p)
			p.uses("40", on("2026-09-01T00:00"))
		}, []string{"alert 80% at 40 40/50 USAGE"}},
		{"a refund for usage from the future is one for now", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.uses("-10", corrects("2026-09-01T00:00"))
		}, []string{"released 40/50 REFUND"}},
	})
}

func TestTheEarlierPeriodEndsWhereTheRunningOneBegan(t *testing.T) {
	p := newPartition(t)
	active(p)
	p.configures(gold(renews("UTC", 10)))
	p.at("2026-04-02T00:00")
	p.uses("3", on("2026-03-30T00:00")) // by the new day a part of the period from the 10th to the 10th
	p.works()
	s, _ := p.record()
	want := []late{{spend.Period{Start: moment("2026-03-10T00:00"), End: moment("2026-04-01T00:00")}, 3 * spend.Unit}}
	if diff := cmp.Diff(want, s.options[spend.Data].late, compareRecords); diff != "" {
		t.Error(diff)
	}
}

func TestATurnLeavesTheRecordItWasGivenAlone(t *testing.T) {
	p := spend.Period{Start: moment("2026-02-01T00:00"), End: moment("2026-03-01T00:00")}
	given := newTurn()
	given.begin(spend.Data, given.catalog.class("acme", "gold").offers[spend.Data], initial{}, becauseActivation)
	given.sub.options[spend.Data].late = []late{{p, 1 * spend.Unit}}
	again := *given
	again.putOff(spend.Data, p, 2*spend.Unit)
	if given.sub.options[spend.Data].late[0].sum != 1*spend.Unit || again.sub.options[spend.Data].late[0].sum != 3*spend.Unit {
		t.Errorf("%v, from %v", again.sub.options[spend.Data].late, given.sub.options[spend.Data].late)
	}
}

func TestACatalogChangeHoldsFromTheNextEvent(t *testing.T) {
	run(t, []story{
		{"a lower limit is reached before the event is judged", func(p *partition) {
			active(p)
			p.uses("30")
			p.configures(gold(limit("20")))
			p.uses("1")
		}, []string{"limit_changed 30/20 CATALOG blocked", "reached 30/20 CATALOG blocked"}},
		{"a higher limit releases, and its threshold is armed again", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.configures(gold(limit("100")))
			p.uses("30")
		}, []string{"limit_changed 50/100 CATALOG", "released 50/100 CATALOG", "alert 80% at 80 80/100 USAGE"}},
		{"a threshold that moves below what was spent is not told", func(p *partition) {
			active(p)
			p.uses("30")
			p.configures(gold(limit("35")))
			p.uses("1")
		}, []string{"limit_changed 30/35 CATALOG"}},
		{"usage out of scope brings the change as well", func(p *partition) {
			active(p)
			p.uses("30")
			p.configures(gold(limit("20")))
			p.uses("1", with(func(u *eventv1.UsageCharged) { u.Roaming = false }))
		}, []string{"limit_changed 30/20 CATALOG blocked", "reached 30/20 CATALOG blocked"}},
		{"at a renewal the new limit is told once, and a subscriber without spend is not blocked in between", func(p *partition) {
			active(p)
			p.uses("30")
			p.configures(gold(limit("20")))
			p.at("2026-04-01T00:00")
			p.ticks()
		}, []string{"limit_changed 0/20 CATALOG", "renewed 0/20 RENEWAL"}},
		{"a limit that became 0 is reached at the renewal", func(p *partition) {
			active(p)
			p.configures(gold(limit("0")))
			p.at("2026-04-01T00:00")
			p.ticks()
		}, []string{"limit_changed 0/0 CATALOG blocked", "renewed 0/0 RENEWAL blocked", "reached 0/0 CATALOG blocked"}},
		{"a class that drops the option releases and ends it", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.configures(bare())
			p.uses("1")
			p.at("2026-04-01T00:00")
			p.ticks()
		}, []string{"released 50/50 CATALOG", "deactivated 50/50 CATALOG"}},
		{"a class that drops the option ends it at the renewal at the latest", func(p *partition) {
			active(p)
			p.configures(bare())
			p.at("2026-05-01T00:00")
			p.ticks()
		}, []string{"deactivated 0/50 CATALOG"}},
		{"a class that begins to offer it begins at its next event, and counts that", func(p *partition) {
			p.configures(bare())
			p.activates()
			p.configures(gold())
			p.uses("45")
		}, []string{"activated 0/50 CATALOG", "alert 80% at 40 45/50 USAGE"}},
		{"in another currency spend begins anew", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.configures(gold(func(o *configv1.DataSafeguardOption) { o.Limit.CurrencyCode = "GBP" }))
			p.uses("10", with(func(u *eventv1.UsageCharged) { u.Net.CurrencyCode = "GBP" }))
		}, []string{"limit_changed 0/50 CATALOG", "renewed 0/50 COS_CURRENCY", "released 0/50 CATALOG"}},
	})
}

func TestLifeOfASubscriber(t *testing.T) {
	run(t, []story{
		{"a termination releases and ends", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.terminates()
		}, []string{"released 50/50 TERMINATION", "deactivated 50/50 TERMINATION"}},
		{"what came late is told before the end", func(p *partition) {
			active(p)
			p.at("2026-04-02T10:00")
			p.uses("30", on("2026-03-30T10:00"))
			p.forget()
			p.terminates()
		}, []string{"late 30 of 2026-03-01T00:00 0/50 USAGE", "deactivated 0/50 TERMINATION"}},
		{"usage after a termination has no subscriber", func(p *partition) {
			active(p)
			p.terminates()
			p.forget()
			p.uses("1")
		}, []string{"rejected SUBSCRIBER_UNKNOWN"}},
		{"a second termination has none either", func(p *partition) {
			active(p)
			p.terminates()
			p.forget()
			p.terminates()
		}, []string{"rejected SUBSCRIBER_UNKNOWN"}},
		{"no period ends after the end", func(p *partition) {
			active(p)
			p.terminates()
			p.forget()
			p.at("2026-04-02T10:00")
			p.ticks()
		}, []string{}},
		{"a recycled number begins at 0 and does not pay for its former owner", func(p *partition) {
			active(p)
			p.uses("45")
			p.at("2026-03-02T10:00")
			p.terminates()
			p.at("2026-03-02T11:00")
			p.activates()
			p.forget()
			p.uses("45", on("2026-03-02T09:30"))
			p.uses("40")
		}, []string{"rejected BEFORE_ACTIVATION", "alert 80% at 40 40/50 USAGE"}},
		{"an activation from before the termination is stale", func(p *partition) {
			active(p)
			p.at("2026-03-02T10:00")
			p.terminates()
			p.forget()
			p.activates(on("2026-03-02T09:59"))
		}, []string{"rejected STALE"}},
		{"a termination from before the activation is stale", func(p *partition) {
			active(p)
			p.terminates(on("2026-03-02T08:00"))
		}, []string{"rejected STALE"}},
		{"the first activation sent again does not bring a terminated subscriber back", func(p *partition) {
			p.configures(gold())
			e := p.activates()
			p.terminates()
			p.append(e)
		}, []string{"activated 0/50 ACTIVATION", "deactivated 0/50 TERMINATION"}},
	})
}

func TestSequencesRiseThroughReactivationAndNameTheOneBefore(t *testing.T) {
	p := newPartition(t)
	active(p)
	p.uses("50")
	p.terminates()
	p.activates()
	p.uses("50")
	p.works()
	last := int64(0)
	for i, r := range p.out {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		d := e.Data.(*eventv1.Safeguard)
		if i > 0 && d.GetPreviousSequence() != last {
			t.Errorf("%s: previous %d, want %d", line(t, r), d.GetPreviousSequence(), last)
		}
		if d.GetSequence() <= last || d.GetSequence() < p.now.UnixMilli() {
			t.Errorf("%s: sequence %d after %d", line(t, r), d.GetSequence(), last)
		}
		last = d.GetSequence()
	}
	if len(p.out) != 7 {
		t.Errorf("%d outcomes", len(p.out))
	}
}

func TestTheMarkOfATerminatedSubscriberIsForgottenAfterTheWindow(t *testing.T) {
	p := newPartition(t)
	active(p)
	p.terminates()
	p.works()
	if s, ok := p.record(); !ok || !cmp.Equal(s, subscriber{life: terminated, latest: p.now, until: p.now.Add(markKept)}, compareRecords) {
		t.Errorf("mark %+v", s)
	}
	p.at("2026-03-03T09:00")
	p.ticks()
	p.works()
	if s, ok := p.record(); ok {
		t.Errorf("a day later there is %+v", s)
	}
}

func TestAnOutcomeSaysEverything(t *testing.T) {
	p := newPartition(t)
	active(p, renews("Europe/Berlin", 7))
	p.at("2026-03-04T09:00")
	cause := p.uses("40", func(e *event.Event) { e.Correlation = "tx-1" })
	p.works()
	got, err := event.Decode(p.out[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	sequence := p.now.UnixMilli()
	want := &event.Event{
		ID:     event.Derive(cause.Identity(), "data", "alert", "80%").String(),
		Source: "tollgate/safeguard", Type: "safeguard.alert", Tenant: "acme", Subject: msisdn,
		Time: p.now, ReceivedAt: p.now, Correlation: "tx-1",
		Data: &eventv1.Safeguard{
			Option: eventv1.Safeguard_OPTION_DATA, State: eventv1.Safeguard_STATE_ACTIVE, Spent: units("40"), Limit: units("50"),
			PeriodStart: stamp("2026-02-06T23:00"), PeriodEnd: stamp("2026-03-06T23:00"), RenewalDay: 7,
			Cause:  &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Source: "crm", Id: cause.ID, Type: "usage.charged"}}},
			Reason: "USAGE", Sequence: sequence, PreviousSequence: moment("2026-03-02T09:00").UnixMilli(),
			Threshold: &eventv1.Threshold{Percent: 80, Amount: units("40")},
			// 40 in 25 days and 10 hours: the 10 that are left take a quarter of that.
			Forecast: stamp("2026-03-10T17:30"), CauseReceivedAt: stamp("2026-03-04T09:00"),
			ClassOfService: "gold", Imsi: "234150999999999", Language: "en",
			AlertThresholds: []*eventv1.Threshold{{Percent: 80, Amount: units("40")}},
		},
	}
	if !got.Equal(want) {
		t.Errorf("got  %v\nwant %v\n%s", got, want, cmp.Diff(want.Data, got.Data, protocmp.Transform()))
	}
}
