package configclient

import (
	"time"

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

	tenants       map[string]*Tenant
	classes       map[classKey]*Class
	notifications map[string][]*configv1.Notification
	users         map[string][]*configv1.User
	eventTypes    map[string][]*configv1.EventType
	targets       map[string]*Target
	order         order
	raw           *configv1.Snapshot
	unreadable    []Unreadable
	// masked is true where the configuration service showed no secrets.
	masked bool
}

type classKey struct{ tenant, id string }

// order keeps each list sorted by name.
type order struct {
	tenants []*Tenant
	targets map[*channel.Kind][]*Target
}

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

// Target is a resource that deliveries go to. In a snapshot that was compiled it may have no more than what planning
// reads; Source.At answers all of it.
type Target struct {
	// Name is the whole resource name, Tenant and ID are parts of it.
	Name, Tenant, ID string
	// Value is the resource in the type of its channel.
	Value channel.Target
	// Unreadable is why no request can be sent to it; nil where all of it was read. Planning uses Profile alone, which
	// every form of a snapshot has.
	Unreadable error
	// message is what it was decoded from.
	message channel.Resource
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
func (s *Snapshot) Tenants() []*Tenant { return s.order.tenants }

// Class finds a class of service by the last parts of its tenant's name and of its own.
func (s *Snapshot) Class(tenant, id string) (*Class, bool) {
	c, ok := s.classes[classKey{tenant, id}]
	return c, ok
}

// Notifications returns a tenant's notifications, sorted by name, active or not, as messages; pkg/rules decodes them.
func (s *Snapshot) Notifications(tenant string) []*configv1.Notification {
	return s.notifications[tenant]
}

// Users are a tenant's, sorted by name.
func (s *Snapshot) Users(tenant string) []*configv1.User { return s.users[tenant] }

// EventTypes are those that a tenant declares, sorted by name, as messages; pkg/event reads them.
func (s *Snapshot) EventTypes(tenant string) []*configv1.EventType { return s.eventTypes[tenant] }

// Target finds a target by its whole name.
func (s *Snapshot) Target(name string) (*Target, bool) {
	t, ok := s.targets[name]
	return t, ok
}

// Targets are all of a kind, sorted by name.
func (s *Snapshot) Targets(k *channel.Kind) []*Target { return s.order.targets[k] }

// Unreadable are the resources that this binary can't read, in the order of the snapshot.
func (s *Snapshot) Unreadable() []Unreadable { return s.unreadable }

// Message is the message the snapshot was decoded from. It must not be changed.
func (s *Snapshot) Message() *configv1.Snapshot {
	if s == nil {
		return nil
	}
	return s.raw
}
