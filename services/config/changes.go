package config

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/difference"
	"github.com/tollgate/tollgate/services/config/fieldmask"
	"github.com/tollgate/tollgate/services/config/query"
	"github.com/tollgate/tollgate/services/config/store"
)

// changeService serves configv1.ChangeService.
type changeService struct {
	configv1.UnimplementedChangeServiceServer
	service *service
}

// historyKind is how a restore of the database that was accepted stands among the changes.
const historyKind = "history"

// changesBytes is how large a page of changes becomes: each shows values of up to a resource's size.
const changesBytes = 1 << 20

// ListChanges implements configv1.ChangeServiceServer.
func (c *changeService) ListChanges(ctx context.Context, req *configv1.ListChangesRequest) (*configv1.ListChangesResponse, error) {
	wanted, err := difference.Read(req, kindNamed)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = query.DefaultPage
	}
	size = min(size, query.LargestPage)
	entries, err := c.service.store.Changes(ctx, wanted, size+1)
	if err != nil {
		return nil, err
	}
	out := &configv1.ListChangesResponse{}
	bytes := 0
	for i, e := range entries {
		if i == size || bytes > changesBytes {
			out.NextPageToken = difference.Token(req, entries[i-1].Revision)
			break
		}
		one, err := c.shown(ctx, e)
		if err != nil {
			return nil, err
		}
		bytes += proto.Size(one)
		out.Changes = append(out.Changes, one)
	}
	return out, nil
}

// kindNamed is the kind in the database of a message's name; empty where there is none.
func kindNamed(message string) string {
	for _, k := range kinds {
		if strings.EqualFold(messageName(k), message) {
			return k.name
		}
	}
	if strings.EqualFold(message, historyKind) {
		return historyKind
	}
	return ""
}

// shown is a change with what became of each field.
func (c *changeService) shown(ctx context.Context, e store.Change) (*configv1.Change, error) {
	if e.Kind != historyKind && e.Kind != store.SecretsKind && kindOf(e.Kind) == nil {
		return nil, fmt.Errorf("read revision %d: this binary does not know kind %q", e.Revision, e.Kind)
	}
	out := &configv1.Change{
		Revision: e.Revision, History: e.History, Time: timestamppb.New(e.At), Caller: e.Caller, Action: e.Action, Kind: "History", Name: e.Name,
	}
	if e.Kind == store.SecretsKind {
		out.Kind = "Secrets"
	}
	for _, k := range kinds {
		if k.name != e.Kind {
			continue
		}
		out.Kind = messageName(k)
		var whole bool
		var err error
		if e.Action == actionReorder {
			out.Fields, whole, err = c.steps(ctx, k, e)
		} else {
			out.Fields, whole, err = c.fields(ctx, k, e)
		}
		out.Pruned = !whole
		return out, err
	}
	return out, nil
}

// fields are what a change of one resource changed; whole is false where its content was pruned.
func (c *changeService) fields(ctx context.Context, k *kind, e store.Change) (fields []*configv1.FieldChange, whole bool, err error) {
	before, after, whole, err := c.service.store.Versions(ctx, e)
	if err != nil || !whole {
		return nil, whole, err
	}
	was, is := k.make(), k.make()
	if before != nil && !before.Deleted {
		if was, err = c.service.decode(k, *before); err != nil {
			return nil, false, err
		}
	}
	if after != nil && !after.Deleted {
		if is, err = c.service.decode(k, *after); err != nil {
			return nil, false, err
		}
	}
	fields, err = c.difference(k, was, is)
	return fields, true, err
}

// steps are what a change of several resources changed, each field under the last part of its resource's name.
func (c *changeService) steps(ctx context.Context, k *kind, e store.Change) (fields []*configv1.FieldChange, whole bool, err error) {
	names, err := c.service.store.Names(ctx, e)
	if err != nil {
		return nil, false, err
	}
	whole = true
	for _, name := range names {
		e.Name = name
		one, kept, err := c.fields(ctx, k, e)
		if err != nil {
			return nil, false, err
		}
		whole = whole && kept
		for _, f := range one {
			f.Path = name[strings.LastIndexByte(name, '/')+1:] + "." + f.GetPath()
			fields = append(fields, f)
		}
	}
	return fields, whole, nil
}

// difference is what differs between two versions, as it may be shown.
func (c *changeService) difference(k *kind, was, is resource) ([]*configv1.FieldChange, error) {
	was, is = clone(was), clone(is)
	for _, r := range []resource{was, is} {
		for name := range fieldmask.Kept {
			if f := r.ProtoReflect().Descriptor().Fields().ByName(name); f != nil && !difference.IsSecret(name) {
				r.ProtoReflect().Clear(f)
			}
		}
	}
	masked := func(r resource) proto.Message {
		if k.name == nameEventType {
			return r // what is shown beside follows from the rest
		}
		return c.service.shown(k, clone(r))
	}
	fields, err := difference.Fields(was, is, masked(was), masked(is))
	if err != nil {
		return nil, fmt.Errorf("compare versions of %s: %w", is.GetName(), err)
	}
	return fields, nil
}

// RestoreResource implements configv1.ChangeServiceServer.
func (c *changeService) RestoreResource(ctx context.Context, req *configv1.RestoreResourceRequest) (*configv1.RestoreResourceResponse, error) {
	k := kindOfName(req.GetName())
	if k == nil || req.GetRevision() < 1 {
		var f fault.Violations
		if k == nil {
			f.Add("name", "must be the full name of a resource, such as tenants/acme/notifications/low-balance, not %q", cut(req.GetName()))
		}
		if req.GetRevision() < 1 {
			f.Add("revision", "must be 1 or more")
		}
		return nil, f.Err(reason.RequestInvalid)
	}
	update := "/tollgate.config.v1." + messageName(k) + "Service/Update" + messageName(k)
	if caller := rpc.CallerOf(ctx); caller != nil {
		if err := access.Authorize(caller, update); err != nil {
			return nil, err
		}
	}
	r := resources{c.service, k}
	var was, is resource
	made, err := r.apply(ctx, change{
		kind: k, name: req.GetName(), etag: req.GetEtag(), validateOnly: req.GetValidateOnly(), label: actionRestore,
		edit: func(stored resource, deleted bool) (resource, string, error) {
			if stored == nil {
				return nil, "", notFound(k, req.GetName())
			}
			if deleted && c.service.clock().After(stored.GetMetadata().GetDeleteTime().AsTime().Add(undeletable)) {
				return nil, "", r.gone(req.GetName())
			}
			row, ok, err := c.service.store.VersionAt(ctx, k.name, req.GetName(), req.GetRevision())
			if err != nil {
				return nil, "", err
			}
			if !ok || row.Deleted {
				return nil, "", fault.New(fault.NotFound, "VERSION_UNKNOWN", "%s %s was not there at revision %d, or is not kept as it was then", k.label, cut(req.GetName()), req.GetRevision())
			}
			old, err := c.service.decode(k, row)
			if err != nil {
				return nil, "", err
			}
			was, is = stored, clone(old)
			if deleted {
				was = k.make()
				return old, actionUndelete, nil
			}
			return old, actionUpdate, nil
		},
	})
	if err != nil {
		return nil, err
	}
	fields, err := c.difference(k, was, is)
	if err != nil {
		return nil, err
	}
	return &configv1.RestoreResourceResponse{Change: &configv1.Change{
		Revision: made.GetMetadata().GetRevision(), Time: made.GetMetadata().GetUpdateTime(),
		Caller: rpc.Caller(ctx), Action: actionRestore, Kind: messageName(k), Name: req.GetName(), Fields: fields,
	}}, nil
}

// kindOfName is the kind that a name belongs to; nil where there is none.
func kindOfName(name string) *kind {
	for _, k := range kinds {
		var f fault.Violations
		if k.checkName(&f, name); f.Len() == 0 {
			return k
		}
	}
	return nil
}

// logged is how a change stands in the history.
func (c change) logged(action string) string { return cmp.Or(c.label, action) }
