package config

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/services/config/fieldmask"
	"github.com/tollgate/tollgate/services/config/query"
)

// resources are the six methods of one kind.
type resources struct {
	service *service
	kind    *kind
}

// get answers a deleted one too: its delete_time is set.
func (r resources) get(ctx context.Context, name string) (resource, error) {
	if r.kind.find != nil {
		if found := r.kind.find(name); found != nil {
			return found, nil
		}
	}
	row, ok, err := r.service.store.Newest(ctx, r.kind.name, name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound(r.kind, name)
	}
	found, err := r.service.decode(r.kind, row)
	if err != nil {
		return nil, err
	}
	shown := r.service.shown(r.kind, found)
	return shown, withHealth(ctx, r.service.store.Reader, r.kind, shown)
}

// list answers one page and the token of the next.
func (r resources) list(ctx context.Context, l query.Listing) ([]resource, string, error) {
	var f fault.Violations
	from := r.stored("tenants/", l.Deleted)
	switch {
	case l.Parent == "" && r.kind.builtIn != nil:
		from = r.kind.fixed
	case r.kind != tenantKind && l.Parent != "tenants/-":
		if id, ok := strings.CutPrefix(l.Parent, "tenants/"); !ok || !idPattern.MatchString(id) {
			f.Add("parent", "must look like tenants/{tenant}, or be tenants/- for all, not %q", cut(l.Parent))
		}
		from = r.stored(l.Parent+"/", l.Deleted)
	}
	q := query.Read(r.kind.make().ProtoReflect().Descriptor(), l, &f)
	if err := f.Err(reason.RequestInvalid); err != nil {
		return nil, "", err
	}
	return q.Page(ctx, from)
}

// stored are those of the kind whose names have a prefix.
func (r resources) stored(prefix string, deleted bool) query.Source {
	return func(ctx context.Context, after string, n int) ([]resource, error) {
		rows, err := r.service.store.List(ctx, r.kind.name, prefix, after, deleted, n)
		if err != nil {
			return nil, err
		}
		out := make([]resource, len(rows))
		for i, row := range rows {
			found, err := r.service.decode(r.kind, row)
			if err != nil {
				return nil, err
			}
			out[i] = r.service.shown(r.kind, found)
		}
		return out, withHealth(ctx, r.service.store.Reader, r.kind, out...)
	}
}

// fixed are the built-in ones of the kind.
func (k *kind) fixed(_ context.Context, after string, n int) ([]resource, error) {
	all := k.builtIn()
	i, found := slices.BinarySearchFunc(all, after, func(one resource, name string) int { return strings.Compare(one.GetName(), name) })
	if found {
		i++
	}
	return all[i:min(len(all), i+n)], nil
}

func (r resources) create(ctx context.Context, given resource, validateOnly bool) (resource, error) {
	given, reveal := r.drawn(given)
	return r.apply(ctx, change{
		kind: r.kind, name: given.GetName(), validateOnly: validateOnly, reveal: reveal,
		edit: func(stored resource, deleted bool) (resource, string, error) {
			if stored == nil || deleted && r.kind.apart {
				return clone(given), actionCreate, nil
			}
			return nil, "", r.taken(given.GetName(), deleted)
		},
	})
}

// drawn is what a request may create, with what is drawn for it.
func (r resources) drawn(given resource) (resource, func(answer resource)) {
	if r.kind.drawn == nil {
		return given, nil
	}
	given = clone(given)
	return given, r.kind.drawn(given)
}

func (r resources) taken(name string, deleted bool) error {
	if deleted {
		return fault.New(fault.AlreadyExists, "NAME_TAKEN", "%s %s was deleted, undelete it to use its name again", r.kind.label, name)
	}
	return fault.New(fault.AlreadyExists, "NAME_TAKEN", "%s %s exists already", r.kind.label, name)
}

func (r resources) update(ctx context.Context, given resource, mask *fieldmaskpb.FieldMask, allowMissing, validateOnly bool) (resource, error) {
	if err := fieldmask.Check(r.kind.make().ProtoReflect().Descriptor(), r.kind.label, mask); err != nil {
		return nil, err
	}
	given, reveal := r.drawn(given)
	return r.apply(ctx, change{
		kind: r.kind, name: given.GetName(), reveal: reveal, etag: given.GetMetadata().GetEtag(), validateOnly: validateOnly, given: given,
		named: func(field string) bool { return fieldmask.Names(mask, field) },
		edit: func(stored resource, deleted bool) (resource, string, error) {
			switch {
			case allowMissing && (stored == nil || deleted && r.kind.apart):
				// As AIP-134 has it: without a stored one the mask has nothing to spare.
				return clone(given), actionCreate, nil
			case stored != nil && deleted && allowMissing:
				return nil, "", r.taken(given.GetName(), true)
			case stored == nil || deleted:
				return nil, "", notFound(r.kind, given.GetName())
			}
			return fieldmask.Merge(stored, given, mask), actionUpdate, nil
		},
	})
}

func (r resources) remove(ctx context.Context, name, etag string, force bool) (resource, error) {
	return r.apply(ctx, change{
		kind: r.kind, name: name, etag: etag, force: force,
		edit: func(stored resource, deleted bool) (resource, string, error) {
			if stored == nil || deleted {
				return nil, "", notFound(r.kind, name)
			}
			return stored, actionDelete, nil
		},
	})
}

func (r resources) undelete(ctx context.Context, name, etag string) (resource, error) {
	return r.apply(ctx, change{
		kind: r.kind, name: name, etag: etag,
		named: func(string) bool { return true },
		edit: func(stored resource, deleted bool) (resource, string, error) {
			switch {
			case stored == nil:
				return nil, "", notFound(r.kind, name)
			case !deleted:
				return nil, "", fault.New(fault.AlreadyExists, "NOT_DELETED", "%s %s is not deleted", r.kind.label, name)
			case r.service.clock().After(stored.GetMetadata().GetDeleteTime().AsTime().Add(undeletable)):
				return nil, "", r.gone(name)
			}
			return stored, actionUndelete, nil
		},
	})
}

func (r resources) gone(name string) error {
	return fault.New(fault.NotFound, "DELETED_FOR_GOOD", "%s %s was deleted more than %d days ago", r.kind.label, name, int(undeletable.Hours()/24))
}

func (r resources) apply(ctx context.Context, c change) (resource, error) {
	made, err := r.service.apply(ctx, c)
	r.service.noteWrite(err)
	return made, err
}
