package queue

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Catalog knows the event types that tenants declare, beside the built-in ones.
type Catalog interface {
	// Declared finds a type that a tenant declares; nil where none is known.
	Declared(tenant, name string) *event.Type
	// Types are all that a tenant declares.
	Types(tenant string) []*event.Type
	// Refresh reads them anew; false where that is not possible now. What was declared before the call is known then.
	Refresh(ctx context.Context) bool
}

// lookup finds a type, built in or declared.
func lookup(c Catalog, tenant, name string) (event.Type, bool) {
	if t, ok := event.Lookup(name); ok {
		return t, true
	}
	if t := c.Declared(tenant, name); t != nil {
		return *t, true
	}
	return event.Type{}, false
}

// grants are what the caller's key allows.
type grants interface {
	Allows(entity string, op event.Operation) bool
	SeesContact() bool
	SeesPersonal() bool
}

// maxTypes bounds the types and wildcards of a subscription.
const maxTypes = 100

// selection is which events a subscription gets, and what of them.
type selection struct {
	tenant   string
	patterns []string
	filter   string
	catalog  Catalog
	grants   grants
	// rules has what was decided for each type that was met, by name.
	rules map[string]*typeRule
}

// typeRule is what happens to the events of one type.
type typeRule struct {
	wanted bool
	// filter is nil where there is none, or where it can't be applied to this type: broken then.
	filter *rules.Filter
	broken bool
	// personal and contact fields may be seen; whole: all of the event.
	whole, personal, contact bool
	typ                      event.Type
	// declared is what the rule was made of, nil of a built-in type.
	declared *event.Type
	// absent, of a type that was not found: events received before this time are not wanted.
	absent time.Time
}

// newSelection validates types and filter. The error lists all faults, or names the types that are not granted.
func newSelection(ctx context.Context, tenant string, patterns []string, filter string, catalog Catalog, g grants, f *fault.Violations) (*selection, error) {
	s := &selection{tenant: tenant, patterns: patterns, filter: filter, catalog: catalog, grants: g, rules: map[string]*typeRule{}}
	if len(patterns) == 0 || len(patterns) > maxTypes {
		f.Add("types", "must be 1 to %d, not %d", maxTypes, len(patterns))
		return s, nil
	}
	// Types that are not built in are looked for in what there is now.
	unsure := slices.ContainsFunc(patterns, func(p string) bool {
		_, builtIn := event.Lookup(p)
		return !builtIn && !event.IsEntityTaken(event.EntityOf(p))
	}) && !catalog.Refresh(ctx)
	var denied, unknown []string
	var found []event.Type
	all := event.Types()
	for _, t := range catalog.Types(tenant) {
		all = append(all, *t)
	}
	for i, p := range patterns {
		field := indexed("types", i)
		entity, wildcard := entityOf(p)
		switch {
		case len(p) > 127:
			f.Add(field, "must be at most 127 bytes")
		case wildcard:
			known, granted := false, false
			for _, t := range all {
				if entity == "" || t.Entity == entity {
					known = true
					if g.Allows(t.Entity, t.Operation) {
						granted = true
						found = append(found, t)
					}
				}
			}
			if !known && unsure {
				unknown = append(unknown, p)
			} else if !known {
				f.Add(field, "no event type is of entity %q", entity)
			} else if !granted {
				denied = append(denied, p)
			}
		case strings.Contains(p, "*"):
			f.Add(field, `%q must be a type, an entity with all its types such as "usage.*", or "*"`, p)
		case event.IsControl(p):
			f.Add(field, "%q is not an event but a control record", p)
		default:
			t, ok := lookup(catalog, tenant, p)
			switch {
			case !ok && unsure:
				unknown = append(unknown, p)
			case !ok:
				f.AddAs(reason.UnknownType, field, "event type %q is unknown", p)
			case !g.Allows(t.Entity, t.Operation):
				denied = append(denied, p)
			default:
				found = append(found, t)
			}
		}
	}
	slices.SortFunc(found, func(a, b event.Type) int { return strings.Compare(a.Name, b.Name) })
	found = slices.CompactFunc(found, func(a, b event.Type) bool { return a.Name == b.Name })
	rules.CompileFilter("filter", filter, found, f)
	if len(unknown) > 0 && f.Len() == 0 {
		return s, fault.New(fault.Unavailable, reason.TypeUnverified, "whether the tenant declares %.500q is not known, since configuration does not answer",
			strings.Join(unknown, ", ")).After(time.Second)
	}
	if len(denied) > 0 && f.Len() == 0 {
		return s, fault.New(fault.Denied, reasonTypeDenied, "the API key has no grant for events of %s", strings.Join(denied, ", "))
	}
	return s, nil
}

// entityOf reads a wildcard: the entity, empty of all.
func entityOf(pattern string) (entity string, wildcard bool) {
	if pattern == "*" {
		return "", true
	}
	entity, wildcard = strings.CutSuffix(pattern, ".*")
	return entity, wildcard && entity != "" && !strings.Contains(entity, "*")
}

// topics are the numbers of those that types of the selection are on. A wildcard of types that tenants declare has both
// topics: a type of the entity may be made later.
func (s *selection) topics() []uint8 {
	var set [len(topicNames)]bool
	for _, p := range s.patterns {
		entity, wildcard := entityOf(p)
		if !wildcard {
			if t, ok := lookup(s.catalog, s.tenant, p); ok {
				set[topicOf(t)] = true
			}
			continue
		}
		builtIn := false
		for _, t := range event.Types() {
			if entity == "" || t.Entity == entity {
				set[topicOf(t)], builtIn = true, true
			}
		}
		if !builtIn {
			set[topicOrdered], set[topicUnordered] = true, true
		}
	}
	var out []uint8
	for i, read := range set {
		if read {
			out = append(out, uint8(i))
		}
	}
	return out
}

// Topics by their number in cursors, which never changes.
const (
	topicOrdered uint8 = iota
	topicUnordered
	topicSafeguards
)

var topicNames = [...]string{topicOrdered: stream.EventsOrdered, topicUnordered: stream.EventsUnordered, topicSafeguards: stream.Safeguards}

func topicOf(t event.Type) uint8 {
	switch {
	case t.Entity == "safeguard":
		return topicSafeguards
	case t.Queue == event.Unordered:
		return topicUnordered
	}
	return topicOrdered
}

// rule is what happens to events of a type; nil where that can't be known now, since the type is none that is known and
// could be wanted: it was accepted, so a tenant has declared it. One that was declared after received is asked for anew.
func (s *selection) rule(ctx context.Context, name string, received time.Time) *typeRule {
	r := s.rules[name]
	if r != nil && r.typ.Schema == nil && r.absent.IsZero() {
		return r // built in
	}
	declared := s.catalog.Declared(s.tenant, name)
	if _, builtIn := event.Lookup(name); !builtIn && declared == nil && s.matches(name) {
		if r != nil && received.Before(r.absent) {
			return r
		}
		asked := time.Now()
		if !s.catalog.Refresh(ctx) {
			return nil
		}
		if declared = s.catalog.Declared(s.tenant, name); declared == nil {
			r = &typeRule{absent: asked.Add(-clocksApart)}
			s.rules[name] = r
			return r
		}
	}
	if r == nil || r.declared != declared {
		r = s.newRule(name)
		r.declared = declared
		s.rules[name] = r
	}
	return r
}

// clocksApart is more than the clocks of two replicas may be.
const clocksApart = 10 * time.Second

// matches reports whether a type is among those that the subscription names.
func (s *selection) matches(name string) bool {
	of := event.EntityOf(name)
	return slices.ContainsFunc(s.patterns, func(p string) bool {
		entity, wildcard := entityOf(p)
		return p == name || wildcard && (entity == "" || entity == of)
	})
}

func (s *selection) newRule(name string) *typeRule {
	r := &typeRule{}
	t, ok := lookup(s.catalog, s.tenant, name)
	if !ok || event.IsControl(name) || !s.grants.Allows(t.Entity, t.Operation) || !s.matches(name) {
		return r
	}
	r.wanted, r.typ = true, t
	r.personal, r.contact = s.grants.SeesPersonal(), s.grants.SeesContact()
	r.whole = r.personal && r.contact
	if s.filter != "" {
		var f fault.Violations
		r.filter = rules.CompileFilter("filter", s.filter, []event.Type{t}, &f)
		r.broken = f.Len() > 0
	}
	return r
}

// outcome is what a subscription makes of one event.
type outcome struct {
	// value is what is sent, nil where the event is not for the subscriber.
	value []byte
	// failed: the filter could not be evaluated. cost is what it took, in units of pkg/expr.
	failed bool
	cost   uint64
}

// of decides on an event, given as it is on the topic.
func (r *typeRule) of(value []byte) outcome {
	if !r.wanted || r.broken {
		return outcome{failed: r.broken}
	}
	if r.whole && r.filter == nil {
		return outcome{value: value}
	}
	e, err := event.Decode(value)
	if err != nil {
		return outcome{failed: true} // ingest lets none in
	}
	e = event.Reduced(e, r.typ, r.personal, r.contact)
	var out outcome
	if r.filter != nil {
		// It sees what is sent: it could find out the rest otherwise.
		holds := false
		view, err := r.typ.View(e)
		if err == nil {
			holds, out.cost, err = r.filter.Holds(view)
		}
		if err != nil || !holds {
			out.failed = err != nil
			return out
		}
	}
	if out.value = value; !r.whole {
		if out.value, err = e.Encode(nil); err != nil {
			return outcome{failed: true, cost: out.cost}
		}
	}
	return out
}

func indexed(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
