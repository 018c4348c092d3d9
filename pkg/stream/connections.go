package stream

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
		return nil, errClientClosed
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

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// connections are those that one part of kafka-go has open. It waits for answers
// that are on their way even when nobody wants them any more; we can cut them.
type connections struct {
	mu     sync.Mutex
	open   map[*connection]struct{}
	closed bool
}

// dial keeps what f opens.
func (c *connections) dial(f dialFunc) dialFunc {
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

// cut breaks what is open.
func (c *connections) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.open {
		_ = k.Conn.Close()
	}
}

// close cuts, and refuses what is dialled later.
func (c *connections) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cut()
}

type connection struct {
	net.Conn
	of *connections
}

func (k *connection) Close() error {
	k.of.mu.Lock()
	delete(k.of.open, k)
	k.of.mu.Unlock()
	return k.Conn.Close()
}
