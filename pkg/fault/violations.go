package fault

import (
	"errors"
	"fmt"
)

// Violations collects the violations of an input, so that one error names them all. It keeps the first MaxViolations and
// counts the rest: an input with a hundred thousand violations costs no more than one with fifty. The zero value is
// empty.
type Violations struct {
	violations []Violation
	omitted    int
	// differ is set where an omitted violation has another reason than the first, or none.
	differ bool
}

func (f *Violations) add(v Violation) {
	if len(f.violations) < MaxViolations {
		f.violations = append(f.violations, v.bounded())
		return
	}
	f.omitted++
	f.differ = f.differ || v.Reason == "" || v.Reason != f.violations[0].Reason
}

// Full reports that further violations are only counted: a caller that walks a long list can stop.
func (f *Violations) Full() bool { return len(f.violations) == MaxViolations }

// Add adds one violation; format and args are those of fmt.Sprintf.
func (f *Violations) Add(field, format string, args ...any) { f.AddAs("", field, format, args...) }

// AddAs is Add with a reason for the violation.
func (f *Violations) AddAs(reason, field, format string, args ...any) {
	v := Violation{Field: field, Reason: reason}
	if !f.Full() {
		v.Description = fmt.Sprintf(format, args...)
	}
	f.add(v)
}

// AddErr adds err under field: each of its violations where it is a fault that has some (their paths below field),
// otherwise its text. A nil err adds nothing.
func (f *Violations) AddErr(field string, err error) {
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

// Len is the number of violations.
func (f *Violations) Len() int { return len(f.violations) + f.omitted }

// Err is nil where there is no violation, otherwise a fault of kind Invalid with all of them.
func (f *Violations) Err(reason string) error {
	if len(f.violations) == 0 {
		return nil
	}
	return newInvalid(reason, f.violations, f.omitted)
}

// ErrShared is Err with the reason that all violations share, or with otherwise where they differ or have none.
func (f *Violations) ErrShared(otherwise string) error {
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
