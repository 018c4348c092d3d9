package smtp

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/outbound"
)

const (
	// idleTimeout is how long a connection waits for its next message. Servers close theirs after 5 min (RFC 5321,
	// section 4.5.3.2.7) or sooner.
	idleTimeout = time.Minute
	// longest is how old a connection may become: then the name is looked up anew.
	longest = 5 * time.Minute
)

// Key is the same for servers whose connections may be shared: same tenant, policy, address, TLS and credentials.
type Key [32]byte

// Pool keeps connections for the next message to the same server, in the name of the same profile. It is safe for concurrent
// use; each connection belongs to one goroutine at a time.
type Pool struct {
	// most bounds the connections that are open, idle ones included.
	most int

	mu   sync.Mutex
	open int
	idle map[Key][]*idler
	// kept are the keys that the configuration has; nil while nothing is known.
	kept   map[Key]bool
	closed bool
	// closing are connections that send QUIT.
	closing sync.WaitGroup
}

// idler is a connection that waits.
type idler struct {
	conn  *Conn
	key   Key
	since time.Time
	timer *time.Timer
}

// NewPool makes a pool of at most most connections.
func NewPool(most int) *Pool { return &Pool{most: most, idle: map[Key][]*idler{}} }

// Sent is what one attempt saw.
type Sent struct {
	Steps  []Step
	Phases outbound.Phases
	// Repeated: the connection that was taken had been closed by its server, and a new one was opened.
	Repeated bool
	// Encrypted and Verified are of the connection.
	Encrypted, Verified bool
	// Failed is nil where the server took the message.
	Failed *Error
}

var errTooMany = errors.New("all connections that this process may open are in use")

// Send sends a message over a connection that waits, or a new one. Where one that waited turns out to be closed before it
// answered anything, a new one is opened: the message was on none of them before.
func (p *Pool) Send(ctx context.Context, key Key, s *Server, e Envelope, message []byte) Sent {
	began := time.Now()
	out := p.send(ctx, p.take(key), key, s, e, message)
	if out.Failed != nil && out.stale && ctx.Err() == nil {
		again := p.send(ctx, nil, key, s, e, message)
		again.Steps = append(out.Steps, again.Steps...)
		again.Repeated = true
		out = again
	}
	out.Phases.Total = time.Since(began)
	return out.Sent
}

// sent is Sent, and whether it was lost on a connection that had waited too long.
type sent struct {
	Sent
	stale bool
}

func (p *Pool) send(ctx context.Context, c *Conn, key Key, s *Server, e Envelope, message []byte) (out sent) {
	waited := c != nil
	if !waited {
		if !p.reserve() {
			out.Failed = &Error{Stage: StageConnect, Class: Class(outbound.ClassLocal), Err: errTooMany}
			return out
		}
		if c, out.Failed = Dial(ctx, s); out.Failed != nil {
			out.Steps, out.Phases = c.Steps()
			p.release()
			return out
		}
	}
	out.Encrypted, out.Verified = c.Encrypted, c.Verified
	out.Failed = c.Send(ctx, e, message)
	out.Steps, out.Phases = c.Steps()
	if f := out.Failed; f != nil && waited && f.Stage == StageMail {
		out.stale = f.Class == Class(outbound.ClassReset) || f.Closing()
	}
	p.put(key, c)
	return out
}

func (p *Pool) reserve() bool {
	for {
		p.mu.Lock()
		if p.open < p.most {
			p.open++
			p.mu.Unlock()
			return true
		}
		oldest := p.oldest()
		if oldest == nil {
			p.mu.Unlock()
			return false
		}
		p.remove(oldest)
		p.open--
		p.mu.Unlock()
		p.quit(oldest.conn)
	}
}

// oldest is the connection that has waited for longest.
func (p *Pool) oldest() *idler {
	var oldest *idler
	for _, all := range p.idle {
		// The first of each has waited longest.
		if i := all[0]; oldest == nil || i.since.Before(oldest.since) {
			oldest = i
		}
	}
	return oldest
}

func (p *Pool) release() {
	p.mu.Lock()
	p.open--
	p.mu.Unlock()
}

// take takes the connection of a key that was used last.
func (p *Pool) take(key Key) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.idle[key]
	if len(all) == 0 {
		return nil
	}
	i := all[len(all)-1]
	p.remove(i)
	return i.conn
}

// remove takes a connection out of those that wait; false where it waits no longer.
func (p *Pool) remove(i *idler) bool {
	all := p.idle[i.key]
	for n := range all {
		if all[n] != i {
			continue
		}
		i.timer.Stop()
		if all = append(all[:n], all[n+1:]...); len(all) == 0 {
			delete(p.idle, i.key)
		} else {
			p.idle[i.key] = all
		}
		return true
	}
	return false
}

// put gives a connection back.
func (p *Pool) put(key Key, c *Conn) {
	now := time.Now()
	p.mu.Lock()
	if !c.Usable() || p.closed || p.kept != nil && !p.kept[key] || now.Sub(c.since) > longest {
		p.open--
		p.mu.Unlock()
		p.quit(c)
		return
	}
	i := &idler{conn: c, key: key, since: now}
	i.timer = time.AfterFunc(idleTimeout, func() { p.expire(i) })
	p.idle[key] = append(p.idle[key], i)
	p.mu.Unlock()
}

func (p *Pool) expire(i *idler) {
	p.mu.Lock()
	found := p.remove(i)
	if found {
		p.open--
	}
	p.mu.Unlock()
	if found {
		p.quit(i.conn)
	}
}

// quit sends QUIT, or drops what is broken; nobody waits for it.
func (p *Pool) quit(c *Conn) {
	if c.broken {
		c.abandon()
		return
	}
	p.closing.Go(c.Close)
}

// Keep closes the connections of all keys but those given, which are the ones that the configuration has. One in use closes
// once its message is sent.
func (p *Pool) Keep(keys map[Key]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = keys
	for key, all := range p.idle {
		if keys[key] {
			continue
		}
		for _, i := range all {
			i.timer.Stop()
			p.open--
			p.quit(i.conn)
		}
		delete(p.idle, key)
	}
}

// Open is how many connections are open.
func (p *Pool) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// Close closes what waits and returns once every server has its QUIT, or 5 s have passed.
func (p *Pool) Close() {
	p.Keep(map[Key]bool{})
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.closing.Wait()
}
