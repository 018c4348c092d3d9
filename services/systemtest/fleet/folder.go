package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// InFolder runs do in a new folder under the system's own for such, and removes it. Where do fails, the folder stays: it has
// the logs, and the error names it.
func InFolder(prefix string, do func(dir string) error) error {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return err
	}
	if err := do(dir); err != nil {
		return fmt.Errorf("%w\nlogs are kept in %s", err, dir)
	}
	return os.RemoveAll(dir)
}

// End stops what a run has started, when it is deferred: in a minute of its own, for ctx may have ended.
func End(ctx context.Context, err *error, stop func(context.Context) error) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	*err = errors.Join(*err, stop(ending))
}

// Report writes a line of progress to standard error.
func Report(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
