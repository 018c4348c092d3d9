package outbound

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

// place is where a connection leads. Connections to one place serve each other's requests.
type place struct {
	tls           bool
	host, address string // address is host:port
}

// placeOf reads a URL. What is not written as CheckURL demands is refused here as well: names beyond ASCII, control
// characters.
func placeOf(u *url.URL) (place, error) {
	if u.Opaque != "" || !printable(u.Host) || !printable(u.RawQuery) {
		return place{}, fault.New(fault.Invalid, ReasonURLRefused, "the URL has blanks, control characters or letters beyond ASCII, or is opaque")
	}
	p := place{tls: u.Scheme == "https", host: u.Hostname()}
	port := u.Port()
	switch {
	case port != "":
	case p.tls:
		port = "443"
	default:
		port = "80"
	}
	p.address = net.JoinHostPort(p.host, port)
	return p, nil
}

func printable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return false
		}
	}
	return true
}

// links are the open connections to one place.
type links struct {
	idle   []*link // HTTP/1.1, the one used last at the end
	shared []*link // HTTP/2
	// h2 is what the place spoke last. Requests then wait for one connection that is being made: it serves them all.
	h2   bool
	wait *dialling
}

// dialling is a connection being made for several requests.
type dialling struct {
	done chan struct{}
	made bool
}

// acquire takes a connection to a place, a new one where fresh or where none has room. What is acquired is released.
func (c *Client) acquire(ctx context.Context, to place, r *Request, fresh bool, w *stopwatch) (*link, error) {
	var mine *dialling
	if !fresh {
		var l *link
		if l, mine = c.take(ctx, to); l != nil {
			return l, nil
		}
	}
	l, err := c.open(ctx, to, r, w)
	if err == nil {
		if err = l.http.Reserve(); err != nil { // closed at once
			w.saw(l.conn)
			_ = l.http.Close()
		}
	}
	if err != nil {
		c.dialled(to, nil, mine, fresh)
		return nil, err
	}
	if other := c.dialled(to, l, mine, fresh); other != nil {
		l.http.Release()
		_ = l.http.Close()
		return other, nil
	}
	return l, nil
}

// take is a connection with room for a request. Where there is none, the caller makes one, and others may wait for it.
func (c *Client) take(ctx context.Context, to place) (*link, *dialling) {
	for {
		c.mu.Lock()
		s := c.at(to)
		l, dead := s.take()
		wait := s.wait
		var mine *dialling
		if l == nil && s.h2 && wait == nil {
			mine = &dialling{done: make(chan struct{})}
			s.wait = mine
		}
		c.mu.Unlock()
		closeAll(dead)
		if l != nil || mine != nil || wait == nil {
			return l, mine
		}
		select {
		case <-wait.done:
			if !wait.made {
				return nil, nil
			}
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// at is the place's entry; c.mu is held.
func (c *Client) at(to place) *links {
	s := c.places[to]
	if s == nil {
		s = &links{}
		c.places[to] = s
	}
	return s
}

// take is a connection with room, reserved, and those found unusable.
func (s *links) take() (l *link, dead []*link) {
	for i := 0; i < len(s.shared); {
		l := s.shared[i]
		if l.http.Reserve() == nil {
			return l, dead
		}
		if l.http.Err() != nil || l.http.InFlight() == 0 {
			dead = append(dead, l)
			s.shared = slices.Delete(s.shared, i, i+1)
			continue
		}
		i++
	}
	for n := len(s.idle); n > 0; n = len(s.idle) {
		l := s.idle[n-1]
		s.idle[n-1], s.idle = nil, s.idle[:n-1]
		if l.http.Reserve() == nil {
			return l, dead
		}
		dead = append(dead, l) // the other side closed it meanwhile
	}
	return nil, dead
}

// dialled ends what others wait for, l being nil where it failed. A new connection of HTTP/2 is shared from here on; where
// another one has room already, that is returned, reserved, and the new one stays out, unless fresh.
func (c *Client) dialled(to place, l *link, mine *dialling, fresh bool) (other *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.at(to)
	if l != nil && l.generation == c.generation {
		s.h2 = l.h2
		if l.h2 && !fresh {
			for _, known := range s.shared {
				if known.http.Reserve() == nil {
					other = known
					break
				}
			}
		}
		if l.h2 && other == nil {
			s.shared = append(s.shared, l)
			c.sweepLater()
		}
	}
	if mine != nil {
		mine.made = l != nil
		close(mine.done)
		if s.wait == mine {
			s.wait = nil
		}
	}
	return other
}

// release gives back a connection whose request ended. One of HTTP/1.1 waits for the next request: so as many wait as were in
// use at once, of all endpoints with this place, until the time-out or the bound over all closes them.
func (c *Client) release(to place, l *link) {
	c.mu.Lock()
	current := l.generation == c.generation
	if l.h2 && current {
		c.mu.Unlock()
		return
	}
	if !l.h2 && current && l.http.Available() == 1 {
		s := c.at(to)
		l.idleSince = time.Now()
		s.idle = append(s.idle, l)
		c.sweepLater()
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	l.closeOnceIdle()
}

// sweepLater sees to it that idle connections are looked at; c.mu is held.
func (c *Client) sweepLater() {
	if !c.sweeping {
		c.sweeping = true
		c.sweeper = time.AfterFunc(c.idleTimeout, c.sweep)
	}
}

// sweep closes what was idle for too long, and forgets places without a connection. HTTP/2 closes its own.
func (c *Client) sweep() {
	var dead []*link
	c.mu.Lock()
	before := time.Now().Add(-c.idleTimeout)
	for to, s := range c.places {
		n := 0
		for n < len(s.idle) && !s.idle[n].idleSince.After(before) {
			n++
		}
		dead = append(dead, s.idle[:n]...)
		s.idle = slices.Delete(s.idle, 0, n)
		s.shared = slices.DeleteFunc(s.shared, func(l *link) bool { return l.http.Err() != nil })
		if len(s.idle) == 0 && len(s.shared) == 0 && s.wait == nil {
			delete(c.places, to)
		}
	}
	c.sweeping = len(c.places) > 0
	if c.sweeping {
		c.sweeper.Reset(c.idleTimeout / 2)
	}
	c.mu.Unlock()
	closeAll(dead)
}

// Close closes idle connections; those in use close when their requests end, and serve no other. The client stays usable.
func (c *Client) Close() {
	c.mu.Lock()
	c.generation++
	if c.sweeping {
		c.sweeper.Stop()
		c.sweeping = false
	}
	var dead []*link
	for to, s := range c.places {
		dead = append(dead, s.idle...)
		dead = append(dead, s.shared...)
		s.idle, s.shared = nil, nil
		if s.wait == nil {
			delete(c.places, to)
		}
	}
	c.mu.Unlock()
	closeAll(dead)
}

// closeIdle closes one idle connection, and reports whether there was one.
func (c *Client) closeIdle() bool {
	c.mu.Lock()
	var found *link
	for _, s := range c.places {
		if len(s.idle) > 0 {
			found = s.idle[0]
			s.idle = slices.Delete(s.idle, 0, 1)
			break
		}
		if i := slices.IndexFunc(s.shared, func(l *link) bool { return l.http.InFlight() == 0 }); i >= 0 {
			found = s.shared[i]
			s.shared = slices.Delete(s.shared, i, i+1)
			break
		}
	}
	c.mu.Unlock()
	if found == nil {
		return false
	}
	_ = found.http.Close()
	return true
}

// closeAll closes outside of the client's lock: closing TLS writes.
func closeAll(dead []*link) {
	for _, l := range dead {
		l.closeOnceIdle()
	}
}

// closeOnceIdle closes a connection that takes no further request, HTTP/2 once its last one has ended.
func (l *link) closeOnceIdle() {
	if !l.h2 {
		_ = l.http.Close()
		return
	}
	end := func(on *http.ClientConn) {
		if on.InFlight() == 0 {
			_ = on.Close()
		}
	}
	l.http.SetStateHook(end)
	end(l.http)
}
