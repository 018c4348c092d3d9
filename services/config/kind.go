package config

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

// resource is what all messages of resources have in common.
type resource = channel.Resource

// kind is what the kinds of resource differ in.
type kind struct {
	// name is the kind's in the database, and its field's in requests: violations begin with it.
	name string
	// label is for sentences.
	label string
	// collection is the part of the resource name before the last one; id is what the last one must look like.
	collection string
	id         *regexp.Regexp
	make       func() resource
	// most is how many a tenant may have, and of tenants the installation.
	most int64
	// validate adds what is wrong with a resource by itself; it may take a while, and reads nothing else. nil where
	// validateWithin does.
	validate func(f *fault.Violations, r resource)
	// validateWithin adds what is wrong with a resource among others; nil where nothing can be. q may be the change's own
	// transaction, so it is quick.
	validateWithin func(ctx context.Context, q queries, f *fault.Violations, r resource) error
	// besides, where not nil, are the versions of other resources that one is checked with. They are read with it, and again in
	// the transaction: where they changed meanwhile, all is checked anew.
	besides func(ctx context.Context, q queries, r resource) ([]store.Version, error)
	// fits, where not nil, adds what is wrong with a draft beside those; it may take a while.
	fits func(f *fault.Violations, d draft) error
	// find and builtIn, where not nil, are resources that every installation has, and that can only be read: by name, and all in
	// the order of names.
	find    func(name string) resource
	builtIn func() []resource
	// applied reports whether a change from old to new, of which one may be nil, changes what counting or planning reads.
	applied func(old, new resource) bool
	// inUse is why a resource can't be deleted; nil where it can.
	inUse func(ctx context.Context, q queries, name string, force bool) error
	// stored, where not nil, is called on a new version before it is validated, with the stored one or nil. named reports
	// whether the request names a field.
	stored func(new, old resource, named func(field string) bool)
	// drawn, where not nil, is called once on what a request may create; the result is called on the answer of a creation.
	drawn func(given resource) (reveal func(answer resource))
	// shown, where not nil, is called on a copy before it leaves in an answer.
	shown func(r resource)
	// uses, where not nil, are what a resource does with others: the index finds it by them.
	uses func(r resource) []use
	// credentials, where not nil, are the secrets of a resource that its receivers get to see.
	credentials func(r resource) []channel.Credential
	// secrets is what knows the secrets of a resource; nil where the kind has none.
	secrets *channel.Kind
	// checkID, where not nil, adds what is wrong with the last part of a name, in place of id.
	checkID func(f *fault.Violations, id string)
	// apart: services find and follow these by themselves, so they are part of no revision that is followed, and what one
	// was deleted is created again under its name.
	apart bool
}

var (
	idPattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	codePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

// Names of kinds, as the database has them.
const (
	nameTenant       = "tenant"
	nameClass        = "class_of_service"
	nameNotification = "notification"
	nameSuppression  = store.Suppression
	nameUser         = "user"
	nameAPIKey       = "api_key"
)

// Parts of names.
const (
	tenants = "tenants"
	classes = "classesOfService"
	// suppressions have an address as their id.
	suppressions = "suppressions"
)

func always(_, _ resource) bool { return true }

func never(_, _ resource) bool { return false }

var (
	tenantKind = &kind{
		name: nameTenant, label: "tenant", collection: tenants, id: idPattern, most: 10_000,
		make:           func() resource { return &configv1.Tenant{} },
		validateWithin: validateTenant, applied: always, inUse: tenantInUse,
	}
	classKind = &kind{
		name: nameClass, label: "class of service", collection: classes, id: idPattern, most: 1_000,
		make:     func() resource { return &configv1.ClassOfService{} },
		validate: validateClass, applied: always, inUse: classInUse,
	}
	notificationKind = &kind{
		name: nameNotification, label: "notification", collection: "notifications", id: codePattern, most: 10_000,
		make:    func() resource { return &configv1.Notification{} },
		besides: besideNotification, fits: notificationFits, validateWithin: validateTargets, applied: always, stored: keepNotificationVersion, uses: usesOf,
	}
	userKind = &kind{
		name: nameUser, label: "user", collection: "users", id: idPattern, most: 10_000,
		make:     func() resource { return &configv1.User{} },
		validate: validateUser, applied: always,
	}
	suppressionKind = &kind{
		name: nameSuppression, label: "suppression", collection: suppressions, checkID: checkSuppressionID, most: 1_000_000,
		make:     func() resource { return &configv1.Suppression{} },
		validate: validateSuppression, applied: never, stored: nameAddress, apart: true,
	}
	kinds = append([]*kind{tenantKind, classKind, notificationKind, userKind, keyKind, suppressionKind, eventTypeKind()}, targetKinds()...)
)

// kindOf is the kind of a name; nil where this binary does not know it.
func kindOf(name string) *kind {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

// tenantOf is the tenant's part of any resource name, "tenants/{tenant}"; empty where there is none.
func tenantOf(name string) string {
	parts := strings.SplitN(name, "/", 3)
	if len(parts) < 2 || parts[0] != tenants {
		return ""
	}
	return parts[0] + "/" + parts[1]
}

// form is how names of the kind look, for messages.
func (k *kind) form() string {
	if k == tenantKind {
		return "tenants/{tenant}"
	}
	return "tenants/{tenant}/" + k.collection + "/{id}"
}

// checkName records under "name" what is wrong with a name of the kind.
func (k *kind) checkName(f *fault.Violations, name string) {
	parts := strings.Split(name, "/")
	if k == tenantKind && len(parts) != 2 || k != tenantKind && (len(parts) != 4 || parts[2] != k.collection) ||
		parts[0] != tenantKind.collection {
		f.Add("name", "must look like %s, not %q", k.form(), cut(name))
		return
	}
	if !idPattern.MatchString(parts[1]) {
		f.Add("name", "tenant %q must match %s", cut(parts[1]), idPattern)
	}
	if k.checkID != nil {
		k.checkID(f, parts[3])
	} else if k != tenantKind && !k.id.MatchString(parts[3]) {
		f.Add("name", "%q must match %s", cut(parts[3]), k.id)
	}
}

// cut keeps a message short whatever was sent.
func cut(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

// decode reads a stored version.
func (k *kind) decode(v store.Version) (resource, error) {
	r := k.make()
	return r, unmarshal(v, r)
}

func unmarshal(v store.Version, into resource) error {
	if err := proto.Unmarshal(v.Body, into); err != nil {
		return fmt.Errorf("read %s of revision %d: %w", v.Name, v.Revision, err)
	}
	return nil
}

func setMetadata(r resource, m *configv1.Metadata) {
	field := r.ProtoReflect().Descriptor().Fields().ByName("metadata")
	if m == nil {
		r.ProtoReflect().Clear(field)
		return
	}
	r.ProtoReflect().Set(field, protoreflect.ValueOfMessage(m.ProtoReflect()))
}

// clone is proto.Clone with its type kept.
func clone(r resource) resource { return proto.Clone(r).(resource) }
