package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Options are what a client is made of. What is zero takes the default named beside it.
type Options struct {
	Policy Policy
	// CAs are certificates in PEM, trusted beside the system's roots.
	CAs []byte
	// Certificate is shown to servers that ask for one; nil shows none.
	Certificate *tls.Certificate

	// DialTimeout bounds finding the name's addresses and connecting: 5 s.
	DialTimeout time.Duration
	// TLSTimeout bounds the handshake: 5 s.
	TLSTimeout time.Duration
	// HeaderTimeout bounds the wait between the request written and the answer's headers: no bound but the total.
	HeaderTimeout time.Duration
	// TotalTimeout bounds one request in all, the reading of the body included; a request may have its own: 15 s.
	TotalTimeout time.Duration

	// MaxIdle is how many connections wait for their next request in all, MaxIdlePerHost at one host: 2,048 and 512. Below
	// the concurrency of an endpoint, each request beyond it pays for a handshake.
	MaxIdle, MaxIdlePerHost int
	// IdleTimeout is how long a connection waits for its next request: 90 s.
	IdleTimeout time.Duration

	// names is shared by the clients of a pool: they have the same name servers.
	names *names
}

func (o Options) withDefaults() Options {
	if o.names == nil {
		o.names = newNames(nil)
	}
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
	if o.MaxIdle == 0 {
		o.MaxIdle = 2048
	}
	if o.MaxIdlePerHost == 0 {
		o.MaxIdlePerHost = 512
	}
	return o
}

const (
	// maxHeaderRead is how many bytes of headers an answer may have before it counts as broken.
	maxHeaderRead = 64 << 10
	// KeepOfSuccess and KeepOfFailure are how many bytes of an answer's body are kept unless the request says otherwise.
	KeepOfSuccess, KeepOfFailure = 1 << 10, 64 << 10
	// maxDrain is how many more bytes are read to keep a connection; a longer body costs its connection.
	maxDrain = 64 << 10
)

// Client sends requests of one tenant and one TLS identity. It is safe for concurrent use.
type Client struct {
	policy    Policy
	total     time.Duration
	names     *names
	transport *http.Transport
}

// NewClient makes a client; the fault is that of CheckCAs.
func NewClient(o Options) (*Client, error) {
	o = o.withDefaults()
	return newClient(o, &net.Dialer{Timeout: o.DialTimeout, Control: o.Policy.Control, Resolver: o.names.resolver})
}

// dialer is net.Dialer; tests of deadlines put connections in memory in its place.
type dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

func newClient(o Options, d dialer) (*Client, error) {
	pool, err := roots(o.CAs)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            pool,
		ClientSessionCache: tls.NewLRUClientSessionCache(64),
	}
	if o.Certificate != nil {
		conf.Certificates = []tls.Certificate{*o.Certificate}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &Client{
		policy: o.Policy,
		total:  o.TotalTimeout,
		names:  o.names,
		transport: &http.Transport{
			Proxy:                  nil, // a proxy would dial in our place, unjudged
			DialContext:            d.DialContext,
			TLSClientConfig:        conf,
			TLSHandshakeTimeout:    o.TLSTimeout,
			ResponseHeaderTimeout:  o.HeaderTimeout,
			MaxIdleConns:           o.MaxIdle,
			MaxIdleConnsPerHost:    o.MaxIdlePerHost,
			IdleConnTimeout:        o.IdleTimeout,
			MaxResponseHeaderBytes: maxHeaderRead,
			DisableCompression:     true, // what is kept is what was sent, and a small body cannot grow
			Protocols:              protocols,
			// A connection that died without a word is found by a ping, not by every request that times out on it.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
		},
	}, nil
}

// Close closes the connections that wait; those in use close when their request ends. The client can still be used.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Request is one request. It belongs to Do from the call on.
type Request struct {
	// Method is POST when empty.
	Method string
	// URL is absolute; it is only read and may be shared by requests.
	URL    *url.URL
	Header http.Header
	Body   []byte
	// Timeout bounds this request in all; 0 takes the client's.
	Timeout time.Duration
	// KeepSuccess and KeepFailure bound what is kept of the body of a 2xx and of any other answer; 0 takes the defaults, below
	// 0 keeps nothing.
	KeepSuccess, KeepFailure int
	// Repeatable says that the receiver knows repeats. A request that went out on a waiting connection which the receiver
	// was just closing is then sent again on another, within this one Do; without it such a request fails as a reset.
	Repeatable bool
}

// Result is how a request ended: with an answer, whose Status is above 0, or with an error and its Class.
type Result struct {
	// Status is the answer's; redirects (3xx) are answers like others.
	Status int
	// Header are the answer's headers, at most 8 KiB of them; HeaderTruncated says that there were more.
	Header          http.Header
	HeaderTruncated bool
	// Body is the first part of the answer's body; BodyTruncated says that there was more, or that the rest did not come.
	Body          []byte
	BodyTruncated bool
	// Reused says that the connection had served a request before; DNS, Connect and TLS then took no time.
	Reused bool
	Phases Phases
	// Class is empty where there was an answer, and Err is nil. The text of Err names no header and no query.
	Class Class
	Err   error
}

// Do sends the request and waits for its end. It follows nothing and, but for Repeatable, repeats nothing.
func (c *Client) Do(ctx context.Context, r Request) Result {
	watch := newStopwatch()
	if err := c.permits(r.URL); err != nil {
		return Result{Class: c.classOf(err, watch, ctx), Err: err, Phases: watch.phases()}
	}
	timeout := r.Timeout
	if timeout == 0 {
		timeout = c.total
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	method := r.Method
	if method == "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(within, &watch.trace), method, "", bytes.NewReader(r.Body))
	if err != nil {
		return Result{Class: ClassRequest, Err: fmt.Errorf("make request: %w", err), Phases: watch.phases()}
	}
	req.URL, req.Host = r.URL, r.URL.Host
	if r.Header != nil {
		req.Header = r.Header
	}
	if _, given := req.Header["User-Agent"]; !given {
		req.Header["User-Agent"] = userAgent
	}
	if r.Repeatable {
		if _, given := req.Header["Idempotency-Key"]; !given {
			req.Header["Idempotency-Key"] = nil // net/http repeats such a request and sends no header for it
		}
	}

	// RoundTrip, not http.Client: no redirects, no cookies, no errors that quote the URL.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return Result{Class: c.classOf(err, watch, ctx), Err: err, Reused: watch.reused.Load(), Phases: watch.phases()}
	}
	result := Result{Status: resp.StatusCode, Reused: watch.reused.Load()}
	result.Header, result.HeaderTruncated = keepHeader(resp.Header)
	result.Body, result.BodyTruncated = keepBody(resp, r)
	watch.read()
	result.Phases = watch.phases()
	return result
}

var userAgent = []string{"Tollgate"}

// permits judges what the dialled address does not show: the scheme.
func (c *Client) permits(u *url.URL) error {
	switch {
	case u == nil || u.Host == "":
		return fault.New(fault.Invalid, ReasonURLRefused, "the request has no absolute URL")
	case u.Scheme == "https" || (u.Scheme == "http" && c.policy.PlainHTTP):
		return nil
	}
	return fault.New(fault.Denied, ReasonURLRefused, "scheme %q may not be used: the operator can allow plain http for the tenant",
		u.Scheme)
}
