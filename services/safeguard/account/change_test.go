package account

import (
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestChange_OfAnOption(t *testing.T) {
	run(t, []story{
		{"an overspend safeguard is activated with a limit, in one step", func(p *partition) {
			whole(p)
			p.overspends("5")
			p.changes(overspend, to(turnedOn), currentLimit("20"))
			p.overspends("15")
		}, []string{
			"overspend limit_changed 5/20 CHANGE", "overspend activated 5/20 CHANGE",
			"overspend alert 80% at 16 20/20 USAGE blocked", "overspend reached 20/20 USAGE blocked",
		}},
		{"activation under a limit that is spent already blocks, and publishes no alert that is behind it", func(p *partition) {
			whole(p)
			p.overspends("20")
			p.changes(overspend, to(turnedOn), currentLimit("20"))
		}, []string{"overspend limit_changed 20/20 CHANGE blocked", "overspend activated 20/20 CHANGE blocked", "overspend reached 20/20 CHANGE blocked"}},
		{"a limit of 0 blocks at once", func(p *partition) {
			whole(p)
			p.changes(overspend, to(turnedOn), currentLimit("0"))
		}, []string{"overspend limit_changed 0/0 CHANGE blocked", "overspend activated 0/0 CHANGE blocked", "overspend reached 0/0 CHANGE blocked"}},
		{"a limit raised above what is spent releases, and its percents are armed again", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.overspends("20")
			p.forget()
			p.changes(overspend, currentLimit("40"))
			p.overspends("12")
		}, []string{"overspend limit_changed 20/40 CHANGE", "overspend released 20/40 CHANGE", "overspend alert 80% at 32 32/40 USAGE"}},
		{"a limit lowered to what is spent is reached, and the percent that moved below has no outcome", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.overspends("10")
			p.changes(overspend, currentLimit("12"))
			p.overspends("1")
			p.changes(overspend, currentLimit("11"))
			p.overspends("1")
		}, []string{"overspend limit_changed 10/12 CHANGE", "overspend limit_changed 11/11 CHANGE blocked", "overspend reached 11/11 CHANGE blocked"}},
		{"the next limit holds from the next period on", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.overspends("20")
			p.forget()
			p.changes(overspend, nextLimit("30"))
			p.at("2026-04-01T00:00")
			p.ticks()
			p.overspends("24")
			p.at("2026-05-01T00:00")
			p.ticks()
		}, []string{
			"overspend limit_changed 20/20 next 30 CHANGE blocked", "renewed 0/50 RENEWAL", "overspend limit_changed 0/30 RENEWAL",
			"overspend renewed 0/30 RENEWAL", "overspend released 0/30 RENEWAL", "payment renewed 0/300 RENEWAL",
			"overspend alert 80% at 24 24/30 USAGE", "renewed 0/50 RENEWAL", "overspend renewed 0/30 RENEWAL", "payment renewed 0/300 RENEWAL",
		}},
		{"a next limit is taken back", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.changes(overspend, nextLimit("30"))
			p.changes(overspend, func(c *controlv1.ChangeCommand) { c.ClearNextLimit = true })
		}, []string{"overspend limit_changed 0/20 next 30 CHANGE", "overspend limit_changed 0/20 CHANGE"}},
		{"a next limit of 0 is reached at the renewal", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.changes(overspend, nextLimit("0"))
			p.forget()
			p.at("2026-04-01T00:00")
			p.ticks()
		}, []string{
			"renewed 0/50 RENEWAL", "overspend limit_changed 0/0 RENEWAL blocked", "overspend renewed 0/0 RENEWAL blocked",
			"overspend reached 0/0 RENEWAL blocked", "payment renewed 0/300 RENEWAL",
		}},
		{"thresholds of its own replace the class's, and an empty list takes them again", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.changes(overspend, alertsAt(percent(50), &eventv1.Threshold{Amount: units("15")}))
			p.overspends("15")
			p.changes(overspend, alertsAt())
			p.overspends("1")
		}, []string{
			"overspend limit_changed 0/20 CHANGE", "overspend alert 50% at 10 15/20 USAGE", "overspend alert at 15 15/20 USAGE",
			"overspend limit_changed 15/20 CHANGE", "overspend alert 80% at 16 16/20 USAGE",
		}},
		{"opting out while blocked releases, and in again in the same period is blocked by the true figure", func(p *partition) {
			whole(p)
			p.uses("50")
			p.forget()
			p.changes(data, to(offForMonth))
			p.uses("10")
			p.changes(data, to(turnedOn))
		}, []string{
			"opted_out temporarily-inactive 50/50 CHANGE", "released 50/50 CHANGE",
			"activated 60/50 CHANGE blocked", "reached 60/50 CHANGE blocked",
		}},
		{"an opt-out for the month ends with it", func(p *partition) {
			whole(p)
			p.changes(data, to(offForMonth))
			p.uses("100")
			p.at("2026-04-01T00:00")
			p.uses("40")
		}, []string{
			"opted_out temporarily-inactive 0/50 CHANGE", "renewed 0/50 RENEWAL", "activated 0/50 RENEWAL",
			"overspend renewed 0/- RENEWAL", "payment renewed 0/300 RENEWAL", "alert 80% at 40 40/50 USAGE",
		}},
		{"an opt-out for good does not", func(p *partition) {
			whole(p)
			p.changes(data, to(offForMonth))
			p.changes(data, to(offForGood))
			p.at("2026-04-01T00:00")
			p.uses("100")
		}, []string{
			"opted_out temporarily-inactive 0/50 CHANGE", "opted_out permanently-inactive 0/50 CHANGE", "renewed 0/50 RENEWAL",
			"overspend renewed 0/- RENEWAL", "payment renewed 0/300 RENEWAL",
		}},
		{"the payment safeguard is turned off and on", func(p *partition) {
			whole(p)
			p.pays("300")
			p.forget()
			p.changes(payment, to(off))
			p.changes(payment, to(turnedOn))
		}, []string{
			"payment deactivated 300/300 CHANGE", "payment released 300/300 CHANGE",
			"payment activated 300/300 CHANGE blocked", "payment reached 300/300 CHANGE blocked",
		}},
		{"a refund while inactive lowers what is recorded, and thresholds at or below it are taken as crossed at activation", func(p *partition) {
			whole(p)
			p.changes(payment, to(off))
			p.pays("250")
			p.pays("-5", corrects("2026-03-02T09:00"))
			p.changes(payment, to(turnedOn))
			p.pays("10")
		}, []string{"payment deactivated 0/300 CHANGE", "payment activated 245/300 CHANGE"}},
		{"deactivating where inactive means no access blocks", func(p *partition) {
			whole(p, defaultLimit("20"), blocksInactive)
			p.changes(overspend, to(off))
			p.changes(overspend, to(turnedOn))
		}, []string{
			"overspend deactivated 0/20 CHANGE blocked", "overspend reached 0/20 CHANGE blocked",
			"overspend activated 0/20 CHANGE", "overspend released 0/20 CHANGE",
		}},
		{"what is so already changes nothing", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.changes(data, to(turnedOn), day(1))
			p.changes(data, day(1))
			p.changes(overspend, currentLimit("20"), to(turnedOn))
		}, []string{}},
		{"the same call again changes nothing", func(p *partition) {
			whole(p, defaultLimit("20"))
			again := &controlv1.ChangeCommand{Option: overspend, CurrentLimit: units("30")}
			p.commands("ref-1", again, "command.change")
			p.changes(overspend, currentLimit("20"))
			p.commands("ref-1", again, "command.change")
			p.overspends("16")
		}, []string{"overspend limit_changed 0/30 CHANGE", "overspend limit_changed 0/20 CHANGE", "overspend alert 80% at 16 16/20 USAGE"}},
		{"the class as it is now comes before a call, and both may change the limit", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.configures(full(defaultLimit("30")))
			p.changes(overspend, currentLimit("40"))
		}, []string{"overspend limit_changed 0/30 CATALOG", "overspend limit_changed 0/40 CHANGE"}},
		{"a limit of its own is not the class's to change", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.changes(overspend, currentLimit("40"))
			p.configures(full(defaultLimit("30")))
			p.overspends("32")
		}, []string{"overspend limit_changed 0/40 CHANGE", "overspend alert 80% at 32 32/40 USAGE"}},
		{"who is protected by a default limit stays so when it is gone", func(p *partition) {
			whole(p, defaultLimit("20"))
			p.configures(full())
			p.overspends("20")
		}, []string{"overspend alert 80% at 16 20/20 USAGE blocked", "overspend reached 20/20 USAGE blocked"}},
		{"a call to apply the class again brings its change", func(p *partition) {
			whole(p)
			p.uses("30")
			p.configures(full(func(c *configv1.ClassOfService) { c.DataSafeguard.Limit = units("30") }))
			p.reapplies("gold")
			p.reapplies("silver")
		}, []string{"limit_changed 30/30 CATALOG blocked", "reached 30/30 CATALOG blocked", "refused CLASS_OF_SERVICE_UNKNOWN"}},
	})
}

func TestChange_OfARenewalDay(t *testing.T) {
	run(t, []story{
		{"before its day the period is cut short, and what was spent stays", func(p *partition) {
			whole(p)
			p.at("2026-03-10T12:00")
			p.uses("39")
			p.changes(data, day(15))
			p.uses("1")
			p.at("2026-03-15T00:00")
			p.ticks()
		}, []string{"renewal_day_changed to 15, ends 2026-03-15T00:00 39/50 CHANGE", "alert 80% at 40 40/50 USAGE", "renewed 0/50 RENEWAL"}},
		{"after its day the period goes on to the next month's", func(p *partition) {
			whole(p)
			p.at("2026-03-20T12:00")
			p.changes(data, day(15))
			p.at("2026-04-14T23:59")
			p.ticks()
			p.uses("40")
		}, []string{
			"renewal_day_changed to 15, ends 2026-04-15T00:00 0/50 CHANGE", "overspend renewed 0/- RENEWAL", "payment renewed 0/300 RENEWAL",
			"alert 80% at 40 40/50 USAGE",
		}},
		{"on its day the running period goes on to the next month's", func(p *partition) {
			whole(p)
			p.at("2026-03-15T00:00")
			p.changes(data, day(15))
		}, []string{"renewal_day_changed to 15, ends 2026-04-15T00:00 0/50 CHANGE"}},
		{"to the 28th, which every month has", func(p *partition) {
			whole(p)
			p.at("2027-02-02T00:00")
			p.ticks()
			p.forget()
			p.changes(data, day(28))
			p.at("2027-03-28T00:00")
			p.ticks()
		}, []string{
			"renewal_day_changed to 28, ends 2027-02-28T00:00 0/50 CHANGE", "renewed 0/50 RENEWAL",
			"overspend renewed 0/- RENEWAL", "payment renewed 0/300 RENEWAL", "renewed 0/50 RENEWAL",
		}},
		{"once a period, and again in the next", func(p *partition) {
			whole(p)
			p.changes(data, day(15))
			p.changes(data, day(20))
			p.at("2026-03-15T00:00")
			p.ticks()
			p.changes(data, day(20))
		}, []string{
			"renewal_day_changed to 15, ends 2026-03-15T00:00 0/50 CHANGE", "renewed 0/50 RENEWAL",
			"renewal_day_changed to 20, ends 2026-03-20T00:00 0/50 CHANGE", "refused RENEWAL_DAY_CHANGED",
		}},
		{"its own day stays when the class's becomes another", func(p *partition) {
			whole(p)
			p.changes(data, day(15))
			p.configures(full(func(c *configv1.ClassOfService) { c.DataSafeguard.RenewalDay = 5 }))
			p.at("2026-04-16T00:00")
			p.ticks()
		}, []string{
			"renewal_day_changed to 15, ends 2026-03-15T00:00 0/50 CHANGE", "renewed 0/50 RENEWAL",
			"overspend renewed 0/- RENEWAL", "payment renewed 0/300 RENEWAL", "renewed 0/50 RENEWAL",
		}},
	})
}

func TestChange_ReferenceIsInEveryOutcome(t *testing.T) {
	p := newPartition(t)
	whole(p)
	p.commands("ref-7", &controlv1.ChangeCommand{Option: overspend, CurrentLimit: units("0"), State: turnedOn}, "command.change")
	p.works()
	if len(p.out) != 3 {
		t.Errorf("%d outcomes", len(p.out))
	}
	for _, r := range p.out {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Data.(*eventv1.Safeguard).GetTransactionReference(); got != "ref-7" {
			t.Errorf("%s has reference %q", line(t, r), got)
		}
	}
	if s, _ := p.record(); s.Options[spend.Overspend].State != spend.Active {
		t.Errorf("%+v", s.Options[spend.Overspend])
	}
}
