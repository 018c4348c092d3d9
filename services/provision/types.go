package provision

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/catalog"
	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/hook"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// declaredType is a type that a tenant declares, and what it was made of.
type declaredType struct {
	written *configv1.EventType
	made    *event.Type
}

var _ event.Tenants = (*book)(nil)

// declare compiles the types of a snapshot; one that did not change is that of the book before. One that this binary can't compile
// is none.
func (b *book) declare(s *configclient.Snapshot, before *book) {
	b.types = map[chainKey]declaredType{}
	for _, t := range s.Tenants() {
		for _, written := range s.EventTypes(t.ID) {
			_, name := channel.SplitName(written.GetName(), catalog.Collection)
			key := chainKey{t.ID, name}
			if before != nil {
				if same, ok := before.types[key]; ok && proto.Equal(same.written, written) {
					b.types[key] = same
					continue
				}
			}
			var f fault.Violations
			if made := event.Declare(name, written, &f); made != nil {
				b.types[key] = declaredType{written, made}
			}
		}
	}
}

// Declared implements event.Tenants.
func (b *book) Declared(tenant, name string) *event.Type { return b.types[chainKey{tenant, name}].made }

// KeepsUnknown implements event.Tenants.
func (b *book) KeepsUnknown(tenant string) bool {
	t, ok := b.snapshot.Tenant(tenant)
	return ok && t.Message.GetUnknownFields() == configv1.UnknownFields_UNKNOWN_FIELDS_KEEP
}

// lookup finds a type, built in or of the tenant; nil where there is none.
func (b *book) lookup(tenant, name string) *event.Type {
	if t, known := event.Lookup(name); known {
		return &t
	}
	return b.Declared(tenant, name)
}

// view is an event of the log with its fields, as its type is declared now.
func (b *book) view(e *event.Event) (*event.Event, error) {
	t := b.Declared(e.Tenant, e.Type)
	if t == nil {
		return e, nil
	}
	return t.View(e)
}

// declaring reports whether a hook is on types of its tenant, which may change while the hook does not.
func (b *book) declaring(h *hook.Hook) bool {
	return slices.ContainsFunc(h.Types, func(name string) bool { return b.Declared(h.Tenant, name) != nil })
}
