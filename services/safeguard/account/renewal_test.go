package account

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestRenewal_AtItsTime(t *testing.T) {
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
		{"a next limit that is the present one is no other limit", func(p *partition) {
			whole(p)
			p.changes(overspend, currentLimit("20"), nextLimit("20"), to(turnedOn))
			p.forget()
			p.at("2026-04-01T00:00")
			p.ticks()
		}, []string{"renewed 0/50 RENEWAL", "overspend renewed 0/20 RENEWAL", "payment renewed 0/300 RENEWAL"}},
		{"a renewal day set to what it is already is the subscriber's from then on", func(p *partition) {
			active(p)
			p.changes(data, day(1))
			p.configures(gold(renews("UTC", 10)))
			p.at("2026-04-01T00:00")
			p.ticks()
			p.at("2026-04-10T00:00")
			p.ticks()
			p.at("2026-05-01T00:00")
			p.ticks()
		}, []string{"renewed 0/50 RENEWAL", "renewed 0/50 RENEWAL"}},
		{"a running period grows by another day, which the event has", func(p *partition) {
			p.at("2026-03-02T09:00")
			active(p, renews("UTC", 3))
			p.at("2026-03-03T09:00")
			p.changes(data, day(2))
			p.changes(data, day(1))
		}, []string{"renewed 0/50 RENEWAL", "renewal_day_changed to 2, ends 2026-04-02T00:00 0/50 CHANGE", "refused RENEWAL_DAY_CHANGED"}},
		{"an option that is not offered at a period's end keeps what the subscriber set", func(p *partition) {
			whole(p)
			p.changes(overspend, currentLimit("20"), alertsAt(percent(50)), to(turnedOn), day(10))
			p.changes(data, to(offForGood))
			p.overspends("15")
			p.forget()
			p.configures(&configv1.ClassOfService{Name: "tenants/acme/classesOfService/gold"})
			p.at("2026-04-15T00:00")
			p.ticks()
			p.works()
			p.configures(full())
			p.overspends("10")
			p.at("2026-05-10T00:00")
			p.ticks()
		}, []string{
			"overspend deactivated 15/20 CATALOG", "deactivated 0/50 CATALOG", "payment deactivated 0/300 CATALOG",
			"opted_out permanently-inactive 0/50 CATALOG", "overspend activated 0/20 CATALOG", "overspend alert 50% at 10 10/20 USAGE", "payment activated 0/300 CATALOG",
			"renewed 0/50 RENEWAL", "payment renewed 0/300 RENEWAL", "overspend renewed 0/20 RENEWAL",
		}},
		{"a currency of a class that limits nothing is no other limit", func(p *partition) {
			p.configures(&configv1.ClassOfService{Name: "tenants/acme/classesOfService/gold", OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "EUR"}})
			p.activates()
			p.forget()
			p.configures(&configv1.ClassOfService{Name: "tenants/acme/classesOfService/gold", OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "GBP"}})
			p.publishes("subscriber.suspended", &eventv1.SubscriberStatusChanged{})
		}, []string{"overspend renewed 0/- COS_CURRENCY"}},
		{"every period that went by has an outcome", func(p *partition) {
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
		{"a limit of 0 blocks through a renewal, and publishes it once", func(p *partition) {
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
		{"a class that is gone lets periods go on for a whole period, also in zones of noon of UTC", func(p *partition) {
			p.at("2026-06-01T00:00")
			active(p, renews("Pacific/Auckland", 15))
			p.uses("50")
			p.forget()
			p.configures()
			p.at("2026-06-14T12:00")
			p.ticks()
			p.at("2026-07-14T11:59")
			p.ticks()
		}, []string{"renewed 0/50 RENEWAL", "released 0/50 RENEWAL"}},
		{"a class that is gone lets periods go on at its midnight, also west", func(p *partition) {
			active(p, renews("America/Phoenix", 15))
			p.uses("50")
			p.forget()
			p.configures()
			p.at("2026-03-15T07:00")
			p.ticks()
			p.at("2026-04-15T06:59")
			p.ticks()
			p.at("2026-04-15T07:00")
			p.ticks()
		}, []string{"renewed 0/50 RENEWAL", "released 0/50 RENEWAL", "renewed 0/50 RENEWAL"}},
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

func TestRenewal_SameByEventOrTimer(t *testing.T) {
	renewal := func(tick bool) [][]byte {
		p := newPartition(t)
		whole(p)
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
	if len(timer) != 10 {
		t.Fatalf("%d outcomes", len(timer)/2)
	}
	// The alert's cause stands at another offset, which is no part of its outcomes.
	if diff := cmp.Diff(timer, usage); diff != "" {
		t.Error(diff)
	}
}

func TestPeriod_LateAndEarlyEvents(t *testing.T) {
	run(t, []story{
		{"usage of an earlier period is not counted in this one, and has an outcome once an hour with the sum", func(p *partition) {
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
		{"each earlier period has an outcome of its own, the oldest first", func(p *partition) {
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

func TestPeriod_EarlierEndsWhereTheRunningOneBegan(t *testing.T) {
	p := newPartition(t)
	active(p)
	p.configures(gold(renews("UTC", 10)))
	p.at("2026-04-02T00:00")
	p.uses("3", on("2026-03-30T00:00")) // by the new day a part of the period from the 10th to the 10th
	p.works()
	s, _ := p.record()
	want := []late{{spend.Period{Start: moment("2026-03-10T00:00"), End: moment("2026-04-01T00:00")}, 3 * spend.Unit}}
	if diff := cmp.Diff(want, s.Options[spend.Data].late, compareRecords); diff != "" {
		t.Error(diff)
	}
}

func TestTurn_DoesNotChangeTheRecordItWasGiven(t *testing.T) {
	p := spend.Period{Start: moment("2026-02-01T00:00"), End: moment("2026-03-01T00:00")}
	given := newTurn()
	given.begin(spend.Data, given.catalog.Class("acme", "gold").Offers[spend.Data], initial{}, becauseActivation)
	given.sub.Options[spend.Data].late = []late{{p, 1 * spend.Unit}}
	again := *given
	again.putOff(spend.Data, p, 2*spend.Unit)
	if given.sub.Options[spend.Data].late[0].sum != 1*spend.Unit || again.sub.Options[spend.Data].late[0].sum != 3*spend.Unit {
		t.Errorf("%v, from %v", again.sub.Options[spend.Data].late, given.sub.Options[spend.Data].late)
	}
}
