package rules

import (
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
)

// Filter is the filter of a notification without one: over events of some types.
type Filter struct{ programs programs }

// CompileFilter compiles a filter, checked against each of the types as that of a notification is. Its faults are added to f, under
// field. A blank text holds for every event.
func CompileFilter(field, text string, of []event.Type, f *fault.Violations) *Filter {
	return &Filter{compileFilter(field, text, of, f)}
}

// Holds evaluates the filter on an event of one of its types, which is the View of a declared one, and returns the cost in units of pkg/expr. An error means
// that it fails on this event.
func (f *Filter) Holds(e *event.Event) (holds bool, cost uint64, err error) {
	if f.programs == nil {
		return true, 0, nil
	}
	if e.Data == nil {
		return false, 0, errOtherData
	}
	seen := meeting{activation: activation{event: e}, message: e.Fields().ProtoReflect().Descriptor().FullName()}
	if f.programs[seen.message] == nil {
		return false, 0, errOtherData
	}
	holds, err = seen.holds(f.programs, "filter")
	return holds, seen.spent, err
}
