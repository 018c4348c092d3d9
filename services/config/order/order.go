// Package order gives hooks another order: what is asked for, what is wrong with it, and which priorities it takes. It is pure.
package order

import (
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// most is how many hooks one call may put in order: all of it is one transaction, which every other change waits for.
const most = 1000

// Check adds what is wrong with a request by itself, but for its parent.
func Check(req *configv1.ReorderRequest, f *fault.Violations) {
	if n := len(req.GetEventType()); n > event.MaxType {
		f.Add("event_type", "must be at most %d bytes, has %d", event.MaxType, n)
	}
	for _, names := range []struct {
		field string
		all   []string
	}{{"hooks", req.GetHooks()}, {"expected", req.GetExpected()}} {
		if n := len(names.all); n > most {
			f.Add(names.field, "must be at most %d, are %d: name an event type, whose hooks are fewer", most, n)
		}
	}
}

// Concerns reports whether a hook of the tenant is one of those that a request puts in order.
func Concerns(req *configv1.ReorderRequest, h *configv1.Hook) bool {
	return h.GetStatus() != configv1.HookStatus_HOOK_STATUS_ARCHIVED &&
		(req.GetEventType() == "" || slices.Contains(h.GetEventTypes(), req.GetEventType()))
}

// Change gives copies of hooks, which are in their order, the one of a request, with priorities that make it theirs. The error lists all that is
// wrong with the order.
func Change(stored []*configv1.Hook, req *configv1.ReorderRequest) ([]*configv1.Hook, error) {
	if expected := req.GetExpected(); len(expected) > 0 && !slices.EqualFunc(stored, expected, func(h *configv1.Hook, name string) bool { return h.GetName() == name }) {
		return nil, fault.New(fault.Conflict, "ORDER_CHANGED", "the hooks have another order by now, or are others: list them again")
	}
	var f fault.Violations
	byName, seen := map[string]*configv1.Hook{}, map[string]bool{}
	for _, h := range stored {
		byName[h.GetName()] = h
	}
	of := req.GetParent()
	if req.GetEventType() != "" {
		of = fmt.Sprintf("%s that is asked about %s", of, req.GetEventType())
	}
	var next []*configv1.Hook
	for i, name := range req.GetHooks() {
		switch h := byName[name]; {
		case seen[name]:
			f.Add(fmt.Sprintf("hooks[%d]", i), "%.100s is there twice", name)
		case h == nil:
			f.Add(fmt.Sprintf("hooks[%d]", i), "%.100q is no hook of %s, or is deleted or archived", name, of)
		default:
			next = append(next, proto.CloneOf(h))
		}
		seen[name] = true
	}
	for _, h := range stored {
		if !seen[h.GetName()] {
			f.Add("hooks", "%s is missing", h.GetName())
		}
	}
	if f.Len() == 0 && !prioritize(stored, next) {
		f.Add("hooks", "the priorities would pass %d: lower those of the last hooks first", math.MaxInt32)
	}
	return next, f.Err(reason.RequestInvalid)
}

// prioritize gives hooks in their new order the priorities that they had, sorted; where two would be equal and their names in the
// other order, the later one gets the next higher. It reports false where there is none.
func prioritize(stored, next []*configv1.Hook) bool {
	var last *configv1.Hook
	for i, h := range next {
		priority := int64(stored[i].GetPriority())
		if last != nil {
			least := int64(last.GetPriority())
			if h.GetName() < last.GetName() {
				least++
			}
			priority = max(priority, least)
		}
		if priority > math.MaxInt32 {
			return false
		}
		h.Priority = int32(priority)
		last = h
	}
	return true
}
