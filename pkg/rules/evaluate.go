package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/expr"
)

// Evaluated is what a rule's filter makes of an event.
type Evaluated struct {
	Holds bool
	// Err is why the filter can't be evaluated.
	Err error
	// Parts of the filter; none where there is no filter.
	Parts []FilterPart
}

// FilterPart is a part of a filter, and what it is for an event.
type FilterPart struct {
	Text  string
	Depth int
	// Value is at most 200 bytes; PersonalValue stands for what is about a person.
	Value string
	Error string
}

// PersonalValue is in place of values that are personal data.
const PersonalValue = "(personal)"

const maxValue = 200 // bytes

// Triggers reports whether the trigger has an event type.
func (r *Rule) Triggers(name string) bool {
	return slices.ContainsFunc(r.types, func(t event.Type) bool { return t.Name == name })
}

// Evaluate evaluates the filter on an event of one of the trigger's types, as Match does, and shows its parts.
func (r *Rule) Evaluate(e *event.Event) Evaluated {
	e, err := r.View(e)
	if err != nil {
		return Evaluated{Err: err}
	}
	if e.Data == nil || !r.reads(messageAt(e)) {
		return Evaluated{Err: errOtherData}
	}
	seen := meeting{activation: activation{event: e}, message: messageAt(e)}
	var j Evaluated
	j.Holds, j.Err = seen.holds(r.filter, "filter")
	if r.filter == nil {
		return j
	}
	env, err := environment(r.typeOf(e))
	if err != nil {
		return j // it was compiled with it
	}
	parts, err := expr.Parts(env, r.written, &seen.activation)
	if err != nil {
		return j
	}
	for _, p := range parts {
		shown := FilterPart{Text: p.Text, Depth: p.Depth}
		if p.Err != nil {
			shown.Error = bounded(p.Err.Error())
		}
		if p.Value != nil {
			shown.Value = valueText(p.Value)
			if _, yes := p.Value.(types.Bool); !yes && slices.ContainsFunc(p.Names, func(name string) bool { return personal(e, name) }) {
				shown.Value = PersonalValue
			}
		}
		j.Parts = append(j.Parts, shown)
	}
	return j
}

// personal reports whether a name that a filter reads is about a person, or holds what is.
func personal(e *event.Event, name string) bool {
	if name == "subject" {
		return !strings.Contains(e.Subject, "/") // "client/42" is an id of the tenant's
	}
	path, inData := strings.CutPrefix(name, "data")
	if !inData || path != "" && path[0] != '.' {
		return false
	}
	in := e.Fields().ProtoReflect().Descriptor()
	for step := range strings.SplitSeq(strings.TrimPrefix(path, "."), ".") {
		if step == "" {
			break
		}
		if in == nil {
			return false
		}
		f := in.Fields().ByName(protoreflect.Name(step))
		if f == nil {
			return false
		}
		if is, contact := event.PersonalField(f); is || contact {
			return true
		}
		in = f.Message()
	}
	return false
}

// valueText is a value as the language writes it.
func valueText(v ref.Val) string {
	switch v := v.(type) {
	case types.String:
		return bounded(strconv.Quote(string(v)))
	case types.Timestamp:
		return v.UTC().Format(event.TimeLayout)
	}
	if m, ok := v.Value().(proto.Message); ok {
		shown := event.WithoutContact(m, false)
		raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(shown)
		if err != nil {
			return string(m.ProtoReflect().Descriptor().Name())
		}
		return bounded(string(raw))
	}
	return bounded(fmt.Sprint(v.Value()))
}

func bounded(text string) string {
	if len(text) > maxValue {
		return strings.ToValidUTF8(text[:maxValue-3], "") + "…"
	}
	return text
}
