package trigger

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rules"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// declared are the event types that a tenant declares. One that did not change is the same in the next book, so that the
// rules on it are.
type declared struct {
	from  []*configv1.EventType
	made  map[string]*event.Type
	types *rules.Types
	// unreadable are those that this binary can't compile: rules on them are none.
	unreadable []configclient.Unreadable
}

// declare compiles the types of a tenant; before is what stood in another book, or nil.
func declare(written []*configv1.EventType, before *declared) *declared {
	equal := func(a, b *configv1.EventType) bool { return proto.Equal(a, b) }
	if before != nil && slices.EqualFunc(before.from, written, equal) {
		return before
	}
	d := &declared{from: written, made: map[string]*event.Type{}}
	var all []*event.Type
	for _, w := range written {
		_, name := channel.SplitName(w.GetName(), "eventTypes")
		t := before.unchanged(name, w)
		if t == nil {
			var f fault.Violations
			if t = event.Declare(name, w, &f); t == nil {
				d.unreadable = append(d.unreadable, configclient.Unreadable{Name: w.GetName(), Err: f.Err(reason.ConfigInvalid)})
				continue
			}
		}
		d.made[name] = t
		all = append(all, t)
	}
	d.types = rules.NewTypes(all...)
	return d
}

// unchanged is a type as it was made before, where it was written so.
func (d *declared) unchanged(name string, now *configv1.EventType) *event.Type {
	if d == nil {
		return nil
	}
	i := slices.IndexFunc(d.from, func(w *configv1.EventType) bool { return w.GetName() == now.GetName() })
	if i < 0 || !proto.Equal(d.from[i], now) {
		return nil
	}
	return d.made[name]
}

// typesOf are the types that a tenant declares; nil for none.
func (b *Book) typesOf(tenant string) *rules.Types {
	if b == nil || b.declared[tenant] == nil {
		return nil
	}
	return b.declared[tenant].types
}

// written is a notification as its tenant's rules are compiled.
func (b *Book) written(n *configv1.Notification, channels channel.List) rules.Notification {
	out := rules.FromProto(n, channels)
	out.Types = b.typesOf(out.Tenant)
	return out
}
