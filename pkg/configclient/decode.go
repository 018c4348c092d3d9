package configclient

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Unreadable is a resource that this binary can't read: a newer service stored it, or it is damaged. The rest of its
// revision is used. An unreadable class, notification or endpoint of an unknown profile has no effect; an unreadable
// tenant keeps safe values in place of those that can't be read.
type Unreadable struct {
	// Name of the resource.
	Name string
	Err  error
}

// Decode decodes a snapshot. Resources that it can't read are in Unreadable.
func Decode(m *configv1.Snapshot) *Snapshot { return decode(m, nil) }

// decode takes from an earlier snapshot what was decoded of the same messages.
func decode(m *configv1.Snapshot, before *Snapshot) *Snapshot {
	d := decoder{zones: map[string]*time.Location{}}
	s := &Snapshot{
		Revision: m.GetRevision(), History: m.GetHistory(), ApplyRevision: m.GetApplyRevision(),
		tenants:       make(map[string]*Tenant, len(m.GetTenants())),
		classes:       make(map[classKey]*Class, len(m.GetClassesOfService())),
		notifications: make(map[string][]*configv1.Notification, len(m.GetTenants())),
		users:         map[string][]*configv1.User{},
		eventTypes:    map[string][]*configv1.EventType{},
		targets:       map[string]*Target{},
		order:         order{targets: map[*channel.Kind][]*Target{}},
		raw:           m,
	}
	for _, t := range m.GetTenants() {
		tenant := d.tenant(t)
		if d.taken(s, t.GetName()) != nil && tenant.ID == "" {
			continue
		}
		s.tenants[tenant.ID] = tenant
		s.order.tenants = append(s.order.tenants, tenant)
	}
	for _, c := range m.GetClassesOfService() {
		class := d.class(c)
		if d.taken(s, c.GetName()) == nil {
			s.classes[classKey{class.Tenant, class.ID}] = class
		}
	}
	for _, n := range m.GetNotifications() {
		tenant, _ := d.name(n.GetName(), "notifications")
		if d.taken(s, n.GetName()) == nil {
			s.notifications[tenant] = append(s.notifications[tenant], n)
		}
	}
	for _, u := range m.GetUsers() {
		tenant, _ := d.name(u.GetName(), "users")
		if d.taken(s, u.GetName()) == nil {
			s.users[tenant] = append(s.users[tenant], u)
		}
	}
	for _, t := range m.GetEventTypes() {
		tenant, _ := d.name(t.GetName(), "eventTypes")
		if d.taken(s, t.GetName()) == nil {
			s.eventTypes[tenant] = append(s.eventTypes[tenant], t)
		}
	}
	for _, k := range table.Kinds() {
		for r := range Resources(m, k) {
			s.masked = s.masked || k.Masked(r)
			t := before.unchanged(r, r.GetName())
			if t == nil {
				t = d.target(r, k)
				t.Unreadable = d.taken(s, r.GetName())
			} else if t.Unreadable != nil {
				s.unreadable = append(s.unreadable, Unreadable{Name: t.Name, Err: t.Unreadable})
			}
			if t.ID == "" {
				continue
			}
			s.targets[t.Name] = t
			s.order.targets[k] = append(s.order.targets[k], t)
		}
	}
	return s
}

// decoder collects the errors of the resource it reads.
type decoder struct {
	errs  []error
	zones map[string]*time.Location
}

func (d *decoder) fail(name string, err error) {
	if err != nil {
		d.errs = append(d.errs, fmt.Errorf("%s: %w", name, err))
	}
}

// taken ends the reading of one resource and adds its errors to the snapshot's unreadable resources.
func (d *decoder) taken(s *Snapshot, name string) error {
	err := errors.Join(d.errs...)
	d.errs = nil
	if err != nil {
		s.unreadable = append(s.unreadable, Unreadable{Name: name, Err: err})
	}
	return err
}

// name reads "tenants/{tenant}/<collection>/{id}".
func (d *decoder) name(name, collection string) (tenant, id string) {
	if tenant, id = channel.SplitName(name, collection); id == "" {
		d.fail(name, fmt.Errorf("is not a name of %s", collection))
	}
	return tenant, id
}

func (d *decoder) tenant(t *configv1.Tenant) *Tenant {
	id, ok := strings.CutPrefix(t.GetName(), "tenants/")
	if !ok {
		d.fail(t.GetName(), errors.New("is not a name of tenants"))
		id = ""
	}
	o := t.GetOutbound()
	policy, err := outbound.PolicyOf(o.GetPorts(), o.GetPlainHttp(), o.GetNetworks(), nil)
	if err != nil {
		d.fail(t.GetName(), err)
		policy = outbound.Policy{} // the narrowest policy
	}
	out := &Tenant{Name: t.GetName(), ID: id, DisplayName: t.GetDisplayName(), Outbound: policy, UnknownGrace: DefaultUnknownGrace, DedupWindow: DefaultDedupWindow, Zone: time.UTC, Message: t}
	if zone := d.zone(t.GetName(), t.GetTimeZone()); zone != nil {
		out.Zone = zone
	}
	p := t.GetSubscribers()
	if grace := p.GetUnknownGrace(); grace != nil {
		if err := grace.CheckValid(); err != nil {
			d.fail(t.GetName(), err)
		} else {
			out.UnknownGrace = grace.AsDuration()
		}
	}
	if window := p.GetDedupWindow(); window != nil {
		if long := window.AsDuration(); window.CheckValid() != nil || long < DefaultDedupWindow || long > MaxDedupWindow {
			d.fail(t.GetName(), fmt.Errorf("dedup window %s is not from %s to %s", long, DefaultDedupWindow, MaxDedupWindow))
		} else {
			out.DedupWindow = long
		}
	}
	out.DefaultClass = p.GetDefaultClassOfService()
	out.UnknownAllows = d.allows(t.GetName(), p.GetOnUnknown())
	switch p.GetTooLateToDeduplicate() {
	case configv1.TooLateToDeduplicate_TOO_LATE_TO_DEDUPLICATE_UNSPECIFIED, configv1.TooLateToDeduplicate_TOO_LATE_TO_DEDUPLICATE_COUNT:
	case configv1.TooLateToDeduplicate_TOO_LATE_TO_DEDUPLICATE_REJECT:
		out.RejectTooLate = true
	default:
		// A rejected event can be sent again; an event that was counted wrongly can't be found again.
		out.RejectTooLate = true
		d.fail(t.GetName(), fmt.Errorf("too late to deduplicate: %d is not known", p.GetTooLateToDeduplicate()))
	}
	return out
}

func (d *decoder) target(r channel.Resource, k *channel.Kind) *Target {
	out := &Target{Name: r.GetName(), message: r}
	out.Tenant, out.ID = d.name(r.GetName(), k.Collection)
	value, errs := k.Decode(r)
	for _, err := range errs {
		d.fail(r.GetName(), err)
	}
	out.Value = value
	return out
}
