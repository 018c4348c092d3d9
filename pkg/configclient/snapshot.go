package configclient

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Snapshot is the whole configuration as of one revision.
type Snapshot struct {
	// Revision in which it last changed.
	Revision int64
	// History that the revision is of.
	History uint64
	// ApplyRevision is the newest revision, at or before this one, that changed what counting or planning reads.
	ApplyRevision int64

	// standsIn is the revision whose content this is, where this one was lost; else 0.
	standsIn int64
	lists    map[protoreflect.FullName]*list
	views
}

// views are what look-ups read, made of the lists. They share what is of lists that did not change.
type views struct {
	tenants       map[string]*Tenant
	sorted        []*Tenant
	classes       map[classKey]*Class
	notifications byTenant[*configv1.Notification]
	users         byTenant[*configv1.User]
	eventTypes    byTenant[*configv1.EventType]
	unreadable    []Unreadable
	// masked is true where the configuration service showed no secrets.
	masked bool
	// encrypted is true where secrets were not decrypted, for want of a keyset.
	encrypted bool
	// undecrypted is true where the keyset did not decrypt a secret.
	undecrypted bool
}

// byTenant are resources sorted by name, all of them and those of each tenant.
type byTenant[T proto.Message] struct {
	all []T
	of  map[string][]T
}

type classKey struct{ tenant, id string }

// Tenant is a customer of the platform.
type Tenant struct {
	// Name is "tenants/{tenant}", ID its last part.
	Name, ID    string
	DisplayName string
	// Outbound is where the tenant's endpoints may be, before the operator's denied networks.
	Outbound outbound.Policy
	// UnknownGrace is how long, by log time, usage of an unknown number waits for its activation; 0: not at all.
	UnknownGrace time.Duration
	// DefaultClass is the id of the class that activates such a number then; empty where its usage is rejected.
	DefaultClass string
	// UnknownAllows is the decision while a subscriber's record is missing: true allows.
	UnknownAllows bool
	// DedupWindow is how long the ids of counted events are kept.
	DedupWindow time.Duration
	// RejectTooLate rejects usage that is too late to be deduplicated, instead of counting it.
	RejectTooLate bool
	// Zone is where dates without a time are, and instants for those whose own zone is not known; UTC by default.
	Zone *time.Location
	// Message is the tenant as it was read; channels find their default target in it.
	Message *configv1.Tenant
}

// Target is a resource that deliveries go to. Who follows only what is planned by has no more of it than that.
type Target struct {
	// Name is the whole resource name, Tenant and ID are parts of it.
	Name, Tenant, ID string
	// Value is the resource in the type of its channel, or no more than its Planning.
	Value channel.Target
	// Unreadable is why no request can be sent to it; nil where all of it was read. Planning uses Profile alone, which
	// every form of a snapshot has.
	Unreadable error
}

// DefaultDedupWindow is a tenant's DedupWindow where it sets none, and the shortest; MaxDedupWindow is the longest.
const (
	// DefaultDedupWindow is a tenant's DedupWindow where it sets none, and the shortest; MaxDedupWindow is the longest.
	DefaultDedupWindow = 24 * time.Hour
	MaxDedupWindow     = 35 * 24 * time.Hour
)

// DefaultUnknownGrace is a tenant's UnknownGrace where it sets none.
const DefaultUnknownGrace = 30 * time.Second

// Tenant finds a tenant by the last part of its name.
func (s *Snapshot) Tenant(id string) (*Tenant, bool) {
	t, ok := s.tenants[id]
	return t, ok
}

// Tenants returns all tenants, sorted by name.
func (s *Snapshot) Tenants() []*Tenant { return s.sorted }

// Class finds a class of service by the last parts of its tenant's name and of its own.
func (s *Snapshot) Class(tenant, id string) (*Class, bool) {
	c, ok := s.classes[classKey{tenant, id}]
	return c, ok
}

// Classes are all that can be read, sorted by name.
func (s *Snapshot) Classes() []*Class {
	return slices.SortedFunc(maps.Values(s.classes), func(a, b *Class) int { return strings.Compare(a.Name, b.Name) })
}

// Notifications are all, sorted by name, active or not, as messages; pkg/rules decodes them.
func (s *Snapshot) Notifications() []*configv1.Notification { return s.notifications.all }

// Users are a tenant's, sorted by name.
func (s *Snapshot) Users(tenant string) []*configv1.User { return s.users.of[tenant] }

// EventTypes are those that a tenant declares, sorted by name, as messages; pkg/event reads them.
func (s *Snapshot) EventTypes(tenant string) []*configv1.EventType { return s.eventTypes.of[tenant] }

// AllEventTypes are those of all tenants, sorted by name.
func (s *Snapshot) AllEventTypes() []*configv1.EventType { return s.eventTypes.all }

// Target finds a target by its whole name.
func (s *Snapshot) Target(name string) (*Target, bool) {
	for _, k := range kinds {
		l := s.lists[k.list]
		if l == nil || l[bucketOf(name)] == nil {
			continue
		}
		all := l[bucketOf(name)].targets
		if i, ok := slices.BinarySearchFunc(all, name, func(t *Target, name string) int { return strings.Compare(t.Name, name) }); ok {
			return all[i], true
		}
	}
	return nil, false
}

// Targets are all of a kind, in an order of their own.
func (s *Snapshot) Targets(k *channel.Kind) iter.Seq[*Target] {
	return func(yield func(*Target) bool) {
		for _, p := range s.lists[listOfKind(k)].parts() {
			for _, t := range p.targets {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// SameTargets reports whether another snapshot has the same targets of a kind, and the same tenants.
func (s *Snapshot) SameTargets(k *channel.Kind, as *Snapshot) bool {
	tenants := (&configv1.Tenant{}).ProtoReflect().Descriptor().FullName()
	return as != nil && s.lists[listOfKind(k)] == as.lists[listOfKind(k)] && s.lists[tenants] == as.lists[tenants]
}

// Unreadable are the resources that this binary can't read, list by list, sorted by name.
func (s *Snapshot) Unreadable() []Unreadable { return s.unreadable }

// targetsOf is how many targets of a kind there are.
func (s *Snapshot) targetsOf(k *channel.Kind) (n int) {
	for _, p := range s.lists[listOfKind(k)].parts() {
		n += len(p.targets)
	}
	return n
}

func newSnapshot(head *configv1.Snapshot) *Snapshot {
	return &Snapshot{
		Revision: head.GetRevision(), History: head.GetHistory(), ApplyRevision: head.GetApplyRevision(), standsIn: head.GetStandsIn(),
		lists: map[protoreflect.FullName]*list{},
	}
}

// derive makes the views.
func (s *Snapshot) derive(before *Snapshot) {
	if before == nil {
		before = &Snapshot{}
	}
	same := func(m proto.Message) (l *list, same bool) {
		name := m.ProtoReflect().Descriptor().FullName()
		return s.lists[name], before.lists[name] == s.lists[name] && before.lists != nil
	}
	if l, same := same(&configv1.Tenant{}); same {
		s.tenants, s.sorted = before.tenants, before.sorted
	} else {
		s.sorted = gathered(l, func(p *part) []*Tenant { return p.tenants }, func(t *Tenant) string { return t.Name })
		s.tenants = make(map[string]*Tenant, len(s.sorted))
		for _, t := range s.sorted {
			s.tenants[t.ID] = t
		}
	}
	if l, same := same(&configv1.ClassOfService{}); same {
		s.classes = before.classes
	} else {
		s.classes = map[classKey]*Class{}
		for _, p := range l.parts() {
			for _, c := range p.classes {
				s.classes[classKey{c.Tenant, c.ID}] = c
			}
		}
	}
	if l, same := same(&configv1.Notification{}); same {
		s.notifications = before.notifications
	} else {
		s.notifications = tenantwise(l, func(p *part) []*configv1.Notification { return p.notifications }, "notifications")
	}
	if l, same := same(&configv1.User{}); same {
		s.users = before.users
	} else {
		s.users = tenantwise(l, func(p *part) []*configv1.User { return p.users }, "users")
	}
	if l, same := same(&configv1.EventType{}); same {
		s.eventTypes = before.eventTypes
	} else {
		s.eventTypes = tenantwise(l, func(p *part) []*configv1.EventType { return p.eventTypes }, "eventTypes")
	}
	for _, kind := range ordered {
		s.unreadable = append(s.unreadable, gathered(s.lists[kind], func(p *part) []Unreadable { return p.unreadable }, func(u Unreadable) string { return u.Name })...)
		for _, p := range s.lists[kind].parts() {
			s.masked = s.masked || p.masked
			s.encrypted = s.encrypted || p.encrypted
			s.undecrypted = s.undecrypted || p.undecrypted
		}
	}
}

// parts are those of a list that has any.
func (l *list) parts() []*part {
	if l == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(l[:]), func(p *part) bool { return p == nil })
}

// gathered are the resources of all parts, sorted by name.
func gathered[T any](l *list, of func(*part) []T, name func(T) string) []T {
	var all []T
	for _, p := range l.parts() {
		all = append(all, of(p)...)
	}
	slices.SortStableFunc(all, func(a, b T) int { return strings.Compare(name(a), name(b)) })
	return all
}

func tenantwise[T interface {
	proto.Message
	GetName() string
}](l *list, of func(*part) []T, collection string) byTenant[T] {
	out := byTenant[T]{all: gathered(l, of, T.GetName), of: map[string][]T{}}
	for from := 0; from < len(out.all); {
		tenant, _ := channel.SplitName(out.all[from].GetName(), collection)
		to := from + 1
		for to < len(out.all) && strings.HasPrefix(out.all[to].GetName(), "tenants/"+tenant+"/") {
			to++
		}
		out.of[tenant] = out.all[from:to:to]
		from = to
	}
	return out
}
