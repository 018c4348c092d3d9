package chain

import (
	"context"
	"maps"
	"sync"
	"time"
)

const (
	// opensAfter is how many failures in a row open a circuit.
	opensAfter = 5
	// A circuit lets one question through after this time, twice as long after each that failed, up to mostClosed.
	firstClosed, mostClosed = time.Second, 30 * time.Second
)

// gates are those of handlers, by name.
type gates struct {
	mu  sync.Mutex
	all map[string]*gate
}

// of is a handler's gate. One whose concurrency was changed gets another; what goes on through the old one ends there.
func (g *gates) of(h *Handler) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = map[string]*gate{}
	}
	known := g.all[h.Name]
	if known == nil || cap(known.places) != max(h.Concurrency, 1) {
		known = &gate{places: make(chan struct{}, max(h.Concurrency, 1))}
		g.all[h.Name] = known
	}
	return known
}

// gate is the circuit of a handler, and the bound of questions that are open.
type gate struct {
	places chan struct{}

	mu       sync.Mutex
	failures int
	// closed is until when nobody is asked; zero where the circuit is closed.
	until time.Time
	wait  time.Duration
	// probing: the one question that an open circuit lets through is open.
	probing bool
}

// admits reports whether the handler may be asked. One that is admitted by an open circuit is its probe: one of succeeded,
// failed and abandoned must follow.
func (g *gate) admits(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until.IsZero() {
		return true
	}
	if g.probing || now.Before(g.until) {
		return false
	}
	g.probing = true
	return true
}

// enter takes a place; false where none came free in time.
func (g *gate) enter(ctx context.Context) bool {
	select {
	case g.places <- struct{}{}:
		return true
	case <-ctx.Done():
		g.abandoned()
		return false
	}
}

func (g *gate) leave() { <-g.places }

func (g *gate) succeeded() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures, g.until, g.wait, g.probing = 0, time.Time{}, 0, false
}

func (g *gate) failed(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures++
	if g.failures < opensAfter || !g.until.IsZero() && !g.probing {
		// Below the bound, or asked before the circuit opened.
		return
	}
	g.wait = min(max(2*g.wait, firstClosed), mostClosed)
	g.until, g.probing = now.Add(g.wait), false
}

// abandoned: a question ended for a reason that is not the handler's.
func (g *gate) abandoned() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.probing = false
}

// open counts the circuits that are open.
func (g *gates) open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, gate := range g.all {
		gate.mu.Lock()
		if !gate.until.IsZero() {
			n++
		}
		gate.mu.Unlock()
	}
	return n
}

// OpenCircuits is how many handlers are not asked now, because they failed too often.
func (c *Chain) OpenCircuits() int { return c.gates.open() }

// Keep forgets the circuits of all other handlers; what is asked through them goes on, and counts for no later one.
func (c *Chain) Keep(there func(name string) bool) {
	c.gates.mu.Lock()
	defer c.gates.mu.Unlock()
	maps.DeleteFunc(c.gates.all, func(name string, _ *gate) bool { return !there(name) })
}
