package configclient

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/secret"
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

// Decode makes a snapshot of a message. Resources that it can't read are in Unreadable.
func Decode(m *configv1.Snapshot) *Snapshot {
	var f form
	var c changes
	err := c.add(m)
	s, applied := f.snapshot(headOf(m), nil, &c)
	if err = errors.Join(err, applied); err != nil {
		s = newSnapshot(headOf(m))
		s.derive(nil)
		s.unreadable = append(s.unreadable, Unreadable{Name: "snapshot", Err: err})
	}
	return s
}

// form is what a service has of each revision.
type form struct {
	// planned: of targets there is no more than what planning reads.
	planned bool
	// address of a part in the store; nil without one.
	address func(body []byte) string
	// keyset decrypts the secrets of targets; nil for a service that sends nothing.
	keyset *secret.Keyset
}

// content is what was decoded of a part.
type content struct {
	tenants       []*Tenant
	classes       []*Class
	notifications []*configv1.Notification
	users         []*configv1.User
	eventTypes    []*configv1.EventType
	targets       []*Target
	unreadable    []Unreadable
	masked        bool
	encrypted     bool
	// undecrypted is true where the keyset did not decrypt a secret, as it was in keysetVersion.
	undecrypted   bool
	keysetVersion int
}

func (f form) decode(m *configv1.Snapshot) (c content) {
	d := decoder{zones: map[string]*time.Location{}, keyset: f.keyset}
	if f.keyset != nil {
		c.keysetVersion = f.keyset.Version() // before anything is decrypted: a change meanwhile has all decrypted again
	}
	for _, t := range m.GetTenants() {
		tenant := d.tenant(t)
		if d.taken(&c, t.GetName()) == nil || tenant.ID != "" {
			c.tenants = append(c.tenants, tenant)
		}
	}
	for _, one := range m.GetClassesOfService() {
		class := d.class(one)
		if d.taken(&c, one.GetName()) == nil {
			c.classes = append(c.classes, class)
		}
	}
	named := func(name, collection string) bool {
		d.name(name, collection)
		return d.taken(&c, name) == nil
	}
	for _, n := range m.GetNotifications() {
		if named(n.GetName(), "notifications") {
			c.notifications = append(c.notifications, n)
		}
	}
	for _, u := range m.GetUsers() {
		if named(u.GetName(), "users") {
			c.users = append(c.users, u)
		}
	}
	for _, t := range m.GetEventTypes() {
		if named(t.GetName(), "eventTypes") {
			c.eventTypes = append(c.eventTypes, t)
		}
	}
	for _, k := range kinds {
		for r := range Resources(m, k.Kind) {
			c.masked = c.masked || k.Masked(r)
			c.encrypted = c.encrypted || f.keyset == nil && len(k.Encrypted(r)) > 0
			t := d.target(r, k.Kind)
			if f.planned {
				t.Value = plannedTarget(t.Value.Planning())
			}
			if t.Unreadable = d.taken(&c, r.GetName()); t.ID != "" {
				c.targets = append(c.targets, t)
			}
		}
	}
	c.undecrypted = d.undecrypted
	return c
}

// plannedTarget is a target of which planning alone is known.
type plannedTarget channel.Planning

// Planning implements channel.Target.
func (p plannedTarget) Planning() channel.Planning { return channel.Planning(p) }

// decoder collects the errors of the resource it reads.
type decoder struct {
	errs  []error
	zones map[string]*time.Location
	// keyset decrypts the secrets of targets; nil for a service that sends nothing.
	keyset *secret.Keyset
	// undecrypted: the keyset did not decrypt a secret of a resource.
	undecrypted bool
}

func (d *decoder) fail(name string, err error) {
	if err != nil {
		d.errs = append(d.errs, fmt.Errorf("%s: %w", name, err))
	}
}

// taken ends the reading of one resource and adds its errors to the unreadable resources.
func (d *decoder) taken(c *content, name string) error {
	err := errors.Join(d.errs...)
	d.errs = nil
	if err != nil {
		c.unreadable = append(c.unreadable, Unreadable{Name: name, Err: err})
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
	out := &Target{Name: r.GetName()}
	out.Tenant, out.ID = d.name(r.GetName(), k.Collection)
	if d.keyset != nil && len(k.Encrypted(r)) > 0 {
		r, _ = proto.Clone(r).(channel.Resource)
		if err := k.Decrypt(r, d.keyset); err != nil {
			d.undecrypted = true
			d.errs = append(d.errs, &undecrypted{err})
		}
	}
	value, errs := k.Decode(r)
	for _, err := range errs {
		d.fail(r.GetName(), err)
	}
	out.Value = value
	return out
}
