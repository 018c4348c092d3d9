package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// conn is a connection to a receiver as HTTP sees it, above TLS. It notes what the errors of net/http do not show.
type conn struct {
	net.Conn
	closing atomic.Bool
	release func()
	// writes counts calls of Write; lost: the other side closed or reset the connection; alert: TLS ended it.
	writes      atomic.Int64
	lost, alert atomic.Bool
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.note(err)
}

func (c *conn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	n, err := c.Conn.Write(b)
	return n, c.note(err)
}

func (c *conn) note(err error) error {
	if err == nil || c.closing.Load() {
		return err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		// crypto/tls reports alerts this way: in TLS 1.3 the alert for a missing client certificate follows the handshake.
		c.alert.Store(true)
	} else if broken(err) {
		c.lost.Store(true)
	}
	return err
}

func (c *conn) Close() error {
	if !c.closing.Swap(true) {
		c.release()
	}
	return c.Conn.Close()
}

// link is a connection that speaks HTTP. HTTP/1.1 carries one request at a time, HTTP/2 many.
type link struct {
	http *http.ClientConn
	conn *conn
	h2   bool
	// served: a request on it was answered. A later one that it loses may be sent again.
	served atomic.Bool
	// generation is that of the client's connections when it was opened.
	generation int
	idleSince  time.Time // guarded by the client
}

// speakers turn a connection that is open into one that speaks HTTP. They dial nothing and keep nothing.
type speakers struct{ h1, h2 *http.Transport }

func newSpeakers(idle time.Duration) *speakers {
	speaker := func(protocols *http.Protocols) *http.Transport {
		return &http.Transport{
			DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return ctx.Value(connKey{}).(*conn), nil },
			MaxResponseHeaderBytes: maxHeaderRead,
			DisableCompression:     true, // the body is kept as it was sent, and a small body cannot grow
			Protocols:              protocols,
			IdleConnTimeout:        idle,
			// A ping detects a dead connection before requests time out on it.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
		}
	}
	var h1, h2 http.Protocols
	h1.SetHTTP1(true)
	h2.SetUnencryptedHTTP2(true) // encrypted below, where net/http does not see it
	return &speakers{h1: speaker(&h1), h2: speaker(&h2)}
}

type connKey struct{}

func (s *speakers) speak(ctx context.Context, c *conn, address string, h2 bool) (*http.ClientConn, error) {
	transport := s.h1
	if h2 {
		transport = s.h2
	}
	return transport.NewClientConn(context.WithValue(ctx, connKey{}, c), "http", address)
}

// open dials the place of a request, with TLS where its scheme asks for it.
func (c *Client) open(ctx context.Context, to place, r *Request, w *stopwatch) (*link, error) {
	c.mu.Lock()
	generation := c.generation
	c.mu.Unlock()
	if err := c.bound.take(); err != nil {
		return nil, err
	}
	raw, err := c.dial(ctx, to, r, w)
	if err != nil {
		c.bound.give()
		return nil, err
	}
	w.got(false)
	l := &link{conn: &conn{Conn: raw, release: c.bound.give}, generation: generation}
	if to.tls {
		if l.h2, err = c.secure(ctx, l.conn, to, r, w); err != nil {
			_ = l.conn.Close()
			return nil, err
		}
	}
	if l.http, err = c.speakers.speak(ctx, l.conn, to.address, l.h2); err != nil {
		_ = l.conn.Close()
		return nil, err
	}
	return l, nil
}

func (c *Client) dial(ctx context.Context, to place, r *Request, w *stopwatch) (net.Conn, error) {
	if r.ConnectTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.ConnectTimeout)
		defer cancel()
	}
	return c.dialer.DialContext(w.dialling(ctx), "tcp", to.address)
}

// secure makes the handshake and puts the encrypted connection in place of the raw one.
func (c *Client) secure(ctx context.Context, on *conn, to place, r *Request, w *stopwatch) (h2 bool, err error) {
	timeout := c.tlsTimeout
	if r.TLSTimeout > 0 {
		timeout = r.TLSTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conf := c.tls.Clone()
	conf.ServerName = to.host
	encrypted := tls.Client(on.Conn, conf)
	w.first(&w.tlsStart)
	err = encrypted.HandshakeContext(ctx)
	w.last(&w.tlsDone)
	if err != nil {
		w.tlsFailed = true
		return false, err
	}
	on.Conn = encrypted
	return encrypted.ConnectionState().NegotiatedProtocol == "h2", nil
}

// bound is how many connections may be open at once, over all clients of a pool.
type bound struct {
	most int64
	open atomic.Int64
	// idle closes one that is idle, and reports whether there was one.
	idle func() bool
}

// errNoConnection is a lack of this process.
var errNoConnection = errors.New("every outbound connection is in use: raise outbound.connections, or lower deliveries.in_flight")

func (b *bound) take() error {
	for b.open.Add(1) > b.most {
		b.open.Add(-1)
		if b.idle == nil || !b.idle() {
			return errNoConnection
		}
	}
	return nil
}

func (b *bound) give() { b.open.Add(-1) }
