package trigger

import (
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// tenant is one as planning reads it.
type tenant struct {
	displayName string
	// topicPrefixes begin the topics that its notifications may publish to.
	topicPrefixes []string
	zone          *time.Location
	// users are by role, each list by name.
	users map[string][]channel.User
	// defaults are the resource names of the targets of actions that name none.
	defaults map[*channel.Channel]string
}

func newTenant(t *configclient.Tenant, users []*configv1.User) *tenant {
	out := &tenant{displayName: t.DisplayName, topicPrefixes: t.Message.GetTopicPrefixes(), zone: t.Zone, users: map[string][]channel.User{}, defaults: map[*channel.Channel]string{}}
	for _, u := range users {
		user := channel.User{Name: u.GetName(), DisplayName: u.GetDisplayName(), Address: u.GetAddress(), Language: u.GetLanguage(), Zone: t.Zone}
		// A zone that a newer configuration service knows and this binary does not is the tenant's.
		if zone, err := spend.Zone(u.GetTimeZone()); err == nil && u.GetTimeZone() != "" {
			user.Zone, user.OwnZone = zone, true
		}
		for _, role := range u.GetRoles() {
			out.users[role] = append(out.users[role], user)
		}
	}
	for _, c := range table.Channels {
		if c.DefaultTarget != nil {
			out.defaults[c] = c.DefaultTarget(t.Message)
		}
	}
	return out
}

// builtIn are the rules that every tenant has without having stored them, compiled once. They plan nothing where the tenant
// has no default target for them.
var builtIn = sync.OnceValue(func() []*rules.Rule {
	var out []*rules.Rule
	for _, c := range table.Channels {
		for _, n := range c.BuiltIn {
			written := rules.FromProto(n, channel.List{c})
			written.Tenant, written.Code = "-", n.GetName()
			r, err := rules.Compile(written)
			if err != nil {
				panic("compile " + n.GetName() + ": " + err.Error())
			}
			out = append(out, r)
		}
	}
	return out
})

// targetOf is the resource name of an action's target, else of the tenant's default; empty where there is neither.
func (b *Book) targetOf(action *rules.Plan, tenant string) string {
	if t := b.tenants[tenant]; t != nil && action.Target == "" {
		return t.defaults[action.Channel]
	}
	return action.Target
}

// occasion is an event as texts and channels read it.
func (b *Book) occasion(e *event.Event, now time.Time) *rules.Occasion {
	o := &rules.Occasion{Event: e, Now: now}
	if t := b.tenants[e.Tenant]; t != nil {
		o.TenantName, o.Zone = t.displayName, t.zone
		o.Users = func(role string) []channel.User { return t.users[role] }
	}
	return o
}

// zone is that of a tenant; nil for UTC.
func (b *Book) zone(tenant string) *time.Location {
	if t := b.tenants[tenant]; t != nil {
		return t.zone
	}
	return nil
}
