package rules

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Notification is a rule as it was written.
type Notification struct {
	// Tenant and Code are the two ids of its resource name.
	Tenant, Code string
	// Types are those that its tenant declares; nil for none.
	Types *Types
	// Version counts its changes.
	Version int64
	Active  bool
	// LegalNotice: the law demands the messages. They have no unsubscribe links.
	LegalNotice bool
	Trigger     Trigger
	// Cap bounds how often it fires; may be nil.
	Cap     *configv1.Cap
	Actions []Action
}

// Trigger decides whether a notification fires.
type Trigger struct {
	// EventTypes are types of the catalog, or wildcards by entity such as "safeguard.*".
	EventTypes []string
	// Filter is CEL over envelope and data; empty for every event.
	Filter string
	// Key is CEL over the same: what is kept is kept by subject and key; empty for by subject.
	Key string
	// Kind is the message whose kind is when it fires; nil for at each event.
	Kind *configv1.Trigger
}

// Action notifies the recipients of one channel.
type Action struct {
	// Name is unique within the notification, and part of a delivery's id.
	Name string
	// Channel and its part of the action are nil where the action has no channel that this binary knows.
	Channel *channel.Channel
	Part    channel.Action
	// Parameters are names and texts for the message, in this order.
	Parameters []Parameter
	// Ordered asks for the order of a subject's events; nil where the types of the trigger decide.
	Ordered *bool
	// ExpiresAfter is how long after it was planned a delivery may be sent; 0 as long as attempts are left.
	ExpiresAfter time.Duration
	// Collapse is a template: of the deliveries that wait with one text, only the newest is sent. Empty for none.
	Collapse string
	// Quiet are hours in which nothing is sent; nil for none.
	Quiet *configv1.QuietHours
}

// Parameter is a name and a text with tokens.
type Parameter struct {
	Name, Template string
}

// FromProto reads a notification of the configuration. Its actions are of the given channels.
func FromProto(n *configv1.Notification, channels channel.List) Notification {
	tenant, code := channel.SplitName(n.GetName(), "notifications")
	out := Notification{
		Tenant: tenant, Code: code, Version: n.GetVersion(), Active: n.GetActive(), LegalNotice: n.GetLegalNotice(),
		Trigger: Trigger{
			EventTypes: n.GetTrigger().GetEventTypes(), Filter: n.GetTrigger().GetFilter(), Key: n.GetTrigger().GetKey(), Kind: n.GetTrigger(),
		},
		Cap: n.GetCap(),
	}
	for _, a := range n.GetActions() {
		action := Action{Name: a.GetName(), Ordered: a.Ordered, Collapse: a.GetCollapse(), Quiet: a.GetQuiet()}
		if after := a.GetExpiresAfter(); after != nil {
			if action.ExpiresAfter = after.AsDuration(); after.CheckValid() != nil || action.ExpiresAfter == 0 {
				action.ExpiresAfter = -1 // refused by Compile
			}
		}
		action.Channel, action.Part = channels.Of(a)
		for _, p := range a.GetParameters() {
			action.Parameters = append(action.Parameters, Parameter{Name: p.GetName(), Template: p.GetTemplate()})
		}
		out.Actions = append(out.Actions, action)
	}
	return out
}

// Validate returns everything that is wrong with a notification, as an error of kind Invalid whose fields are paths of the
// message.
func Validate(n *configv1.Notification, channels channel.List, types *Types) error {
	written := FromProto(n, channels)
	written.Types = types
	_, err := Compile(written)
	return err
}

// TypesOf are the names of the event types that a notification reads, those that are known, sorted: those of its trigger
// and those that cancel.
func TypesOf(n *configv1.Notification, types *Types) []string {
	var ignored fault.Violations
	var names []string
	for _, list := range listsOf(n) {
		for _, t := range expand("", list, types, &ignored) {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// HasState reports whether a notification keeps one: by its kind, or for its cap.
func HasState(n *configv1.Notification) bool {
	switch n.GetTrigger().GetKind().(type) {
	case nil, *configv1.Trigger_Event:
		return n.GetCap() != nil
	}
	return true
}
