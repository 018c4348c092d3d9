package webhook

import "sync"

const (
	// keptAnswer is what is kept of a response once those of its endpoint have filled a second, in bytes, and
	// answersPerSecond is what fills it. Responses under way at that moment are kept as they are.
	keptAnswer       = 1 << 10
	answersPerSecond = 1 << 20
)

// answers is what was kept of the responses of one endpoint within one second.
type answers struct {
	mu     sync.Mutex
	second int64
	bytes  int
}

// keep is how many bytes may be kept of the body of a response that is not a success, asked for in a second of the
// clock; 0 is the usual bound.
func (a *answers) keep(second int64) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.second == second && a.bytes >= answersPerSecond {
		return keptAnswer
	}
	return 0
}

// kept adds what was kept.
func (a *answers) kept(second int64, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.second != second {
		a.second, a.bytes = second, 0
	}
	a.bytes += bytes
}
