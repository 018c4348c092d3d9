package rules

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rules/kind"
)

// Index finds the rules of an event. It is immutable and may be shared.
type Index struct {
	byType map[address]*candidates
	// stateful are the rules that keep a state, by code.
	stateful map[address]*Rule
}

// address is a tenant, and the name of an event type or the code of a rule.
type address struct{ tenant, name string }

// candidates are the rules of a type, by code.
type candidates struct {
	rules []candidate
	// finder finds those that an event may concern.
	finder finder
	// data is what the type's events carry, declared the type where a tenant declares it.
	data     protoreflect.MessageDescriptor
	declared *event.Type
}

// candidate is a rule whose trigger has the type, or which a type cancels, or both.
type candidate struct {
	rule              *Rule
	triggers, cancels bool
}

// NewIndex makes an index of the active ones among rules, and of those that keep a state, which follows events.
func NewIndex(rules []*Rule) *Index {
	x := &Index{byType: map[address]*candidates{}, stateful: map[address]*Rule{}}
	add := func(c candidate, t event.Type) {
		at := address{c.rule.Tenant, t.Name}
		if x.byType[at] == nil {
			x.byType[at] = &candidates{data: t.Data.ProtoReflect().Descriptor()}
			if t.Schema != nil {
				x.byType[at].declared = &t
			}
		}
		x.byType[at].rules = append(x.byType[at].rules, c)
	}
	for _, r := range rules {
		if !r.active && r.state == nil {
			continue
		}
		for _, t := range r.types {
			add(candidate{r, true, r.cancelledBy(t)}, t)
		}
		if r.state == nil {
			continue
		}
		x.stateful[address{r.Tenant, r.Code}] = r
		for _, t := range r.state.cancels {
			if !slices.ContainsFunc(r.types, func(own event.Type) bool { return own.Name == t.Name }) {
				add(candidate{r, false, true}, t)
			}
		}
	}
	for _, c := range x.byType {
		slices.SortFunc(c.rules, func(a, b candidate) int { return cmp.Compare(a.rule.Code, b.rule.Code) })
		c.finder = newFinder(c.rules, c.data)
	}
	return x
}

// Stateful is the rule of a tenant that keeps a state under its code; nil where there is none.
func (x *Index) Stateful(tenant, code string) *Rule { return x.stateful[address{tenant, code}] }

// Match is a rule that an event concerns, or that failed on it.
type Match struct {
	Rule *Rule
	// Fires: the filter holds, and the rule keeps no state.
	Fires bool
	// States that the event concerns, of a rule that keeps them: each of another key.
	States []Keyed
	// Err is why a filter or a key failed: what it was for is as if the event did not match.
	Err error
}

// Keyed is the state of a key, and what the event is to it.
type Keyed struct {
	Key  string
	Role kind.Role
}

// errOtherData means that an event was not validated by ingest.
var errOtherData = errors.New("its data is not the message of its type")

// EventLimit is what the filters of one event may cost together, in units of pkg/expr: a fifth of a second at most.
const EventLimit = 2_000_000

// Match gives the rules that e concerns, by code; nil where no rule is for its type. Where the filters and keys of an event
// cost more than EventLimit it ends: left is the number of rules that were not evaluated, next the first of them. Rules whose
// filters are known to be false by a term cost nothing, and are none of those.
func (x *Index) Match(e *event.Event) (matches []Match, next *Rule, left int) {
	c := x.byType[address{e.Tenant, e.Type}]
	if c == nil {
		return nil, nil, 0
	}
	e, err := c.view(e)
	if err != nil {
		for _, one := range c.rules {
			if one.rule.active {
				matches = append(matches, Match{Rule: one.rule, Err: err})
			}
		}
		return matches, nil, 0
	}
	seen := meeting{activation: activation{event: e}, message: c.data.FullName()}
	var few [32]int
	places := c.finder.find(e, few[:0])
	for i, place := range places {
		one := c.rules[place]
		if seen.spent >= EventLimit {
			return matches, one.rule, len(places) - i
		}
		if m := one.meet(&seen); m.Fires || m.States != nil || m.Err != nil {
			matches = append(matches, m)
		}
	}
	return matches, nil, 0
}

// View is an event as the rules for its type see it: the data of a type that its tenant declares, as the type is declared
// now. It is the event itself where no rule is for its type, and where the data is of another kind by now, which Match reports.
func (x *Index) View(e *event.Event) *event.Event {
	c := x.byType[address{e.Tenant, e.Type}]
	if c == nil || c.declared == nil {
		return e
	}
	if view, err := c.view(e); err == nil {
		return view
	}
	return e
}

func (c *candidates) view(e *event.Event) (*event.Event, error) {
	if e.Data != nil && e.Fields().ProtoReflect().Descriptor() == c.data {
		return e, nil
	}
	if c.declared == nil || e.Data == nil {
		return nil, errOtherData
	}
	view, err := c.declared.View(e)
	if err != nil {
		return nil, fmt.Errorf("the event was accepted by another declaration of %s: %w", e.Type, err)
	}
	return view, nil
}

// View is an event as the rule sees it, where it is of one of its types.
func (r *Rule) View(e *event.Event) (*event.Event, error) {
	t := r.typeOf(e)
	if t.Schema == nil {
		return e, nil
	}
	c := candidates{data: t.Data.ProtoReflect().Descriptor(), declared: &t}
	return c.view(e)
}

// typeOf is that of an event among those of the rule; a built-in one, or none, where it is not among them.
func (r *Rule) typeOf(e *event.Event) event.Type {
	for _, t := range r.ConcernedTypes() {
		if t.Name == e.Type {
			return t
		}
	}
	t, _ := event.Lookup(e.Type)
	return t
}

// Sample is an event of a type, one of the rule's or a built-in one, that shows what its fields look like; nil where the
// type is not known.
func (r *Rule) Sample(name, id string, at time.Time) *event.Event {
	t := r.typeOf(&event.Event{Type: name})
	if t.Data == nil {
		return nil
	}
	return t.Sample(r.Tenant, id, at)
}

// messageAt is the name of the message of an event's fields.
func messageAt(e *event.Event) protoreflect.FullName {
	return e.Fields().ProtoReflect().Descriptor().FullName()
}

// meeting is an event as it meets its rules, one after the other.
type meeting struct {
	activation
	message protoreflect.FullName
	spent   uint64
}

// meet evaluates what a rule asks of an event.
func (c candidate) meet(seen *meeting) Match {
	m := Match{Rule: c.rule}
	holds, err := c.triggers, error(nil)
	if c.triggers {
		holds, err = seen.holds(c.rule.filter, "filter")
	}
	if c.rule.state == nil {
		m.Fires, m.Err = holds, err
		return m
	}
	m.States, m.Err = c.rule.states(seen, holds, c.cancels)
	if m.Err = cmp.Or(err, m.Err); !c.rule.active {
		m.Err = nil
	}
	return m
}

// holds evaluates a filter; there may be none.
func (seen *meeting) holds(filter programs, what string) (bool, error) {
	if filter == nil {
		seen.spent++
		return true, nil
	}
	holds, cost, err := filter[seen.message].Holds(&seen.activation)
	if seen.spent += cost; err != nil {
		err = fmt.Errorf("evaluate %s: %w", what, err)
	}
	return holds, err
}

// MayFire reports whether the event may fire a rule that keeps a state.
func (m *Match) MayFire() bool {
	return m.Rule.active && !m.Rule.Timed() && len(m.States) > 0 && m.States[0].Role == kind.Matches
}
