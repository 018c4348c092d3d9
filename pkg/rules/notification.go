package rules

import (
	"strings"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Notification is a rule as somebody wrote it.
type Notification struct {
	// Tenant and Code are the two ids of its resource name.
	Tenant, Code string
	// Version counts its changes.
	Version int64
	Active  bool
	Trigger Trigger
	Actions []Action
}

// Trigger decides whether a notification fires.
type Trigger struct {
	// EventTypes are types of the catalog, or wildcards by entity such as "safeguard.*".
	EventTypes []string
	// Filter is CEL over envelope and data; empty for every event.
	Filter string
}

// Action tells one recipient.
type Action struct {
	// Name is unique within the notification, and part of a delivery's id.
	Name string
	// Endpoint is the resource name of a webhook's endpoint.
	Endpoint string
	// Parameters are what is said, in this order.
	Parameters []Parameter
	// Ordered asks for the order of a subject's events; nil where the types of the trigger decide.
	Ordered *bool
}

// Parameter is a name and a text with tokens.
type Parameter struct {
	Name, Template string
}

// FromProto reads a notification as it stands in the configuration. An action of a kind that this package doesn't know
// has an empty endpoint, which Compile refuses.
func FromProto(n *configv1.Notification) Notification {
	tenant, code := split(n.GetName(), "notifications")
	out := Notification{
		Tenant: tenant, Code: code, Version: n.GetVersion(), Active: n.GetActive(),
		Trigger: Trigger{EventTypes: n.GetTrigger().GetEventTypes(), Filter: n.GetTrigger().GetFilter()},
	}
	for _, a := range n.GetActions() {
		action := Action{Name: a.GetName(), Endpoint: a.GetWebhook().GetEndpoint(), Ordered: a.Ordered}
		for _, p := range a.GetParameters() {
			action.Parameters = append(action.Parameters, Parameter{Name: p.GetName(), Template: p.GetTemplate()})
		}
		out.Actions = append(out.Actions, action)
	}
	return out
}

// Check says what is wrong with a notification, everything at once, as a fault of kind Invalid whose fields are paths of
// the message.
func Check(n *configv1.Notification) error {
	_, err := Compile(FromProto(n))
	return err
}

// TypesOf are the names of the event types that a notification's trigger names, those that are known.
func TypesOf(n *configv1.Notification) []string {
	var ignored fault.Faults
	var names []string
	for _, t := range expand(n.GetTrigger().GetEventTypes(), &ignored) {
		names = append(names, t.Name)
	}
	return names
}

// split reads "tenants/{tenant}/<collection>/{id}"; both ids are empty where the name has another form.
func split(name, collection string) (tenant, id string) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0] != "tenants" || parts[2] != collection || parts[1] == "" || parts[3] == "" {
		return "", ""
	}
	return parts[1], parts[3]
}
