package config

import (
	"context"
	"slices"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/hook"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/order"
	"github.com/tollgate/tollgate/services/config/store"
)

// actionReorder is one change of the priorities of several resources.
const actionReorder = "reorder"

// reorder gives the hooks of a tenant, or those of one event type, another order, in one revision.
func (r resources) reorder(ctx context.Context, req *configv1.ReorderRequest) ([]resource, error) {
	if err := r.service.sync(ctx); err != nil {
		return nil, err
	}
	made, err := r.service.reorder(ctx, r.kind, req)
	r.service.noteWrite(err)
	return made, err
}

func (s *service) reorder(ctx context.Context, k *kind, req *configv1.ReorderRequest) ([]resource, error) {
	if err := validateReorder(req); err != nil {
		return nil, err
	}
	tx, err := s.store.Begin(ctx)
	if err != nil {
		return nil, err
	}
	// After a commit this does nothing.
	defer tx.Rollback()
	if err := tx.Sync(ctx); err != nil {
		return nil, err
	}
	stored, err := s.hooksInOrder(ctx, tx, k, req)
	if err != nil {
		return nil, err
	}
	next, err := order.Change(stored, req)
	if err != nil {
		return nil, err
	}
	versions, err := s.moved(ctx, tx, k, stored, next)
	if err != nil {
		return nil, err
	}
	shown := make([]resource, len(next))
	for i, h := range next {
		shown[i] = s.shown(k, h)
	}
	if len(versions) == 0 {
		return shown, nil
	}
	last := tx.Last()
	at := store.Revisions{Revision: last.Revision + 1, Apply: last.Apply}
	entry := store.Entry{
		Revisions: at, At: s.clock(), Caller: rpc.Caller(ctx), Action: actionReorder, Kind: k.name, Name: req.GetParent() + "/" + k.collection,
	}
	if err := tx.WriteAll(ctx, entry, versions); err != nil || req.GetValidateOnly() {
		return shown, err
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	s.announce(ctx)
	s.metrics.changed(k.name, actionReorder)
	s.log.Info("configuration changed", zap.Int64("revision", at.Revision), zap.String("action", actionReorder), zap.String("kind", k.name),
		zap.String("name", entry.Name), zap.Int("moved", len(versions)), zap.String("caller", entry.Caller))
	return shown, nil
}

func validateReorder(req *configv1.ReorderRequest) error {
	var f fault.Violations
	if id, ok := strings.CutPrefix(req.GetParent(), tenants+"/"); !ok || !idPattern.MatchString(id) {
		f.Add("parent", "must look like tenants/{tenant}, not %q", cut(req.GetParent()))
	}
	order.Check(req, &f)
	return f.Err(reason.RequestInvalid)
}

// hooksInOrder are the hooks that a request concerns, as they are asked now.
func (s *service) hooksInOrder(ctx context.Context, tx *store.Tx, k *kind, req *configv1.ReorderRequest) ([]*configv1.Hook, error) {
	rows, err := tx.List(ctx, k.name, req.GetParent()+"/", "", false, store.All)
	if err != nil {
		return nil, err
	}
	var all []*configv1.Hook
	for _, row := range rows {
		found, err := s.decode(k, row)
		if err != nil {
			return nil, err
		}
		if h, ok := found.(*configv1.Hook); ok && order.Concerns(req, h) {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, hook.Order)
	return all, nil
}

// moved are the versions of the hooks whose priority is another one now, which it gives their metadata.
func (s *service) moved(ctx context.Context, tx *store.Tx, k *kind, stored, next []*configv1.Hook) ([]store.Version, error) {
	before := map[string]*configv1.Hook{}
	for _, h := range stored {
		before[h.GetName()] = h
	}
	operator := false
	if caller := rpc.CallerOf(ctx); caller != nil {
		operator = caller.Operator
	}
	var f fault.Violations
	var all []store.Version
	revision := tx.Last().Revision + 1
	for i, h := range next {
		was := before[h.GetName()]
		if h.GetPriority() == was.GetPriority() {
			continue
		}
		if field := hook.Kind.OperatorOnly(h); field != "" && !operator {
			f.Add(at("hooks", i), "%s has a %s, and is moved by the operator alone", h.GetName(), field)
			continue
		}
		setMetadata(h, nil) // as of every draft: the etag is of the content
		body, key, err := s.encode(k, h, was, actionUpdate, revision)
		if err != nil {
			return nil, err
		}
		all = append(all, store.Version{Kind: k.name, Name: h.GetName(), Revision: revision, Body: body, Key: key})
	}
	return all, f.Err(reason.RequestInvalid)
}

// reorderOperation serves the method of HookService.
func reorderOperation(r resources, ctx context.Context, q request, answer protoreflect.Message) (proto.Message, error) {
	req, _ := q.Interface().(*configv1.ReorderRequest)
	made, err := r.reorder(ctx, req)
	if err != nil {
		return nil, err
	}
	list := answer.Mutable(fieldOf(answer.Descriptor(), r.kind)).List()
	for _, one := range made {
		list.Append(protoreflect.ValueOfMessage(one.ProtoReflect()))
	}
	return answer.Interface(), nil
}
