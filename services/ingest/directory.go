package ingest

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// directory is what configuration has of tenants, as of one revision. It is immutable; nil, before the first reading, has no
// tenant, and keeps fields that no type has: a tenant may want that.
type directory struct {
	at      *configv1.Position
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

// lists of a snapshot that a directory is made of.
var lists = []string{"tenants", "event_types"}

// readDirectory reads the newest revision; it is before itself where nothing has changed. It ends where configuration sends
// nothing for a while.
func readDirectory(ctx context.Context, client configv1.ConfigWatchServiceClient, before *directory) (*directory, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slow := time.AfterFunc(tenantsPatience, cancel)
	defer slow.Stop()
	req := &configv1.SnapshotRequest{Lists: lists}
	if before != nil {
		req.Known = before.at
	}
	parts, err := client.Snapshot(ctx, req)
	if err != nil {
		return nil, err
	}
	whole := &configv1.Snapshot{}
	for {
		part, err := parts.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return newDirectory(whole, before), nil
		case err != nil:
			return nil, err
		case part.GetUnchanged() && before != nil:
			return before, nil
		}
		slow.Reset(tenantsPatience)
		s := part.GetSnapshot()
		whole.Revision, whole.History = s.GetRevision(), s.GetHistory()
		whole.Tenants = append(whole.Tenants, s.GetTenants()...)
		whole.EventTypes = append(whole.EventTypes, s.GetEventTypes()...)
	}
}

// newDirectory compiles a snapshot; a type that did not change is the same as before. One that this binary can't compile is
// none: its events are of an unknown type.
func newDirectory(s *configv1.Snapshot, before *directory) *directory {
	d := &directory{
		at:      &configv1.Position{History: s.GetHistory(), Revision: s.GetRevision()},
		tenants: make(map[string]*tenantEvents, len(s.GetTenants())),
	}
	for _, t := range s.GetTenants() {
		d.tenants[strings.TrimPrefix(t.GetName(), "tenants/")] = &tenantEvents{
			keepsUnknown: t.GetUnknownFields() == configv1.UnknownFields_UNKNOWN_FIELDS_KEEP,
			types:        map[string]*declaredType{},
		}
	}
	for _, written := range s.GetEventTypes() {
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
