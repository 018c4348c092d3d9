package daemon

import (
	"slices"
	"sync"
)

// InFlight is the set of work that a stop waits for, so that work which takes too long can be named. The zero value is
// empty.
type InFlight struct {
	mu    sync.Mutex
	names map[string]int
}

// Add notes that name is in flight until the returned function is called, which may be called more than once.
func (o *InFlight) Add(name string) (done func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.names == nil {
		o.names = map[string]int{}
	}
	o.names[name]++
	return sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.names[name]--; o.names[name] == 0 {
			delete(o.names, name)
		}
	})
}

// Names are the names in flight now, sorted.
func (o *InFlight) Names() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	names := make([]string, 0, len(o.names))
	for name := range o.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
