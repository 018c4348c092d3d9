package config

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/difference"
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

// changesWanted are the changes that a request asks for.
type changesWanted struct {
	tenant, kind, name string
	from, to           int64 // milliseconds, to 0: without end
	before             int64 // revision
}

// ListChanges implements configv1.ChangeServiceServer.
func (c *changeService) ListChanges(ctx context.Context, req *configv1.ListChangesRequest) (*configv1.ListChangesResponse, error) {
	wanted, err := wantedChanges(req)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	size = min(size, largestPage)
	entries, err := c.service.store.Changes(ctx, wanted, size+1)
	if err != nil {
		return nil, err
	}
	out := &configv1.ListChangesResponse{}
	bytes := 0
	for i, e := range entries {
		if i == size || bytes > changesBytes {
			out.NextPageToken = changesToken(req, entries[i-1].Revision)
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

func wantedChanges(req *configv1.ListChangesRequest) (w changesWanted, err error) {
	var f fault.Violations
	if req.GetParent() != "tenants/-" {
		if id, ok := strings.CutPrefix(req.GetParent(), "tenants/"); !ok || !idPattern.MatchString(id) {
			f.Add("parent", "must look like tenants/{tenant}, or be tenants/- for all, not %q", cut(req.GetParent()))
		}
		w.tenant = req.GetParent()
	}
	if w.name = req.GetName(); w.name != "" && w.tenant != "" && tenantOf(w.name) != w.tenant {
		f.Add("name", "must be of %s", w.tenant)
	}
	if req.GetKind() != "" {
		if w.kind = kindNamed(req.GetKind()); w.kind == "" {
			f.Add("kind", "%q is no kind of resource, such as Notification", cut(req.GetKind()))
		}
	}
	for _, one := range []struct {
		field string
		at    *timestamppb.Timestamp
		to    *int64
	}{{"start_time", req.GetStartTime(), &w.from}, {"end_time", req.GetEndTime(), &w.to}} {
		if one.at == nil {
			continue
		}
		if err := one.at.CheckValid(); err != nil {
			f.Add(one.field, "must lie between the years 1 and 9999")
		}
		*one.to = one.at.AsTime().UnixMilli()
	}
	if req.GetPageSize() < 0 {
		f.Add("page_size", "must not be negative")
	}
	if req.GetPageToken() != "" {
		token, err := base64.RawURLEncoding.DecodeString(req.GetPageToken())
		query := queryOf(req)
		if err != nil || len(token) != len(query)+8 || string(token[:len(query)]) != string(query) {
			f.Add("page_token", "must be the next_page_token of an answer to the same request")
		} else {
			w.before = int64(binary.BigEndian.Uint64(token[len(query):]))
		}
	}
	return w, f.Err(reason.RequestInvalid)
}

// queryOf names what a request asks for, without its page.
func queryOf(req *configv1.ListChangesRequest) []byte {
	plain := proto.CloneOf(req)
	plain.PageSize, plain.PageToken = 0, ""
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(plain)
	if err != nil {
		panic("encode a request that was decoded: " + err.Error())
	}
	sum := sha256.Sum256(body)
	return sum[:8]
}

func changesToken(req *configv1.ListChangesRequest, last int64) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(queryOf(req), uint64(last)))
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
	out := &configv1.Change{
		Revision: e.Revision, History: e.History, Time: timestamppb.New(e.At), Caller: e.Caller, Action: e.Action, Kind: "History", Name: e.Name,
	}
	for _, k := range kinds {
		if k.name != e.Kind {
			continue
		}
		out.Kind = messageName(k)
		before, after, whole, err := c.service.store.Versions(ctx, e)
		if err != nil {
			return nil, err
		}
		if out.Pruned = !whole; !whole {
			return out, nil
		}
		was, is := k.make(), k.make()
		if before != nil && !before.Deleted {
			if err := unmarshal(*before, was); err != nil {
				return nil, err
			}
		}
		if after != nil && !after.Deleted {
			if err := unmarshal(*after, is); err != nil {
				return nil, err
			}
		}
		out.Fields, err = c.difference(k, was, is)
		return out, err
	}
	return out, nil
}

// difference is what differs between two versions, as it may be shown.
func (c *changeService) difference(k *kind, was, is resource) ([]*configv1.FieldChange, error) {
	was, is = clone(was), clone(is)
	for _, r := range []resource{was, is} {
		for name := range kept {
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
			old, err := k.decode(row)
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
