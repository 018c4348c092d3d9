package manifest

import (
	"slices"
	"strings"

	"github.com/tollgate/tollgate/pkg/catalog"
	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Resource is what all messages of resources have in common.
type Resource = channel.Resource

// kind is what the kinds of resource differ in.
type kind struct {
	// name is that of the message, and of the kind in documents.
	name string
	// short is what people type instead, besides name and plural.
	short string
	// field is the resource's in requests: the service's violations begin with it.
	field   string
	example string
	make    func() Resource
	// builtIn begins the names of resources of the kind that every installation has; empty where it has none.
	builtIn string
	// others are the fields that are validated with other resources, beside the name.
	others []string
}

// plural is the collection's part of a name, such as "classesOfService".
func (k *kind) plural() string {
	parts := strings.Split(k.example, "/")
	return parts[len(parts)-2]
}

// called reports whether a person who typed this means the kind; capitals make no difference, and neither do "-" and "_"
// between words.
func (k *kind) called(typed string) bool {
	typed = strings.NewReplacer("-", "", "_", "").Replace(typed)
	return strings.EqualFold(typed, k.name) || strings.EqualFold(typed, k.plural()) || strings.EqualFold(typed, k.short)
}

// Kinds that are named elsewhere too.
const (
	tenantName = "Tenant"
	className  = "ClassOfService"

	notificationName = "Notification"
	eventTypeName    = "EventType"
)

// classDefault is the field of a tenant that names a class.
const classDefault = "subscribers.default_class_of_service"

// tenantDefaults are the fields of a tenant that name resources of its own.
func tenantDefaults() []string {
	all := []string{classDefault}
	for _, c := range table.Channels {
		if c.DefaultTarget != nil {
			all = append(all, "default_"+c.Target.Field)
		}
	}
	return all
}

// kinds are all kinds, in the order in which they are applied: what others name comes first.
var kinds = func() []*kind {
	all := []*kind{
		{
			name: tenantName, short: "tn", field: "tenant", example: "tenants/acme", others: tenantDefaults(),
			make: func() Resource { return &configv1.Tenant{} },
		},
		{
			name: className, short: "cos", field: "class_of_service", example: "tenants/acme/classesOfService/gold",
			make: func() Resource { return &configv1.ClassOfService{} },
		},
	}
	all = append(all, &kind{
		name: eventTypeName, short: "type", field: "event_type", example: "tenants/acme/eventTypes/acme_order.placed", builtIn: catalog.Collection,
		make: func() Resource { return &configv1.EventType{} },
	})
	for _, k := range table.Kinds() {
		all = append(all, &kind{
			name: k.Name, short: k.Short, field: k.Field, example: "tenants/acme/" + k.Collection + "/" + k.Example, others: k.ByTenant, make: k.New,
		})
	}
	all = append(all, &kind{
		name: "User", short: "usr", field: "user", example: "tenants/acme/users/jane",
		make: func() Resource { return &configv1.User{} },
	}, &kind{
		name: "ApiKey", short: "key", field: "api_key", example: "tenants/acme/apiKeys/erp",
		make: func() Resource { return &configv1.ApiKey{} },
	}, &kind{
		name: "Suppression", short: "sup", field: "suppression", example: "tenants/acme/suppressions/jane%40example.com",
		make: func() Resource { return &configv1.Suppression{} },
	})
	return append(all, &kind{
		name: notificationName, short: "note", field: "notification", example: "tenants/acme/notifications/data-alert",
		make: func() Resource { return &configv1.Notification{} },
	})
}()

func kindOf(name string) *kind {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

// KindNames are the names of all kinds.
func KindNames() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// KindList is the names of all kinds as a phrase, with the short forms.
func KindList() string {
	names := KindNames()
	for i, k := range kinds {
		names[i] += " (" + k.short + ")"
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func kindNames() string { return strings.Join(KindNames(), ", ") }

// rank is a kind's position in the order of dependency.
func rank(k *kind) int {
	for i, other := range kinds {
		if k == other {
			return i
		}
	}
	return len(kinds)
}

// needs are the names of other resources that this one can only be validated with.
func needs(r Resource) []string {
	var names []string
	if parts := strings.SplitN(r.GetName(), "/", 3); len(parts) == 3 {
		names = append(names, parts[0]+"/"+parts[1])
	}
	for _, name := range defaults(r) {
		names = append(names, name)
	}
	if n, ok := r.(*configv1.Notification); ok {
		for _, a := range n.GetActions() {
			if target := table.Channels.Target(a); target != "" {
				names = append(names, target)
			}
		}
	}
	return append(names, declaredTypes(r)...)
}

// declaredTypes are the names of the types of its tenant that a resource is on.
func declaredTypes(r Resource) (names []string) {
	var types []string
	switch on := r.(type) {
	case *configv1.Notification:
		types = slices.Concat(on.GetTrigger().GetEventTypes(), on.GetTrigger().GetDelayed().GetCancelledBy().GetEventTypes())
	case *configv1.Hook:
		types = on.GetEventTypes()
	}
	for _, t := range types {
		if _, builtIn := event.Lookup(t); !builtIn {
			names = append(names, strings.Join(append(strings.SplitN(r.GetName(), "/", 3)[:2], catalog.Collection, t), "/"))
		}
	}
	return names
}

// dependent reports whether a field is validated with other resources.
func (d Document) dependent(field string) bool {
	if field == "name" {
		return d.Kind != tenantName
	}
	if len(declaredTypes(d.Resource)) > 0 {
		return true // filter and texts, and what a hook may change, are checked with the types
	}
	for _, other := range d.kind.others {
		if field == other {
			return true
		}
	}
	for _, c := range table.Channels {
		if strings.HasSuffix(field, "."+c.Name+"."+c.TargetField()) {
			return true
		}
	}
	return false
}
