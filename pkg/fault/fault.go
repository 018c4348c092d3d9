// Package fault holds the few kinds of error that a caller must distinguish, and the gRPC status of each.
//
// A kind exists only where a caller branches on it; every other error stays an ordinary wrapped error and counts as
// Internal. A fault carries a machine-readable reason in UPPER_SNAKE, a message for a person, and every violation of
// the input at once. It may be wrapped: KindOf and ReasonOf search the chain.
package fault

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/display"
)

// Bounds of what a fault holds, whatever it was made of: its texts go into answers, trailers, records and logs. All of it
// is fit for a terminal.
const (
	// MaxViolations are named, the rest is counted.
	MaxViolations  = 50
	maxMessage     = 4 << 10
	maxField       = 256
	maxDescription = 512
	maxMetadata    = 8
	maxFact        = 128
)

// Kind is what the caller can do about an error.
type Kind uint8

const (
	// Internal is any error that is not a fault: the caller can do nothing but report it.
	Internal Kind = iota
	// Invalid means that the input can never succeed as it is.
	Invalid
	// NotFound means that what the input names does not exist.
	NotFound
	// AlreadyExists means that what the input would create is already there.
	AlreadyExists
	// Conflict means that a change by another caller prevents this one: an old etag, a resource in use.
	Conflict
	// Throttled means that the caller asks too often; the same input succeeds later.
	Throttled
	// Unavailable means that the result is not known now; the same input may succeed later.
	Unavailable
	// Unauthenticated means that the caller is not known.
	Unauthenticated
	// Denied means that the caller is known and may not do this.
	Denied
	// Precondition means that the named resource is in a state that excludes the call until something else changes:
	// repeating it does not help. A Conflict is resolved by reading again.
	Precondition
)

var kindNames = [...]string{
	Internal: "internal", Invalid: "invalid", NotFound: "not found", AlreadyExists: "already exists",
	Conflict: "conflict", Throttled: "throttled", Unavailable: "unavailable",
	Unauthenticated: "unauthenticated", Denied: "denied", Precondition: "precondition",
}

// String names the kind in lower-case words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Violation is one error in the input.
type Violation struct {
	// Field is the path of the field as the caller wrote it, such as "endpoint.url"; empty for the input as a whole.
	Field string
	// Description is what the field must be, in a sentence without a capital or a full stop.
	Description string
	// Reason is the violation's own where it has one; an input may have several things wrong with it, of several kinds.
	Reason string
}

// String is "field: description".
func (v Violation) String() string {
	if v.Field == "" {
		return v.Description
	}
	return v.Field + ": " + v.Description
}

// Error is one fault. Its fields are read by callers and must not be changed once it has been returned.
type Error struct {
	Kind Kind
	// Reason is the machine-readable code, in UPPER_SNAKE.
	Reason string
	// Message is for a person; it names no secret.
	Message string
	// Violations are what is wrong with the input, in the order found: the first MaxViolations.
	Violations []Violation
	// Omitted is how many violations more there are.
	Omitted int
	// Metadata are further facts for a machine, such as the eligible states; keys in lowerCamel.
	Metadata map[string]string
	// RetryAfter is how long the caller should wait before trying again; 0 when nothing is known.
	RetryAfter time.Duration

	cause error
}

// New makes a fault; format and args are those of fmt.Errorf, so %w keeps a cause in the chain.
func New(kind Kind, reason, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Reason: reason, Message: display.Text(err.Error(), maxMessage), cause: unwrapped(err)}
}

// NewInvalid makes a fault of kind Invalid that lists the violations of the input.
func NewInvalid(reason string, violations ...Violation) *Error {
	return newInvalid(reason, violations, 0)
}

func newInvalid(reason string, violations []Violation, omitted int) *Error {
	if more := len(violations) - MaxViolations; more > 0 {
		violations, omitted = violations[:MaxViolations], omitted+more
	}
	bounded := make([]Violation, len(violations))
	for i, v := range violations {
		bounded[i] = v.bounded()
	}
	return &Error{Kind: Invalid, Reason: reason, Message: listed(bounded, omitted, maxMessage), Violations: bounded, Omitted: omitted}
}

func (v Violation) bounded() Violation {
	return Violation{
		Field: display.Text(v.Field, maxField), Description: display.Text(v.Description, maxDescription), Reason: display.Text(v.Reason, maxField),
	}
}

// listed is as many of the violations as fit into max bytes, and the number of the others.
func listed(violations []Violation, omitted, max int) string {
	const room = len("; and 2147483647 more")
	var b strings.Builder
	for i, v := range violations {
		text := v.String()
		if i > 0 {
			if b.Len()+len("; ")+len(text) > max-room {
				omitted += len(violations) - i
				break
			}
			b.WriteString("; ")
		}
		b.WriteString(display.Text(text, max-room))
	}
	if omitted > 0 {
		fmt.Fprintf(&b, "; and %d more", omitted)
	}
	return b.String()
}

// unwrapped are the errors that fmt.Errorf received with %w: one, several, or none.
func unwrapped(err error) error {
	switch err := err.(type) { //nolint:errorlint // it is the wrapping itself that is looked at
	case interface{ Unwrap() error }:
		return err.Unwrap()
	case interface{ Unwrap() []error }:
		return errors.Join(err.Unwrap()...)
	}
	return nil
}

// Error is the message, with the reason in front of it.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Reason
	}
	return e.Reason + ": " + e.Message
}

// Unwrap gives the cause that was passed to New with %w.
func (e *Error) Unwrap() error { return e.cause }

// With returns a copy that also carries the fact key = value.
func (e *Error) With(key, value string) *Error {
	c := *e
	c.Metadata = maps.Clone(e.Metadata)
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	if len(c.Metadata) < maxMetadata {
		c.Metadata[key] = display.Text(value, maxFact)
	}
	return &c
}

// After returns a copy with the wait before the next try.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// KindOf is the kind of the outermost fault in err's chain, Internal when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// ReasonOf is the reason of the outermost fault in err's chain, empty when there is none.
func ReasonOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// OmittedOf is the number of violations beyond ViolationsOf.
func OmittedOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Omitted
	}
	return 0
}

// Detail is the text of err without its reason: the message of the outermost fault in its chain, with its violations.
func Detail(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return display.Text(err.Error(), maxMessage)
}

// Listed are the violations of err for a person: where some were omitted, the last one is their number.
func Listed(err error) []Violation {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Omitted == 0 {
		return ViolationsOf(err)
	}
	return append(slices.Clone(e.Violations), Violation{Description: fmt.Sprintf("and %d more", e.Omitted)})
}

// ViolationsOf are the violations of the outermost fault in err's chain.
func ViolationsOf(err error) []Violation {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Violations
	}
	return nil
}
