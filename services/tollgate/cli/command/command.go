// Package command has what the commands of the command line share: what they read and write, the flags that connect them,
// the forms of their output, and the errors of a wrong call.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tollgate/tollgate/pkg/display"
)

// Streams are what a command reads and writes. Files that are terminals get progress bars and questions.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Legible escapes on the way out what a terminal obeys: others named, sent and answered it.
func (s Streams) Legible() Streams {
	s.Out, s.Err = display.NewWriter(s.Out), display.NewWriter(s.Err)
	return s
}

// UsageError is a wrong call that is found only once all flags are read.
type UsageError string

func (e UsageError) Error() string { return string(e) }

// Bounds of what is shown to a person at once.
const (
	MaxLine  = 2 << 10
	MaxLines = 200
)

func Complain(w io.Writer, err error) {
	for _, line := range display.Lines(err.Error(), MaxLine, MaxLines) {
		fmt.Fprintf(w, "tollgate: %s\n", line)
	}
}

// Drawn is the stream itself, for progress bars and colours.
func Drawn(w io.Writer) io.Writer {
	if escaping, ok := w.(*display.Writer); ok {
		return escaping.Unwrap()
	}
	return w
}

// IsTerminal reports that a stream is a terminal.
func IsTerminal(stream any) bool {
	if w, ok := stream.(io.Writer); ok {
		stream = Drawn(w)
	}
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	return terminal(f.Fd())
}

// ErrReported is an error whose text was already written: only the exit code is left.
var ErrReported = errors.New("reported already")

// Unreachable names the server where the only known error is a timeout.
func Unreachable(err error, server string) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s does not answer: %w", server, err)
	}
	return err
}
