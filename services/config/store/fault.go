package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Reasons why the database does not do what it is asked.
const (
	Full        = "DATABASE_FULL"
	ReadOnly    = "DATABASE_READ_ONLY"
	Unavailable = "DATABASE_UNAVAILABLE"
	// Unknown: the connection was lost during a commit.
	Unknown = "CHANGE_UNKNOWN"
)

var advice = map[string]string{
	Full:        "the database has no room left, and nothing can be changed until it has",
	ReadOnly:    "the database is read-only, and nothing can be changed until it is writable",
	Unavailable: "the database does not answer: try again",
	Unknown:     "the database did not answer, and the change may stand: read the resource before you try again",
}

// failure shows callers what they can do, and keeps the error of the driver for the log.
type failure struct {
	shown *fault.Error
	cause error
}

func (f *failure) Error() string   { return f.shown.Error() + ": " + f.cause.Error() }
func (f *failure) Unwrap() []error { return []error{f.shown, f.cause} }

// failed is an error of an operation. Callers learn the reason where it is nothing that they sent.
func (d *dialect) failed(err error, format string, args ...any) error {
	wrapped := fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return wrapped
	}
	why := d.reason(err)
	if why == "" && (errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		why = Unavailable
	}
	if why == "" {
		return wrapped
	}
	return failing(why, wrapped)
}

func failing(why string, cause error) error {
	return &failure{shown: fault.New(fault.Unavailable, why, "%s", advice[why]), cause: cause}
}
