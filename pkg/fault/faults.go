package fault

import (
	"errors"
	"fmt"
)

// Faults collects what is wrong with an input, so that one answer names it all. It keeps the first MaxViolations and counts
// the rest: an input of a hundred thousand faults costs no more than one of fifty. The zero value is empty.
type Faults struct {
	violations []Violation
	omitted    int
	// differ is set where one that was left out has another reason than the first, or none.
	differ bool
}

func (f *Faults) add(v Violation) {
	if len(f.violations) < MaxViolations {
		f.violations = append(f.violations, v.bounded())
		return
	}
	f.omitted++
	f.differ = f.differ || v.Reason == "" || v.Reason != f.violations[0].Reason
}

// Full says that what is added now is only counted: who looks through a long list can stop.
func (f *Faults) Full() bool { return len(f.violations) == MaxViolations }

// Add records one violation; format and args are those of fmt.Sprintf.
func (f *Faults) Add(field, format string, args ...any) { f.AddAs("", field, format, args...) }

// AddAs is Add with a reason of the violation's own.
func (f *Faults) AddAs(reason, field, format string, args ...any) {
	v := Violation{Field: field, Reason: reason}
	if !f.Full() {
		v.Description = fmt.Sprintf(format, args...)
	}
	f.add(v)
}

// AddErr records err under field: each of its violations when it is a fault that has some (their paths below field),
// else its text. A nil err records nothing.
func (f *Faults) AddErr(field string, err error) {
	if err == nil {
		return
	}
	inner, ok := errors.AsType[*Error](err)
	if !ok || len(inner.Violations) == 0 {
		f.Add(field, "%s", err)
		return
	}
	for _, v := range inner.Violations {
		v.Field = join(field, v.Field)
		f.add(v)
	}
	f.omitted += inner.Omitted
	f.differ = f.differ || inner.Omitted > 0 && (inner.Reason == "" || inner.Reason != f.violations[0].Reason)
}

func join(outer, inner string) string {
	switch {
	case outer == "":
		return inner
	case inner == "":
		return outer
	}
	return outer + "." + inner
}

// Len is how many violations there are.
func (f *Faults) Len() int { return len(f.violations) + f.omitted }

// Err is nil when nothing was recorded, else a fault of kind Invalid with all of it.
func (f *Faults) Err(reason string) error {
	if len(f.violations) == 0 {
		return nil
	}
	return newInvalid(reason, f.violations, f.omitted)
}

// ErrShared is Err with the reason that every violation has, or with otherwise where they differ or have none.
func (f *Faults) ErrShared(otherwise string) error {
	if len(f.violations) == 0 {
		return nil
	}
	shared := f.violations[0].Reason
	for _, v := range f.violations {
		if v.Reason != shared || v.Reason == "" || f.differ {
			shared = otherwise
		}
	}
	return newInvalid(shared, f.violations, f.omitted)
}
