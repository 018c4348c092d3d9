package manifest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/catalog"
)

// pageSize is the most that the service gives at once.
const pageSize = 1000

// Kind is the name of a kind as documents have it, whatever the case it was typed in.
func Kind(typed string) (string, error) {
	for _, k := range kinds {
		if k.called(typed) {
			return k.name, nil
		}
	}
	return "", fmt.Errorf("must be one of %s, not %q", kindNames(), typed)
}

// NameOf is the full name of a resource that was typed in full, or as its id within a tenant.
func NameOf(kind, tenant, typed string) (string, error) {
	k := kindOf(kind)
	example := k.example
	if k.builtIn != "" && (strings.HasPrefix(typed, k.builtIn+"/") || catalog.Find(k.builtIn+"/"+typed) != nil) {
		return k.builtIn + "/" + strings.TrimPrefix(typed, k.builtIn+"/"), nil
	}
	if strings.Contains(typed, "/") {
		if strings.Count(typed, "/") != strings.Count(example, "/") || !strings.HasPrefix(typed, "tenants/") {
			return "", fmt.Errorf("must be a name such as %s, not %q", example, typed)
		}
		return typed, nil
	}
	parts := strings.Split(example, "/")
	if parts[len(parts)-1] = typed; len(parts) > 2 {
		if tenant == "" {
			return "", fmt.Errorf("must be a full name such as %s, or an id beside --tenant", example)
		}
		parts[1] = tenant
	}
	return strings.Join(parts, "/"), nil
}

// Get reads one resource.
func Get(ctx context.Context, conn *grpc.ClientConn, kind, name string) (Resource, error) {
	return kindOf(kind).get(ctx, conn, name)
}

// HasBuiltIn reports whether there are resources of a kind that belong to no tenant, beside the tenants.
func HasBuiltIn(kind string) bool { return kindOf(kind).builtIn != "" }

// Query is what a list is of; its zero value is everything, in the order of names.
type Query struct{ Filter, OrderBy string }

// WithLabels is a filter for labels, beside another one that may be empty.
func WithLabels(labels map[string]string, filter string) string {
	terms := []string{}
	if filter != "" {
		terms = append(terms, filter)
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		terms = append(terms, fmt.Sprintf("labels.%s = %q", key, labels[key]))
	}
	return strings.Join(terms, " AND ")
}

// List reads all of a kind: those that every installation has, then those of a tenant, or the
// tenants.
func List(ctx context.Context, conn *grpc.ClientConn, kind, tenant string, q Query) (all []Resource, err error) {
	k := kindOf(kind)
	parents := []string{"tenants/" + tenant}
	if k.builtIn != "" {
		if parents = []string{""}; tenant != "" {
			parents = append(parents, "tenants/"+tenant)
		}
	}
	for _, parent := range parents {
		for page, first := "", true; first || page != ""; first = false {
			var some []Resource
			if some, page, err = k.list(ctx, conn, parent, q, page); err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
	}
	return all, nil
}

// Delete deletes one resource; it can be undeleted for 30 days. A class of service, which subscribers may have, is
// deleted only with force.
func Delete(ctx context.Context, conn *grpc.ClientConn, kind, name string, force bool) (Resource, error) {
	return kindOf(kind).remove(ctx, conn, name, "", force)
}

// Write writes resources as documents, as Read reads them. Secrets are masked, as the service shows them.
func Write(w io.Writer, kind string, all []Resource) error {
	for i, r := range all {
		body, err := without(r, server)
		if err != nil {
			return err
		}
		if i > 0 {
			body = append([]string{"---", "kind: " + kind}, body...)
		} else {
			body = append([]string{"kind: " + kind}, body...)
		}
		if _, err := io.WriteString(w, strings.Join(body, "\n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}
