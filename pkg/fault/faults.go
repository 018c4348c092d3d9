package fault

import "fmt"

// Faults collects everything that is wrong with an input, so that one answer names it all. The zero value is empty.
type Faults struct {
	violations []Violation
}

// Add records one violation; format and args are those of fmt.Sprintf.
func (f *Faults) Add(field, format string, args ...any) {
	f.violations = append(f.violations, Violation{Field: field, Description: fmt.Sprintf(format, args...)})
}

// AddAs is Add with a reason of the violation's own.
func (f *Faults) AddAs(reason, field, format string, args ...any) {
	f.violations = append(f.violations, Violation{Field: field, Description: fmt.Sprintf(format, args...), Reason: reason})
}

// AddErr records err under field: each of its violations when it is a fault that has some (their paths below field),
// else its text. A nil err records nothing.
func (f *Faults) AddErr(field string, err error) {
	if err == nil {
		return
	}
	inner := ViolationsOf(err)
	if len(inner) == 0 {
		f.Add(field, "%s", err)
		return
	}
	for _, v := range inner {
		v.Field = join(field, v.Field)
		f.violations = append(f.violations, v)
	}
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

// Len is how many violations were recorded.
func (f *Faults) Len() int { return len(f.violations) }

// Err is nil when nothing was recorded, else a fault of kind Invalid with all of it.
func (f *Faults) Err(reason string) error {
	if len(f.violations) == 0 {
		return nil
	}
	return NewInvalid(reason, f.violations...)
}

// ErrShared is Err with the reason that every violation has, or with otherwise where they differ or have none.
func (f *Faults) ErrShared(otherwise string) error {
	if len(f.violations) == 0 {
		return nil
	}
	shared := f.violations[0].Reason
	for _, v := range f.violations {
		if v.Reason != shared || v.Reason == "" {
			shared = otherwise
		}
	}
	return NewInvalid(shared, f.violations...)
}
