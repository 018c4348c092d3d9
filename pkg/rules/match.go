package rules

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/event"
)

// Index finds the rules of an event. It is immutable and may be shared.
type Index struct {
	byType map[address]*candidates
}

type address struct{ tenant, eventType string }

// candidates are the rules of a type, by code.
type candidates struct {
	rules []*Rule
	// data is what the type's events carry.
	data protoreflect.MessageDescriptor
}

// NewIndex makes an index of the active ones among rules.
func NewIndex(rules []*Rule) *Index {
	x := &Index{byType: map[address]*candidates{}}
	for _, r := range rules {
		if !r.active {
			continue
		}
		for _, t := range r.types {
			at := address{r.Tenant, t.Name}
			if x.byType[at] == nil {
				x.byType[at] = &candidates{data: t.Data.ProtoReflect().Descriptor()}
			}
			x.byType[at].rules = append(x.byType[at].rules, r)
		}
	}
	for _, c := range x.byType {
		slices.SortFunc(c.rules, func(a, b *Rule) int { return cmp.Compare(a.Code, b.Code) })
	}
	return x
}

// Match is a rule that an event fires, or whose filter failed on it.
type Match struct {
	Rule *Rule
	// Firing distinguishes firings for the same event, and is part of a delivery's id. A rule of kind event
	// fires once for each match, and it is empty.
	Firing string
	// Err is why the filter failed: then the rule doesn't fire.
	Err error
}

// errOtherData means that an event was not validated by ingest.
var errOtherData = errors.New("its data is not the message of its type")

// EventLimit is what the filters of one event may cost together, in units of pkg/expr: a fifth of a second at most.
const EventLimit = 2_000_000

// Match gives the rules that e fires, by code; nil where no rule is for its type. Where the filters of an event cost
// more than EventLimit it ends: left is the number of rules that were not evaluated, next the first of them.
func (x *Index) Match(e *event.Event) (matches []Match, next *Rule, left int) {
	c := x.byType[address{e.Tenant, e.Type}]
	if c == nil {
		return nil, nil, 0
	}
	if e.Data == nil || e.Data.ProtoReflect().Descriptor() != c.data {
		for _, r := range c.rules {
			matches = append(matches, Match{Rule: r, Err: errOtherData})
		}
		return matches, nil, 0
	}
	seen := activation{event: e}
	spent := uint64(0)
	for i, r := range c.rules {
		if spent >= EventLimit {
			return matches, r, len(c.rules) - i
		}
		fires, cost, err := r.matches(&seen, c.data.FullName())
		spent += cost
		if fires || err != nil {
			matches = append(matches, Match{Rule: r, Err: err})
		}
	}
	return matches, nil, 0
}

// matches evaluates the filter over data of that message, and returns what that cost.
func (r *Rule) matches(seen *activation, message protoreflect.FullName) (fires bool, cost uint64, err error) {
	if r.filter == nil {
		return true, 1, nil
	}
	fires, cost, err = r.filter[message].Holds(seen)
	if err != nil {
		err = fmt.Errorf("evaluate filter: %w", err)
	}
	return fires, cost, err
}
