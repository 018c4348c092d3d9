package streamtest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Link is the network between one client and its brokers: give its Dial to the
// client's Config. It can be cut, as when a process is killed or a cable pulled,
// and it can lose answers to requests that the broker has worked off.
type Link struct {
	mu    sync.Mutex
	down  bool
	conns map[*linkConn]struct{}
	lose  func(apiKey int16) Loss
	lost  chan int16
}

// Loss is what becomes of an answer.
type Loss int

// Ways to lose an answer.
const (
	Keep    Loss = iota
	Drop         // the connection breaks once the answer has arrived
	Swallow      // the answer never comes; the client's deadline ends the wait
)

// Kafka's numbers of the requests that tests lose answers to.
const (
	KeyProduce      int16 = 0
	KeyFetch        int16 = 1
	KeyOffsetCommit int16 = 8
)

var errCut = errors.New("link is cut")

// NewLink makes a link that works.
func NewLink() *Link {
	return &Link{conns: map[*linkConn]struct{}{}, lost: make(chan int16, 1024)}
}

// Dial opens a connection through the link.
func (l *Link) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	down := l.down
	l.mu.Unlock()
	if down {
		return nil, errCut
	}
	d := net.Dialer{Timeout: 3 * time.Second}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	lc := &linkConn{Conn: c, link: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		_ = c.Close()
		return nil, errCut
	}
	l.conns[lc] = struct{}{}
	return lc, nil
}

// Cut breaks every connection and refuses new ones.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for c := range l.conns {
		_ = c.Conn.Close()
	}
	clear(l.conns)
}

// Mend lets connections through again.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// Lose asks decide about the answer to each request from now on.
func (l *Link) Lose(decide func(apiKey int16) Loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = decide
}

// Lost names the kind of each request whose answer was lost.
func (l *Link) Lost() <-chan int16 { return l.lost }

type linkConn struct {
	net.Conn
	link *Link

	mu     sync.Mutex
	head   []byte // of the request being written, up to its api key
	left   int    // bytes of it still to come
	fate   Loss   // of the answer to the last request
	apiKey int16
}

// Write follows the framing: size (4 bytes), api key (2 bytes).
func (c *linkConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	for rest := b; len(rest) > 0; {
		if c.left == 0 && len(c.head) < 6 {
			n := min(6-len(c.head), len(rest))
			c.head = append(c.head, rest[:n]...)
			rest = rest[n:]
			if len(c.head) < 6 {
				continue
			}
			c.left = int(binary.BigEndian.Uint32(c.head)) - 2
			c.apiKey = int16(binary.BigEndian.Uint16(c.head[4:]))
			c.head = c.head[:0]
			c.link.mu.Lock()
			if c.link.lose != nil {
				c.fate = c.link.lose(c.apiKey)
			}
			c.link.mu.Unlock()
			continue
		}
		n := min(c.left, len(rest))
		c.left -= n
		rest = rest[n:]
	}
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	fate, key := c.fate, c.apiKey
	c.mu.Unlock()
	if fate == Keep || err != nil {
		return n, err
	}
	// The broker answers what it has worked off: from here on only the answer is lost.
	select {
	case c.link.lost <- key:
	default:
	}
	if fate == Swallow {
		for err == nil {
			_, err = c.Conn.Read(b)
		}
		return 0, err
	}
	_ = c.Close()
	return 0, io.ErrUnexpectedEOF
}

func (c *linkConn) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}
