package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Options configure a client. A zero value takes the default named beside it.
type Options struct {
	Policy Policy
	// CAs are certificates in PEM, trusted in addition to the system's roots.
	CAs []byte
	// Certificate is shown to servers that ask for one; nil shows none.
	Certificate *tls.Certificate
	// Proxy is what every connection goes through; nil: none. Proxies of the environment are not used.
	Proxy *Proxy

	// DialTimeout bounds name resolution and connecting: 5 s.
	DialTimeout time.Duration
	// TLSTimeout bounds the handshake: 5 s.
	TLSTimeout time.Duration
	// TotalTimeout bounds one request, including the reading of the body; a request may set its own: 15 s.
	TotalTimeout time.Duration

	// Connections bounds those that are open, over all clients of a pool, idle ones included: 4,096.
	Connections int
	// IdleTimeout is how long a connection stays idle before it is closed: 90 s.
	IdleTimeout time.Duration

	// names, bound and speakers are shared by the clients of a pool.
	names    *names
	bound    *bound
	speakers *speakers
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.DialTimeout, 5 * time.Second}, {&o.TLSTimeout, 5 * time.Second},
		{&o.TotalTimeout, 15 * time.Second}, {&o.IdleTimeout, 90 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Connections == 0 {
		o.Connections = 4096
	}
	if o.names == nil {
		o.names = newNames(nil)
	}
	if o.bound == nil {
		o.bound = &bound{most: int64(o.Connections)}
	}
	if o.speakers == nil {
		o.speakers = newSpeakers(o.IdleTimeout)
	}
	return o
}

const (
	// maxHeaderRead bounds the headers of a response, in bytes; a larger one counts as broken.
	maxHeaderRead = 64 << 10
	// KeepOfSuccess and KeepOfFailure are how many bytes of a response's body are kept unless the request sets its own.
	KeepOfSuccess, KeepOfFailure = 1 << 10, 64 << 10
	// maxDrain is how many more bytes are read so that the connection can be reused; a longer body closes it.
	maxDrain = 64 << 10
	// maxPlaced is how many connections are tried for a request that none took; from freshFrom on, each is a new one.
	maxPlaced = 5
	freshFrom = 3
)

// Client sends requests of one tenant with one TLS identity. It is safe for concurrent use.
type Client struct {
	policy                         Policy
	dialer                         *Dialer
	tls                            *tls.Config
	total, tlsTimeout, idleTimeout time.Duration
	bound                          *bound
	speakers                       *speakers

	mu     sync.Mutex
	places map[place]*links
	// generation counts calls of Close: connections of an earlier one serve no further request.
	generation int
	sweeper    *time.Timer
	sweeping   bool
}

// NewClient makes a client; the error is that of CheckCAs.
func NewClient(o Options) (*Client, error) {
	o = o.withDefaults()
	return newClient(o, newDialer(o))
}

func newClient(o Options, d *Dialer) (*Client, error) {
	conf, err := TLSConfig(o.CAs, o.Certificate)
	if err != nil {
		return nil, err
	}
	conf.NextProtos = []string{"h2", "http/1.1"}
	c := &Client{
		policy: o.Policy, dialer: d, tls: conf,
		total: o.TotalTimeout, tlsTimeout: o.TLSTimeout, idleTimeout: o.IdleTimeout,
		bound: o.bound, speakers: o.speakers, places: map[place]*links{},
	}
	if c.bound.idle == nil {
		c.bound.idle = c.closeIdle
	}
	return c, nil
}

// TLSConfig is how a receiver is spoken to, over whatever protocol: TLS 1.2 or later, its certificate verified against
// the system's roots and those given (PEM), sessions kept for nobody else. The caller sets ServerName.
func TLSConfig(cas []byte, certificate *tls.Certificate) (*tls.Config, error) {
	pool, err := roots(cas)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ClientSessionCache: tls.NewLRUClientSessionCache(64)}
	if certificate != nil {
		conf.Certificates = []tls.Certificate{*certificate}
	}
	return conf, nil
}

// Request is one request. It belongs to Do once Do is called.
type Request struct {
	// Method is POST when empty.
	Method string
	// URL is absolute; it is only read, so requests may share it.
	URL    *url.URL
	Header http.Header
	Body   []byte
	// Timeout bounds this request; 0 takes the client's. The others bound its phases within it: 0 takes the client's,
	// of ResponseTimeout, from the written request to the first byte of the response, there is none.
	Timeout, ConnectTimeout, TLSTimeout, ResponseTimeout time.Duration
	// KeepSuccess and KeepFailure bound what is kept of the body of a 2xx and of any other response, in bytes; 0 takes
	// the defaults, below 0 keeps nothing.
	KeepSuccess, KeepFailure int
	// Repeatable: the receiver recognises repeats. A request that is lost because the receiver closed a connection that
	// had served another one is then sent once more, on a new connection, within this Do; otherwise it fails as
	// ClassReset.
	Repeatable bool
	// Fresh takes one new connection and no other.
	Fresh bool
}

// Result is the end of a request: a response, whose Status is above 0, or an error with its Class.
type Result struct {
	// Status is that of the response; a redirect (3xx) is a response like any other.
	Status int
	// Header holds the response's headers, at most 8 KiB; HeaderTruncated: there were more.
	Header          http.Header
	HeaderTruncated bool
	// Body is the first part of the response's body; BodyTruncated: there was more, or the rest did not arrive.
	Body          []byte
	BodyTruncated bool
	// Reused: the connection had served a request before; DNS, Connect and TLS are then 0.
	Reused bool
	// Repeated: the request was sent twice, so the receiver may have it twice.
	Repeated bool
	Phases   Phases
	// Class is empty where there was a response, and Err is nil. The text of Err contains no header and no query.
	Class Class
	Err   error
}

// Do sends the request and waits for its end. It follows no redirect and, except for Repeatable, repeats nothing. What
// no connection took is placed on another one, which is no repeat.
func (c *Client) Do(ctx context.Context, r Request) Result {
	began := time.Now()
	w := newStopwatch(began)
	to, err := c.permits(r.URL)
	if err != nil {
		return c.failed(ctx, err, w, Result{})
	}
	timeout := r.Timeout
	if timeout == 0 {
		timeout = c.total
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if _, given := r.Header["User-Agent"]; !given {
		r.Header["User-Agent"] = userAgent
	}

	var result Result
	fresh := r.Fresh
	for placed := 1; ; placed++ {
		lost := c.once(within, ctx, to, &r, fresh, w, &result)
		if lost == lostNothing || placed == maxPlaced || within.Err() != nil || r.Fresh {
			return result
		}
		if lost == lostReceipt && !r.Repeatable {
			return result
		}
		result = Result{Repeated: result.Repeated || lost == lostReceipt}
		// What is lost on a new connection is lost: so a receipt is repeated at most once.
		fresh = fresh || lost != lostUnprocessed || placed+1 >= freshFrom
		w = newStopwatch(began)
	}
}

// loss is what became of a request that has no answer.
type loss uint8

const (
	// lostNothing: it was answered, or failed for good.
	lostNothing loss = iota
	// lostReceipt: the receiver may have it; it closed a connection that had served another request before it answered.
	lostReceipt
	// lostUnsent: nothing was written, since the receiver had closed the connection.
	lostUnsent
	// lostUnprocessed: the receiver reports that it did not process it.
	lostUnprocessed
)

// once sends the request on one connection.
func (c *Client) once(within, caller context.Context, to place, r *Request, fresh bool, w *stopwatch, result *Result) loss {
	l, err := c.acquire(within, to, r, fresh, w)
	if err != nil {
		*result = c.failed(caller, err, w, *result)
		return lostNothing
	}
	kept, writes := l.served.Load(), l.conn.writes.Load()
	w.got(kept)
	within, cancel := w.requesting(within, r.ResponseTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(within, r.Method, "", nil)
	if err != nil {
		l.http.Release()
		c.release(to, l)
		*result = c.failed(caller, fault.New(fault.Invalid, ReasonURLRefused, "make request: %w", err), w, *result)
		return lostNothing
	}
	req.URL, req.Host, req.Header = r.URL, r.URL.Host, r.Header
	if len(r.Body) > 0 {
		// Without GetBody net/http can't send it again by itself.
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.Body)), int64(len(r.Body))
	}
	// A ClientConn follows no redirect, keeps no cookies, repeats nothing, and its errors do not quote the URL.
	resp, err := l.http.RoundTrip(req)
	if err == nil && (resp.StatusCode < 100 || resp.StatusCode > 599) {
		_ = resp.Body.Close()
		_ = l.http.Close()
		err = errStatus(resp.StatusCode)
	}
	if err != nil {
		w.saw(l.conn)
		*result = c.failed(caller, err, w, *result)
		lost := lossOf(l, err, kept, writes, w)
		c.release(to, l)
		return lost
	}
	l.served.Store(true)
	result.Status, result.Reused = resp.StatusCode, kept
	result.Header, result.HeaderTruncated = keepHeader(resp.Header)
	result.Body, result.BodyTruncated = keepBody(resp, *r)
	w.read()
	result.Phases = w.phases()
	c.release(to, l)
	return lostNothing
}

// lossOf decides by what the connection saw, not by the texts of errors.
func lossOf(l *link, err error, kept bool, writes int64, w *stopwatch) loss {
	switch {
	case w.firstByte.Load() != 0:
		return lostNothing
	case l.h2 && notProcessed(err):
		return lostUnprocessed
	case !l.h2 && kept && l.conn.writes.Load() == writes:
		return lostUnsent
	case kept && w.lost && !isReset(err):
		return lostReceipt
	}
	return lostNothing
}

// errStatus is a response with a status that HTTP does not have (RFC 9110, section 15).
type errStatus int

func (e errStatus) Error() string { return fmt.Sprintf("the status %03d is not one of HTTP", int(e)) }

// errNoResponse is that of ResponseTimeout.
var errNoResponse = fmt.Errorf("no response came in time: %w", context.DeadlineExceeded)

// failed is the result of a request without a response.
func (c *Client) failed(caller context.Context, err error, w *stopwatch, of Result) Result {
	if w.expired.Load() && errors.Is(err, context.Canceled) && caller.Err() == nil {
		err = errNoResponse
	}
	return Result{
		Class: c.classOf(caller, err, w), Err: err, Reused: w.reused, Repeated: of.Repeated, Phases: w.phases(),
	}
}

// permits checks what the dialled address does not show: scheme and user.
func (c *Client) permits(u *url.URL) (place, error) {
	switch {
	case u == nil || u.Host == "":
		return place{}, fault.New(fault.Invalid, ReasonURLRefused, "the request has no absolute URL")
	case u.User != nil:
		return place{}, fault.New(fault.Denied, ReasonURLRefused, "the URL holds a user: use the endpoint's authentication")
	case u.Scheme == "https" || (u.Scheme == "http" && c.policy.PlainHTTP):
		return placeOf(u)
	}
	return place{}, fault.New(fault.Denied, ReasonURLRefused, "scheme %q may not be used: the operator can allow plain http for the tenant",
		u.Scheme)
}
