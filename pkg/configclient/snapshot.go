package configclient

import (
	"time"

	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Snapshot is the whole configuration as of one revision.
type Snapshot struct {
	Revision int64
	// History that the revision is of.
	History uint64
	// ApplyRevision is the newest revision, at or before this one, that changed what counting or planning reads.
	ApplyRevision int64

	tenants       map[string]*Tenant
	classes       map[classKey]*Class
	notifications map[string][]*configv1.Notification
	endpoints     map[string]*Endpoint
	order         order
	raw           *configv1.Snapshot
	faults        []Fault
	// masked says that the configuration service showed no secrets.
	masked bool
}

type classKey struct{ tenant, id string }

// order keeps each list sorted by name.
type order struct {
	tenants   []*Tenant
	endpoints []*Endpoint
}

// Tenant is a customer of the platform.
type Tenant struct {
	// Name is "tenants/{tenant}", ID its last part.
	Name, ID    string
	DisplayName string
	// Outbound is where the tenant's endpoints may lie; without what the operator denies to all.
	Outbound outbound.Policy
	// UnknownGrace is how long, by the log's time, usage of a number nobody has activated waits; 0: not at all.
	UnknownGrace time.Duration
	// DefaultClass is the id of the class that such a number is activated with then; empty where its usage is rejected.
	DefaultClass string
	// UnknownAllows is the answer while a subscriber's record is what is missing: true lets it through.
	UnknownAllows bool
	// DedupWindow is how long ids of counted events are remembered.
	DedupWindow time.Duration
	// RejectUnprovable refuses usage that is older than ids are remembered, instead of counting it.
	RejectUnprovable bool
}

// Endpoint is where webhooks go. In a snapshot that was compiled it may have no more than its names, Profile,
// IncludePersonal and whether it is a draft; Source.At answers all of it.
type Endpoint struct {
	// Name is "tenants/{tenant}/endpoints/{endpoint}".
	Name, Tenant, ID string
	// Revision in which it last changed.
	Revision int64
	URL      string
	Profile  Profile
	// Secrets are the keys of the signature, newest first.
	Secrets []Secret
	// CACertificates is PEM, trusted beside the system's roots.
	CACertificates []byte
	Status         Status
	Headers        []Header
	// Timeout of one attempt in all.
	Timeout time.Duration
	// Concurrency is how many requests may be under way.
	Concurrency int
	// IncludePersonal lets fields marked as personal leave with the event's data.
	IncludePersonal bool
	// Unreadable is why nothing can be sent to it; nil where all of it was read. Planning goes by Profile alone, which is
	// in every form of a snapshot.
	Unreadable error
}

// Header is sent with each request.
type Header struct{ Name, Value string }

// Secret is the key of a signature. It does not show in logs.
type Secret []byte

// String hides the key.
func (Secret) String() string { return "whsec_****" }

// GoString hides the key.
func (Secret) GoString() string { return "whsec_****" }

// Profile is the form of a webhook's body.
type Profile uint8

const (
	// ProfileTollgate is CloudEvents 1.0, structured, with our extension attributes.
	ProfileTollgate Profile = iota
	// ProfileParameters is a flat object of the action's parameters.
	ProfileParameters
	// ProfileUnknown is one of a newer service: nothing is planned.
	ProfileUnknown
)

// Status says what becomes of an endpoint's deliveries.
type Status uint8

const (
	// Active sends.
	Active Status = iota
	// Draft plans nothing.
	Draft
	// Disabled cancels what waits.
	Disabled
)

// Defaults of an endpoint.
const (
	DefaultTimeout     = 15 * time.Second
	DefaultConcurrency = 64
)

// DefaultDedupWindow is a tenant's DedupWindow where it says none, and the shortest; MaxDedupWindow is the longest.
const (
	DefaultDedupWindow = 24 * time.Hour
	MaxDedupWindow     = 35 * 24 * time.Hour
)

// DefaultUnknownGrace is a tenant's UnknownGrace where it says none.
const DefaultUnknownGrace = 30 * time.Second

// Tenant finds a tenant by the last part of its name.
func (s *Snapshot) Tenant(id string) (*Tenant, bool) {
	t, ok := s.tenants[id]
	return t, ok
}

// Tenants are all of them, sorted by name.
func (s *Snapshot) Tenants() []*Tenant { return s.order.tenants }

// Class finds a class of service by the last parts of its tenant's name and of its own.
func (s *Snapshot) Class(tenant, id string) (*Class, bool) {
	c, ok := s.classes[classKey{tenant, id}]
	return c, ok
}

// Notifications are a tenant's, sorted by name, active or not. They stay messages: pkg/rules is what decodes them.
func (s *Snapshot) Notifications(tenant string) []*configv1.Notification {
	return s.notifications[tenant]
}

// Endpoint finds an endpoint by its whole name.
func (s *Snapshot) Endpoint(name string) (*Endpoint, bool) {
	e, ok := s.endpoints[name]
	return e, ok
}

// Endpoints are all of them, sorted by name.
func (s *Snapshot) Endpoints() []*Endpoint { return s.order.endpoints }

// Faults are the resources that this binary can't read, in the order of the snapshot.
func (s *Snapshot) Faults() []Fault { return s.faults }

// Message is what the snapshot was decoded from. It must not be changed.
func (s *Snapshot) Message() *configv1.Snapshot { return s.raw }
