package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Switches is how often the threads of a member that is a process of its own were switched.
func (m *Member) Switches() (int64, error) { return Switches(m.pid) }

// Switches is how often the threads of the server were switched.
func (s *Server) Switches() (int64, error) {
	pid, err := s.pid()
	if err != nil {
		return 0, err
	}
	return Switches(pid)
}

// Switches is how often the threads of a process were switched, of those that have not ended.
func Switches(pid int) (sum int64, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("no threads of %d: %w", pid, err)
	}
	for _, path := range threads {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended since
		}
		for line := range strings.Lines(string(content)) {
			name, value, _ := strings.Cut(line, ":")
			if !strings.HasSuffix(name, "voluntary_ctxt_switches") {
				continue
			}
			var n int64
			if _, err := fmt.Sscan(value, &n); err != nil {
				return 0, fmt.Errorf("switches of %d: %w", pid, err)
			}
			sum += n
		}
	}
	return sum, nil
}
