package account

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/scope"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestCatalog_ChangeHoldsFromTheNextEvent(t *testing.T) {
	run(t, []story{
		{"a lower limit is reached before the event is counted", func(p *partition) {
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
		{"a threshold that moves below what was spent has no outcome", func(p *partition) {
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
		{"at a renewal the new limit has one outcome, and a subscriber without spend is not blocked in between", func(p *partition) {
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

// One text is one program, whichever class offers it and however often the configuration is made anew.
func TestCompile_ScopeIsCompiledOnce(t *testing.T) {
	own := func(c *configv1.ClassOfService) { c.DataSafeguard.Scope = "usage.roaming && usage.quantity > 7" }
	silver := func(c *configv1.ClassOfService) { c.Name = "tenants/acme/classesOfService/silver" }
	first := catalogFor(t, 1, nil, full(own), full(own, silver))
	decoded := configclient.Decode(&configv1.Snapshot{Revision: 2, ClassesOfService: []*configv1.ClassOfService{full(own), full(own, silver)}})
	second := Compile(decoded, first)
	of := func(c *Catalog, class string, o spend.Option) *scope.Scope {
		return c.Class("acme", class).Offers[o].scope.Scope
	}
	for o := range spend.Option(spend.Options) {
		for _, other := range []*scope.Scope{of(first, "silver", o), of(second, "gold", o), of(second, "silver", o)} {
			if made := of(first, "gold", o); made == nil || other != made {
				t.Errorf("the scope of option %d was compiled again", o)
			}
		}
	}
}

// A scope that this binary can't compile concerns its own class alone.
func TestCompile_NamesScopesThatFail(t *testing.T) {
	bad := func(c *configv1.ClassOfService) {
		c.Name = "tenants/acme/classesOfService/bad"
		c.DataSafeguard.Scope = "usage.nothing"
	}
	unreadable := catalogFor(t, 1, nil, full(), full(bad)).Unreadable
	if len(unreadable) != 1 || unreadable[0].Name != "tenants/acme/classesOfService/bad" || !strings.Contains(unreadable[0].Err.Error(), "nothing") {
		t.Errorf("unreadable %v", unreadable)
	}
	if unreadable := catalogFor(t, 2, nil, full()).Unreadable; unreadable != nil {
		t.Errorf("unreadable %v of a class that is mended", unreadable)
	}
}
