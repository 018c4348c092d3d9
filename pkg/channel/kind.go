package channel

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Resource is what all resources of the configuration have in common.
type Resource interface {
	proto.Message
	GetName() string
	GetMetadata() *configv1.Metadata
}

// Kind is a kind of resource that deliveries go to. Resources passed to its functions are of the type that New makes; no
// function is nil.
type Kind struct {
	// Name is that of the message, and of the kind in documents; its gRPC service is named <Name>Service.
	Name string
	// Short is what people type instead.
	Short string
	// Field is the resource's field in requests. Violations begin with it.
	Field string
	// Label is the kind in sentences, One the same with its article.
	Label, One string
	// Collection is the part of a resource name before the id.
	Collection string
	// Example is an id, for help texts.
	Example string
	// InUse is the reason with which config refuses to delete a target that an active notification names.
	InUse string
	New   func() Resource

	// Validate adds what is wrong with a resource to f. policy is where the tenant's deliveries may go.
	Validate func(r Resource, policy outbound.Policy, f *fault.Violations)
	// OperatorOnly is the field of a resource that nobody but the operator may set, where it is set; empty where none is. nil
	// where there is no such field.
	OperatorOnly func(r Resource) string
	// EventTypes are the event types that a resource names; ValidateTypes adds what is wrong with them, and with what is about
	// them, to f, where its tenant declares these. Broken is the reason with which config refuses to change a type so that a
	// resource on it is not valid any more. Of a kind that names no types the functions are nil.
	EventTypes    func(r Resource) []string
	ValidateTypes func(r Resource, declared []*configv1.EventType, f *fault.Violations)
	Broken        string
	// ByTenant are the fields that Validate checks against the policy of the tenant.
	ByTenant []string
	// Replans reports whether a change alters what planning reads; neither argument is nil.
	Replans func(before, after Resource) bool
	// Secrets are the values of a resource that are secrets, without those that are empty.
	Secrets func(r Resource) []Secret
	// Mask hides the secrets of a resource that leaves config.
	Mask func(r Resource)
	// Masked reports whether Mask has hidden anything.
	Masked func(r Resource) bool
	// Unmask restores the secrets of stored that a client sends back as Mask has left them.
	Unmask func(r, stored Resource)
	// Credentials are the secrets of a resource that are sent to a receiver; what only signs is none.
	Credentials func(r Resource) []Credential
	// Assign sets the fields that only the server writes, of a version about to be stored; stored is the one before, or nil.
	// named reports whether the request names a field, as one that is undeleted does with all.
	Assign func(r, stored Resource, named func(field string) bool)
	// Textless is why no action with parameters may go to the target, as the end of a sentence; empty where one may.
	Textless func(r Resource) string
	// Planned is a copy with no more than what planning reads.
	Planned func(r Resource) Resource
	// Decode reads a resource. With faults the target is what could be read.
	Decode func(r Resource) (Target, []error)
}

// Credential is a secret that is sent to a receiver. A stored one is not sent to another receiver unless the client gives
// it again: who may write and not read would have it sent to himself.
type Credential struct {
	// Field is its path in the resource; Key is the same for the credential that takes its place.
	Field, Key string
	// To is the receiver, such as "https://example.com".
	To    string
	Value string
}

// Target is a resource of a channel's kind, decoded into the channel's own type.
type Target interface {
	// Planning is what planning reads of the target.
	Planning() Planning
}

// Planning is what planning reads of a target. All else is read when a delivery is sent.
type Planning struct {
	// Draft targets get nothing planned; likewise those whose form of message is not known.
	Draft bool
	// Audience is which data a message to the target may carry.
	Audience Audience
	// Texts reports whether messages hold the action's parameters, which cost time to render.
	Texts bool
	// Form of the messages, in the channel's own type.
	Form any
}

// Status decides what happens to a target's deliveries.
type Status uint8

const (
	// Active targets are sent to.
	Active Status = iota
	// Draft targets get nothing planned.
	Draft
	// Disabled targets get what waits cancelled.
	Disabled
)

// StatusOf reads a status, the unspecified one as Active; false for one that is not known.
func StatusOf(s configv1.EndpointStatus) (Status, bool) {
	switch s {
	case configv1.EndpointStatus_ENDPOINT_STATUS_UNSPECIFIED, configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE:
		return Active, true
	case configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT:
		return Draft, true
	case configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED:
		return Disabled, true
	}
	return Active, false
}

// Split reads "tenants/{tenant}/<collection>/{id}". Both are empty where the name has another form.
func (k *Kind) Split(name string) (tenant, id string) { return SplitName(name, k.Collection) }

// SplitName reads "tenants/{tenant}/<collection>/{id}". Both are empty where the name has another form.
func SplitName(name, collection string) (tenant, id string) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0] != "tenants" || parts[2] != collection || parts[1] == "" || parts[3] == "" {
		return "", ""
	}
	return parts[1], parts[3]
}

// ValidateTarget adds to f what is wrong with the name of a target of kind k in the field of that kind.
func (k *Kind) ValidateTarget(name, tenant string, f *fault.Violations) {
	switch of, _ := k.Split(name); {
	case len(name) > MaxName:
		f.Add(k.Field, "must be at most %d bytes", MaxName)
	case of == "":
		f.Add(k.Field, `must be "tenants/{tenant}/%s/{%s}"`, k.Collection, k.Field)
	case of != tenant && tenant != "":
		f.Add(k.Field, "must be %s of tenant %q", k.One, tenant)
	}
}

// MaxName is the longest resource name, in bytes.
const MaxName = 200
