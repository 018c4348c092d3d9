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
	// ByTenant are the fields that Validate checks against the policy of the tenant.
	ByTenant []string
	// Replans reports whether a change alters what planning reads; neither argument is nil.
	Replans func(before, after Resource) bool
	// Mask hides the secrets of a resource that leaves config.
	Mask func(r Resource)
	// Masked reports whether Mask has hidden anything.
	Masked func(r Resource) bool
	// Unmask restores the secrets of stored that a client sends back as Mask has left them.
	Unmask func(r, stored Resource)
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
