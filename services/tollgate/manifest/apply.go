package manifest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// What was done with a resource.
const (
	Created   = "created"
	Updated   = "updated"
	Unchanged = "unchanged"
)

// Outcome is what was done with a resource, or would be.
type Outcome struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Result string `json:"result"`
	// Secret is of an API key that was created: nobody can show it again.
	Secret string `json:"secret,omitempty"`
	// Difference has the lines that change, "-" before and "+" after; empty where nothing does.
	Difference string `json:"difference,omitempty"`
}

// Plan asks the service about every document that could be read, and changes nothing. Violations list all that is wrong with all of them, except
// what cannot be validated before a resource that another document brings is there: Apply lists those.
func Plan(ctx context.Context, conn *grpc.ClientConn, documents []Document) ([]Outcome, error) {
	pending := map[string]bool{}
	for _, d := range documents {
		// Its tenant may name it and is asked about first.
		pending[d.Resource.GetName()] = defaultable(d.kind)
	}
	var outcomes []Outcome
	var violations Violations
	for _, d := range inOrder(documents) {
		if d.broken {
			pending[d.Resource.GetName()] = true
			continue
		}
		out, err := d.put(ctx, conn, true)
		if err != nil {
			wrong, validated := d.violations(err)
			if !validated {
				return nil, fmt.Errorf("check %s: %w", d.Resource.GetName(), err)
			}
			if left := d.withoutPending(wrong, pending); len(left) > 0 {
				violations = append(violations, left...)
				pending[d.Resource.GetName()] = true // for others it is not reported as missing
				continue
			}
			// It is new or changes: what it needs is on its way.
			out = d.promised(ctx, conn)
		}
		pending[out.Name] = out.Result != Unchanged
		outcomes = append(outcomes, out)
	}
	if len(violations) > 0 {
		return outcomes, violations
	}
	return outcomes, nil
}

// Apply brings every document in. It plans first and changes nothing where that finds a fault. What fails on the way is
// reported beside what was done; the same documents can be applied again.
func Apply(ctx context.Context, conn *grpc.ClientConn, documents []Document) ([]Outcome, error) {
	if _, err := Plan(ctx, conn, documents); err != nil {
		return nil, err
	}
	var outcomes []Outcome
	var violations Violations
	founded := map[string]bool{}
	for _, step := range steps(documents) {
		d := step.Document
		if d.broken {
			return nil, fmt.Errorf("apply %s: it could not be read", d.Resource.GetName())
		}
		var out Outcome
		var err error
		if step.found {
			founded[d.Resource.GetName()], err = d.found(ctx, conn)
		} else if out, err = d.put(ctx, conn, false); err == nil {
			if founded[out.Name] {
				out.Result = Created
			}
			outcomes = append(outcomes, out)
		}
		if err == nil {
			continue
		}
		wrong, validated := d.violations(err)
		if !validated {
			return outcomes, fmt.Errorf("apply %s: %w", d.Resource.GetName(), err)
		}
		for _, w := range wrong {
			violations = append(violations, w.Violation)
		}
	}
	if len(violations) > 0 {
		return outcomes, violations
	}
	return outcomes, nil
}

func inOrder(documents []Document) []Document {
	ordered := slices.Clone(documents)
	slices.SortStableFunc(ordered, func(a, b Document) int { return rank(a.kind) - rank(b.kind) })
	return ordered
}

// step is a document's turn.
type step struct {
	Document
	// found brings no more than others need to be there.
	found bool
}

// steps are the documents in order. A tenant whose default class or target comes along has two turns: those need their
// tenant, and it needs them. Notifications may rely on a tenant's default target.
func steps(documents []Document) []step {
	brought := map[string]bool{}
	for _, d := range documents {
		brought[d.Resource.GetName()] = defaultable(d.kind)
	}
	var all, late []step
	for _, d := range inOrder(documents) {
		if d.Kind == notificationName {
			all, late = append(all, late...), nil
		}
		waits := false
		for _, name := range defaults(d.Resource) {
			waits = waits || brought[name]
		}
		all = append(all, step{d, waits})
		if waits {
			late = append(late, step{d, false})
		}
	}
	return append(all, late...)
}

// defaultable reports whether a tenant can name resources of the kind as a default.
func defaultable(k *kind) bool {
	return slices.Contains(tenantDefaults(), "default_"+k.field) || k.name == className
}

// defaults are the names of the resources that a tenant names, by their field; nil of all else.
func defaults(r Resource) map[string]string {
	t, ok := r.(*configv1.Tenant)
	if !ok {
		return nil
	}
	all := map[string]string{}
	if id := t.GetSubscribers().GetDefaultClassOfService(); id != "" {
		all[classDefault] = t.GetName() + "/classesOfService/" + id
	}
	for _, c := range table.Channels {
		if c.DefaultTarget != nil && c.DefaultTarget(t) != "" {
			all["default_"+c.Target.Field] = c.DefaultTarget(t)
		}
	}
	return all
}

// found creates a tenant without its defaults where there is none yet, and returns whether it did.
func (d Document) found(ctx context.Context, conn *grpc.ClientConn) (bool, error) {
	if _, err := d.kind.get(ctx, conn, d.Resource.GetName()); fault.KindOf(err) != fault.NotFound {
		return false, err
	}
	bare := proto.CloneOf(d.Resource.(*configv1.Tenant))
	for field := range defaults(bare) {
		clearField(bare.ProtoReflect(), strings.Split(field, "."))
	}
	_, err := d.kind.put(ctx, conn, bare, false)
	return err == nil, err
}

// clearField clears a field by its path.
func clearField(m protoreflect.Message, path []string) {
	field := m.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	switch {
	case field == nil:
	case len(path) == 1:
		m.Clear(field)
	case m.Has(field):
		clearField(m.Mutable(field).Message(), path[1:])
	}
}

func (d Document) put(ctx context.Context, conn *grpc.ClientConn, validateOnly bool) (Outcome, error) {
	out := Outcome{Kind: d.Kind, Name: d.Resource.GetName(), Result: Created}
	before, err := d.kind.get(ctx, conn, out.Name)
	missing := fault.KindOf(err) == fault.NotFound
	if err != nil && !missing {
		return out, err
	}
	missing = missing || before.GetMetadata().GetDeleteTime() != nil
	after, err := d.kind.put(ctx, conn, d.Resource, validateOnly)
	if err != nil {
		return out, err
	}
	if missing {
		before = d.kind.make()
	} else if out.Result = Updated; after.GetMetadata().GetRevision() == before.GetMetadata().GetRevision() {
		out.Result = Unchanged
	}
	if k, ok := after.(*configv1.ApiKey); ok {
		out.Secret = k.GetSecret()
	}
	out.Difference, err = difference(before, after)
	return out, err
}

// promised is the outcome of a document that can only be validated once others are in.
func (d Document) promised(ctx context.Context, conn *grpc.ClientConn) Outcome {
	out := Outcome{Kind: d.Kind, Name: d.Resource.GetName(), Result: Updated}
	before, err := d.kind.get(ctx, conn, out.Name)
	if err != nil {
		out.Result, before = Created, d.kind.make()
	}
	// What cannot be shown is not shown; the outcome is the same.
	out.Difference, _ = difference(before, masked(d.Resource))
	return out
}

// violation is a fault, with the field as the service named it.
type violation struct {
	Violation
	field string
}

// violations adds positions to what the service finds wrong; validated is false for an error that is not about the document.
func (d Document) violations(err error) (all []violation, validated bool) {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Kind == fault.Unavailable || e.Kind == fault.Unauthenticated || e.Kind == fault.Denied || e.Kind == fault.Throttled {
		return nil, false
	}
	if len(e.Violations) == 0 {
		return []violation{{Violation{d.File, d.Line, e.Message}, ""}}, true
	}
	for _, v := range fault.Listed(e) {
		field := strings.TrimPrefix(v.Field, d.kind.field+".")
		text := v.Description
		if field != "" {
			text = field + ": " + text
		}
		all = append(all, violation{Violation{d.File, d.lineOf(v.Field), text}, field})
	}
	return all, true
}

// withoutPending leaves out what may be right once the resources are in that this apply brings: whether another one
// exists, and where an endpoint may be, which its tenant decides.
func (d Document) withoutPending(all []violation, pending map[string]bool) []Violation {
	waits := slices.ContainsFunc(needs(d.Resource), func(name string) bool { return pending[name] })
	var left []Violation
	for _, v := range all {
		if waits && d.dependent(v.field) {
			continue
		}
		left = append(left, v.Violation)
	}
	return left
}
