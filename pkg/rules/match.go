package rules

import (
	"cmp"
	"errors"
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
	// Firing tells one firing from another for the same event, and is part of a delivery's id. A rule of kind event
	// fires once for each match, and it is empty.
	Firing string
	// Err says why the filter failed: then the rule doesn't fire.
	Err error
}

// errOtherData says that an event was not made by our own doors.
var errOtherData = errors.New("its data is not the message of its type")

// Match gives the rules that e fires, by code; nil where nobody asked for its type.
func (x *Index) Match(e *event.Event) []Match {
	c := x.byType[address{e.Tenant, e.Type}]
	if c == nil {
		return nil
	}
	var matches []Match
	if e.Data == nil || e.Data.ProtoReflect().Descriptor() != c.data {
		for _, r := range c.rules {
			matches = append(matches, Match{Rule: r, Err: errOtherData})
		}
		return matches
	}
	seen := activation{event: e}
	for _, r := range c.rules {
		fires, err := r.matches(&seen, c.data.FullName())
		if fires || err != nil {
			matches = append(matches, Match{Rule: r, Err: err})
		}
	}
	return matches
}

// matches judges the filter over data of that message.
func (r *Rule) matches(seen *activation, message protoreflect.FullName) (bool, error) {
	if r.filter == nil {
		return true, nil
	}
	return r.filter[message].matches(seen)
}
