package manifest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Deleted is the result of what is pruned.
const Deleted = "deleted"

// Unlabelled are the documents that lack one of the labels: a later Prune with them would leave those resources there. A tenant
// needs none, for it is never pruned.
func Unlabelled(documents []Document, labels map[string]string) Violations {
	var wrong Violations
	for _, d := range documents {
		if d.broken || d.Kind == tenantName {
			continue
		}
		has := labelsOf(d.Resource)
		for _, key := range slices.Sorted(maps.Keys(labels)) {
			if has[key] != labels[key] {
				wrong.add(d.File, d.Line, "labels: must have %s: %s, or pruning would leave the resource once it is no document any more", key, labels[key])
			}
		}
	}
	return wrong
}

func labelsOf(r Resource) map[string]string {
	labels := map[string]string{}
	m := r.ProtoReflect()
	if f := m.Descriptor().Fields().ByName("labels"); f != nil {
		m.Get(f).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			labels[k.String()] = v.String()
			return true
		})
	}
	return labels
}

// Prune deletes the resources that have all of the labels, belong to a tenant of the documents, and are in none of them: those
// that name others first. Where only is set nothing is deleted, and what would be is returned. What was changed meanwhile is
// left, and an error.
func Prune(ctx context.Context, conn *grpc.ClientConn, documents []Document, labels map[string]string, only bool) ([]Outcome, error) {
	if len(labels) == 0 {
		return nil, errors.New("prune: labels are required")
	}
	kept, tenants := map[string]bool{}, map[string]bool{}
	for _, d := range documents {
		kept[d.Resource.GetName()] = true
		if parts := strings.SplitN(d.Resource.GetName(), "/", 3); len(parts) > 1 && parts[0] == "tenants" {
			tenants[parts[1]] = true
		}
	}
	var outcomes []Outcome
	var faults []error
	for _, k := range slices.Backward(kinds) {
		if k.name == tenantName {
			continue
		}
		for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
			all, err := List(ctx, conn, k.name, tenant, Query{Filter: WithLabels(labels, "")})
			if err != nil {
				return outcomes, fmt.Errorf("list what is pruned of %s: %w", k.name, err)
			}
			for _, r := range all {
				if kept[r.GetName()] {
					continue
				}
				out := Outcome{Kind: k.name, Name: r.GetName(), Result: Deleted}
				if out.Difference, err = difference(r, k.make()); err == nil && !only {
					_, err = k.remove(ctx, conn, r.GetName(), r.GetMetadata().GetEtag(), false)
				}
				if err != nil {
					faults = append(faults, fmt.Errorf("prune %s: %w", r.GetName(), err))
					continue
				}
				outcomes = append(outcomes, out)
			}
		}
	}
	return outcomes, errors.Join(faults...)
}
