package ingest

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// directory is what configuration has of tenants, as of one revision. It is immutable; nil, before the first reading, has no
// tenant, and keeps fields that no type has: a tenant may want that.
type directory struct {
	from    *configclient.Snapshot
	tenants map[string]*tenantEvents
}

// tenantEvents are what a tenant decides of its events.
type tenantEvents struct {
	keepsUnknown bool
	types        map[string]*declaredType
}

// declaredType is a type, and what it was made of.
type declaredType struct {
	written *configv1.EventType
	made    *event.Type
}

var _ event.Tenants = (*directory)(nil)

// Declared implements event.Tenants.
func (d *directory) Declared(tenant, name string) *event.Type {
	if d == nil || d.tenants[tenant] == nil || d.tenants[tenant].types[name] == nil {
		return nil
	}
	return d.tenants[tenant].types[name].made
}

// KeepsUnknown implements event.Tenants.
func (d *directory) KeepsUnknown(tenant string) bool {
	if d == nil || d.tenants[tenant] == nil {
		return true // refused as a tenant that does not exist, where that is known
	}
	return d.tenants[tenant].keepsUnknown
}

// has reports whether there is a tenant.
func (d *directory) has(tenant string) bool { return d != nil && d.tenants[tenant] != nil }

// readDirectory reads the newest revision; it is before itself where nothing has changed. Where configuration does not answer, it is
// what a replica kept last, with the error.
func readDirectory(ctx context.Context, source *configclient.Source, before *directory) (*directory, error) {
	ctx, cancel := context.WithTimeout(ctx, readingPatience)
	defer cancel()
	s, err := source.Refresh(ctx)
	switch {
	case s == nil:
		return before, err
	case before != nil && before.from == s:
		return before, err
	}
	return newDirectory(s, before), err
}

// newDirectory compiles a snapshot; a type that did not change is the same as before. One that this binary can't compile is
// none: its events are of an unknown type.
func newDirectory(s *configclient.Snapshot, before *directory) *directory {
	d := &directory{from: s, tenants: make(map[string]*tenantEvents, len(s.Tenants()))}
	for _, t := range s.Tenants() {
		d.tenants[t.ID] = &tenantEvents{
			keepsUnknown: t.Message.GetUnknownFields() == configv1.UnknownFields_UNKNOWN_FIELDS_KEEP,
			types:        map[string]*declaredType{},
		}
	}
	for _, written := range s.AllEventTypes() {
		tenant, name := channel.SplitName(written.GetName(), "eventTypes")
		of := d.tenants[tenant]
		if of == nil {
			continue
		}
		if before.has(tenant) {
			if same := before.tenants[tenant].types[name]; same != nil && proto.Equal(same.written, written) {
				of.types[name] = same
				continue
			}
		}
		var f fault.Violations
		if made := event.Declare(name, written, &f); made != nil {
			of.types[name] = &declaredType{written, made}
		}
	}
	return d
}
