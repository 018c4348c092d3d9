package outbound

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// names finds the addresses of names, and knows whose fault it is where it can't: that of whoever named a name that
// nobody knows, or whose servers do not answer, or ours, whose name server can't be reached. Its errors do not tell: net
// keeps of a socket that could not be opened nothing but a text.
type names struct {
	resolver *net.Resolver
	began    time.Time
	// lacked and answered are when a socket to a name server could not be had for want of something of ours, and when a
	// name server last said anything, whatever it was; ns since began.
	lacked, answered atomic.Int64

	probing sync.Mutex
	probed  int64         // when a probe ended last; guarded by probing
	patient time.Duration // with a probe
}

// probeAgain is how long the answer to a probe is as good as another one.
const probeAgain = time.Second

// newNames asks the name servers of the system, by the dialer given where there is one.
func newNames(dial func(ctx context.Context, network, address string) (net.Conn, error)) *names {
	n := &names{began: time.Now(), patient: 2 * time.Second}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	n.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			if ours(ctx, err) {
				n.lacked.Store(n.now())
			}
			return nil, err
		}
		switch conn := conn.(type) {
		case *net.UDPConn: // net asks by datagrams where it finds a net.PacketConn
			return &datagrams{UDPConn: conn, names: n}, nil
		case *net.TCPConn:
			return &connection{TCPConn: conn, names: n}, nil
		}
		return conn, nil
	}}
	return n
}

func (n *names) now() int64 { return max(1, int64(time.Since(n.began))) }

// ours judges a look-up that failed and began at a time. A name server that answers, with whatever, is well: a name
// without servers that answer is its owner's. Where nothing was answered meanwhile, it is asked for what every one knows.
func (n *names) ours(ctx context.Context, err *net.DNSError, began time.Time) bool {
	since := int64(began.Sub(n.began))
	switch {
	case err.IsNotFound:
		return false
	case n.lacked.Load() >= since:
		return true
	case n.answered.Load() >= since:
		return false
	}
	return !n.alive(ctx)
}

// alive asks for the servers of the root, and takes any answer.
func (n *names) alive(ctx context.Context) bool {
	n.probing.Lock()
	defer n.probing.Unlock()
	began := n.now()
	if n.probed > 0 && began-n.probed < int64(probeAgain) {
		return n.answered.Load() >= n.probed-int64(n.patient)
	}
	ctx, cancel := context.WithTimeout(ctx, n.patient)
	defer cancel()
	_, _ = n.resolver.LookupNS(ctx, ".") // whatever it says
	n.probed = n.now()
	return n.answered.Load() >= began
}

// datagrams and connection note that something was answered.
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
