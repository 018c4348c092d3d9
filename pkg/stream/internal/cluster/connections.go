package cluster

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"github.com/segmentio/kafka-go"
)

// gate is kafka-go's transport until the client is closed. The transport itself
// would open a new pool for a call that comes later, and never end it.
type gate struct {
	transport *kafka.Transport
	closed    atomic.Bool
}

func (g *gate) RoundTrip(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
	if g.closed.Load() {
		return nil, ErrClosed
	}
	res, err := g.transport.RoundTrip(ctx, addr, req)
	if g.closed.Load() {
		g.transport.CloseIdleConnections()
	}
	return res, err
}

func (g *gate) close() {
	g.closed.Store(true)
	g.transport.CloseIdleConnections()
}

// DialFunc opens a connection.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Connections are those that one part of kafka-go has open. It waits for answers
// that are on their way even when no caller wants them any more; we can cut them.
type Connections struct {
	mu     sync.Mutex
	open   map[*connection]struct{}
	closed bool
}

// Dial keeps what f opens.
func (c *Connections) Dial(f DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := f(ctx, network, address)
		if err != nil {
			return nil, err
		}
		k := &connection{Conn: conn, of: c}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closed {
			_ = conn.Close()
			return nil, net.ErrClosed
		}
		if c.open == nil {
			c.open = map[*connection]struct{}{}
		}
		c.open[k] = struct{}{}
		return k, nil
	}
}

// Cut breaks what is open.
func (c *Connections) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.open {
		_ = k.Conn.Close()
	}
}

// Close cuts, and refuses what is dialled later.
func (c *Connections) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.Cut()
}

type connection struct {
	net.Conn
	of *Connections
}

func (k *connection) Close() error {
	k.of.mu.Lock()
	delete(k.of.open, k)
	k.of.mu.Unlock()
	return k.Conn.Close()
}
