package config

import (
	"context"
	"strings"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

// maxTargets is how many of a kind of target a tenant may have.
const maxTargets = 10_000

// targetKinds are the kinds of resource that deliveries of the channels go to.
func targetKinds() []*kind {
	var all []*kind
	for _, k := range table.Kinds() {
		all = append(all, targetKind(k))
	}
	return all
}

func targetKind(k *channel.Kind) *kind {
	made := &kind{
		name: k.Field, label: k.Label, collection: k.Collection, id: idPattern, most: maxTargets, make: k.New,
		validateWithin: func(ctx context.Context, q queries, f *fault.Violations, r resource) error {
			t, err := tenant(ctx, q, tenantOf(r.GetName()))
			if err != nil {
				return err
			}
			policy, err := policyOf(t)
			if err != nil {
				return err
			}
			k.Validate(r, policy, f)
			if caller := rpc.CallerOf(ctx); k.OperatorOnly != nil && (caller == nil || !caller.Operator) {
				if field := k.OperatorOnly(r); field != "" {
					f.Add(field, "is registered by the operator alone")
				}
			}
			return unusedTexts(ctx, q, k, f, r)
		},
		applied: func(old, new resource) bool { return old == nil || new == nil || k.Replans(old, new) },
		inUse: func(ctx context.Context, q queries, name string, _ bool) error {
			return targetInUse(ctx, q, k, name)
		},
		stored: func(new, old resource, named func(string) bool) {
			if old != nil {
				k.Unmask(new, old)
			}
			k.Assign(new, old, named)
		},
		shown: k.Mask, credentials: k.Credentials, secrets: k,
	}
	if k.EventTypes != nil {
		made.besides = func(ctx context.Context, q queries, r resource) ([]store.Version, error) {
			return typesNamed(ctx, q, r, k.EventTypes(r))
		}
		made.fits = func(f *fault.Violations, d draft) error {
			types, err := eventTypesOf(d.beside)
			if err == nil {
				k.ValidateTypes(d.next, types, f)
			}
			return err
		}
	}
	return made
}

// defaultOf is a tenant's target for actions of a channel that name none; empty where there is none.
func defaultOf(c *channel.Channel, t *configv1.Tenant) string {
	if c.DefaultTarget == nil {
		return ""
	}
	return c.DefaultTarget(t)
}

// validateDefaults adds a tenant's default targets that do not exist, and those that are missing while actions rely on
// them.
func validateDefaults(ctx context.Context, q queries, f *fault.Violations, t *configv1.Tenant) error {
	for _, c := range table.Channels {
		if c.DefaultTarget == nil {
			continue
		}
		field := "default_" + c.Target.Field
		if name := c.DefaultTarget(t); name != "" {
			row, ok, err := q.Newest(ctx, c.Target.Field, name)
			if err != nil {
				return err
			}
			if !ok || row.Deleted {
				f.Add(field, "%s does not exist", cut(name))
			}
			continue
		}
		if by := q.index.users(list{reliesOn, t.GetName()}, is(c.Name)); len(by) > 0 {
			f.Add(field, "is required: actions that name no %s rely on it, in %s", c.Target.Label, named(by))
		}
	}
	return nil
}

// tenant is the stored one; an empty one where it does not exist, which is reported elsewhere.
func tenant(ctx context.Context, q queries, name string) (*configv1.Tenant, error) {
	t := &configv1.Tenant{}
	row, ok, err := q.Newest(ctx, nameTenant, name)
	if err != nil || !ok {
		return t, err
	}
	return t, unmarshal(row, t)
}

// targetInUse refuses while an active notification names the target, which would notify no one, and while it is its
// tenant's default.
func targetInUse(ctx context.Context, q queries, k *channel.Kind, name string) error {
	t, err := tenant(ctx, q, tenantOf(name))
	if err != nil {
		return err
	}
	for _, c := range table.Channels {
		if c.Target == k && defaultOf(c, t) == name {
			return fault.New(fault.Conflict, k.InUse, "%s is default_%s of %s: name another one there first", name, k.Field, t.GetName()).
				With("tenant", t.GetName())
		}
	}
	by := q.index.users(list{notifies, name}, is(""))
	if len(by) == 0 {
		return nil
	}
	return fault.New(fault.Conflict, k.InUse, "%s is named by %s: change or deactivate that first", name, named(by)).
		With("notifications", named(by))
}

// validateTargets adds the targets of a notification that do not exist.
func validateTargets(ctx context.Context, q queries, f *fault.Violations, r resource) error {
	n := r.(*configv1.Notification)
	t, err := tenant(ctx, q, tenantOf(n.GetName()))
	if err != nil {
		return err
	}
	for i, a := range n.GetActions() {
		c, part := table.Channels.Of(a)
		if c == nil {
			continue // refused by the rules
		}
		field := at("actions", i) + "." + c.Name + "." + c.TargetField()
		if own, ok := part.(channel.Published); ok {
			permitted(f, field, own.Topic(), t)
			continue
		}
		name := part.Target()
		if name == "" && c.DefaultTarget != nil {
			if name = c.DefaultTarget(t); name == "" {
				f.Add(field, "is required: %s has no default_%s", tenantOf(n.GetName()), c.Target.Field)
				continue
			}
		}
		if !strings.HasPrefix(name, tenantOf(n.GetName())+"/") {
			continue // refused by the rules
		}
		row, ok, err := q.Newest(ctx, c.Target.Field, name)
		if err != nil {
			return err
		}
		if !ok || row.Deleted {
			f.Add(field, "%s does not exist", cut(name))
			continue
		}
		target := c.Target.New()
		if err := unmarshal(row, target); err != nil {
			return err
		}
		if why := c.Target.Textless(target); why != "" && len(a.GetParameters()) > 0 {
			f.AddAs(parametersUnused, field, "%s %s: remove the action's parameters, or choose another profile", cut(name), why)
		}
	}
	return nil
}

// parametersUnused is the reason where parameters of an action would be lost without anybody noticing.
const parametersUnused = "PARAMETERS_UNUSED"

// unusedTexts adds the notifications whose parameters a target would have no place for, where it had one before.
func unusedTexts(ctx context.Context, q queries, k *channel.Kind, f *fault.Violations, r resource) error {
	why := k.Textless(r)
	if why == "" {
		return nil
	}
	before, ok, err := q.Newest(ctx, k.Field, r.GetName())
	if err != nil {
		return err
	}
	if stored := k.New(); ok && !before.Deleted {
		if err := unmarshal(before, stored); err != nil {
			return err
		}
		if k.Textless(stored) != "" {
			return nil // what came to name it since then was refused
		}
	}
	if by := q.index.users(list{parametersFor, r.GetName()}, is("")); len(by) > 0 {
		f.AddAs(parametersUnused, "", "%s, and actions with parameters name it: remove the parameters first, in %s", why, named(by))
	}
	return nil
}
