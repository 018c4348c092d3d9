package daemon

import (
	"context"
	"fmt"
	"net"
	"sync"

	"go.uber.org/zap"
)

// Listeners are the addresses of a service by listener: "admin", "grpc", "http". A listener on port 0 has its real port
// here.
type Listeners struct {
	log     *zap.Logger
	mu      sync.Mutex
	bound   map[string]net.Addr
	changed chan struct{}
}

// NewListeners is empty; it logs one line for each announced address.
func NewListeners(log *zap.Logger) *Listeners {
	return &Listeners{log: log, bound: map[string]net.Addr{}, changed: make(chan struct{})}
}

// Announce notes that the named listener is bound to address and accepts connections.
func (l *Listeners) Announce(name string, address net.Addr) {
	l.mu.Lock()
	l.bound[name] = address
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	l.log.Info("listening", zap.String("listener", name), zap.Stringer("address", address))
}

// Wait returns the address of the named listener once it is announced.
func (l *Listeners) Wait(ctx context.Context, name string) (string, error) {
	for {
		l.mu.Lock()
		address, ok := l.bound[name]
		changed := l.changed
		l.mu.Unlock()
		if ok {
			return address.String(), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("wait for listener %q: %w", name, ctx.Err())
		}
	}
}
