package try

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/display"
)

// story prints what happens, a line each, with the seconds since the start.
type story struct {
	mu      sync.Mutex
	out     io.Writer
	started time.Time
	colour  bool
	awaited string
}

func newStory(out io.Writer, started time.Time, colour bool) *story {
	return &story{out: out, started: started, colour: colour}
}

// Bounds of what is printed at once.
const (
	maxLine  = 2 << 10
	maxLines = 100
)

// waitFor notes what comes next, to be named if it does not.
func (s *story) waitFor(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaited = what
}

func (s *story) waiting() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.awaited
}

// step prints one thing that happened, under a word for it.
func (s *story) step(word, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%s  %s %s\n", s.dim(fmt.Sprintf("%6.2f s", time.Since(s.started).Seconds())),
		s.bold(fmt.Sprintf("%-11s", word)), display.Text(fmt.Sprintf(format, args...), maxLine))
}

func (s *story) plain(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range display.Lines(fmt.Sprintf(format, args...), maxLine, maxLines) {
		fmt.Fprintln(s.out, line)
	}
}

func (s *story) title(what string, f *folder) {
	where := "kept in " + f.path
	if f.temporary {
		where = "in " + f.path + ", removed at the end"
	}
	s.plain("Tollgate: %s. Data %s.", what, where)
	if f.kept.Run > 1 {
		s.plain("Run %d of this folder: what earlier runs counted and sent is neither counted nor sent again.", f.kept.Run)
	}
}

func (s *story) table(rows [][2]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.out)
	for _, r := range rows {
		fmt.Fprintf(s.out, "  %s %s\n", s.bold(fmt.Sprintf("%-10s", r[0])), display.Text(strings.TrimRight(r[1], " "), maxLine))
	}
	fmt.Fprintln(s.out)
}

func (s *story) bold(text string) string { return s.in("\x1b[1m", text) }
func (s *story) dim(text string) string  { return s.in("\x1b[2m", text) }

func (s *story) in(code, text string) string {
	if !s.colour {
		return text
	}
	return code + text + "\x1b[0m"
}
