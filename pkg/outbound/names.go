package outbound

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// names resolves names, and decides after a failure whether the name is at fault (it is unknown, or its servers do not
// answer) or this machine (its name server can't be reached). The errors of net do not distinguish these: of a socket
// that could not be opened they keep only a text.
type names struct {
	resolver *net.Resolver
	began    time.Time
	// socketFailed is when a socket to a name server could not be opened for a local reason, answered when a name
	// server last answered anything; ns since began.
	socketFailed, answered atomic.Int64

	probing      sync.Mutex
	probed       int64         // when the last probe ended; guarded by probing
	probeTimeout time.Duration // of a probe
}

// probeAgain is how long the result of a probe is valid.
const probeAgain = time.Second

// newNames uses the name servers of the system, through dial where it is given.
func newNames(dial func(ctx context.Context, network, address string) (net.Conn, error)) *names {
	n := &names{began: time.Now(), probeTimeout: 2 * time.Second}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	n.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			if isLocal(ctx, err) {
				n.socketFailed.Store(n.now())
			}
			return nil, err
		}
		switch conn := conn.(type) {
		case *net.UDPConn: // net sends datagrams where it finds a net.PacketConn
			return &datagrams{UDPConn: conn, names: n}, nil
		case *net.TCPConn:
			return &connection{TCPConn: conn, names: n}, nil
		}
		return conn, nil
	}}
	return n
}

func (n *names) now() int64 { return max(1, int64(time.Since(n.began))) }

// isLocal decides about a look-up that failed and began at a time. A name server that answers anything works: a name
// whose own servers do not answer is not a local failure. Where nothing was answered since, a probe asks the name
// server.
func (n *names) isLocal(ctx context.Context, err *net.DNSError, began time.Time) bool {
	since := int64(began.Sub(n.began))
	switch {
	case err.IsNotFound:
		return false
	case n.socketFailed.Load() >= since:
		return true
	case n.answered.Load() >= since:
		return false
	}
	return !n.serverAnswers(ctx)
}

// serverAnswers asks for the servers of the root zone and accepts any answer.
func (n *names) serverAnswers(ctx context.Context) bool {
	n.probing.Lock()
	defer n.probing.Unlock()
	began := n.now()
	if n.probed > 0 && began-n.probed < int64(probeAgain) {
		return n.answered.Load() >= n.probed-int64(n.probeTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, n.probeTimeout)
	defer cancel()
	_, _ = n.resolver.LookupNS(ctx, ".") // any answer counts
	n.probed = n.now()
	return n.answered.Load() >= began
}

// datagrams and connection note every answer of a name server.
type datagrams struct {
	*net.UDPConn
	names *names
}

func (d *datagrams) Read(b []byte) (int, error) { return d.names.note(d.UDPConn.Read(b)) }

type connection struct {
	*net.TCPConn
	names *names
}

func (c *connection) Read(b []byte) (int, error) { return c.names.note(c.TCPConn.Read(b)) }

func (n *names) note(read int, err error) (int, error) {
	if read > 0 {
		n.answered.Store(n.now())
	}
	return read, err
}
