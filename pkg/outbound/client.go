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

// Options configure a client. A zero value takes the default named beside it.
type Options struct {
	Policy Policy
	// CAs are certificates in PEM, trusted in addition to the system's roots.
	CAs []byte
	// Certificate is shown to servers that ask for one; nil shows none.
	Certificate *tls.Certificate

	// DialTimeout bounds name resolution and connecting: 5 s.
	DialTimeout time.Duration
	// TLSTimeout bounds the handshake: 5 s.
	TLSTimeout time.Duration
	// HeaderTimeout bounds the wait between the written request and the response's headers: no bound but the total.
	HeaderTimeout time.Duration
	// TotalTimeout bounds one request, including the reading of the body; a request may set its own: 15 s.
	TotalTimeout time.Duration

	// MaxIdle bounds idle connections in all, MaxIdlePerHost those to one host: 2,048 and 512. Where it is below the
	// concurrency of an endpoint, further requests pay for a handshake.
	MaxIdle, MaxIdlePerHost int
	// IdleTimeout is how long a connection stays idle before it is closed: 90 s.
	IdleTimeout time.Duration

	// names is shared by the clients of a pool, which use the same name servers.
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
	// maxHeaderRead bounds the headers of a response, in bytes; a larger one counts as broken.
	maxHeaderRead = 64 << 10
	// KeepOfSuccess and KeepOfFailure are how many bytes of a response's body are kept unless the request sets its own.
	KeepOfSuccess, KeepOfFailure = 1 << 10, 64 << 10
	// maxDrain is how many more bytes are read so that the connection can be reused; a longer body closes it.
	maxDrain = 64 << 10
)

// Client sends requests of one tenant with one TLS identity. It is safe for concurrent use.
type Client struct {
	policy    Policy
	total     time.Duration
	names     *names
	transport *http.Transport
}

// NewClient makes a client; the error is that of CheckCAs.
func NewClient(o Options) (*Client, error) {
	o = o.withDefaults()
	return newClient(o, &net.Dialer{Timeout: o.DialTimeout, Control: o.Policy.Control, Resolver: o.names.resolver})
}

// dialer is net.Dialer; tests of deadlines use connections in memory instead.
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
			Proxy:                  nil, // a proxy would dial an address that the policy does not check
			DialContext:            d.DialContext,
			TLSClientConfig:        conf,
			TLSHandshakeTimeout:    o.TLSTimeout,
			ResponseHeaderTimeout:  o.HeaderTimeout,
			MaxIdleConns:           o.MaxIdle,
			MaxIdleConnsPerHost:    o.MaxIdlePerHost,
			IdleConnTimeout:        o.IdleTimeout,
			MaxResponseHeaderBytes: maxHeaderRead,
			DisableCompression:     true, // the body is kept as it was sent, and a small body cannot grow
			Protocols:              protocols,
			// A ping detects a dead connection before requests time out on it.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
		},
	}, nil
}

// Close closes idle connections; those in use close when their request ends. The client stays usable.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Request is one request. It belongs to Do once Do is called.
type Request struct {
	// Method is POST when empty.
	Method string
	// URL is absolute; it is only read, so requests may share it.
	URL *url.URL
	// Header holds the response's headers, at most 8 KiB; HeaderTruncated: there were more.
	Header http.Header
	// Body is the first part of the response's body; BodyTruncated: there was more, or the rest did not arrive.
	Body []byte
	// Timeout bounds this request; 0 takes the client's.
	Timeout time.Duration
	// KeepSuccess and KeepFailure bound what is kept of the body of a 2xx and of any other response, in bytes; 0 takes
	// the defaults, below 0 keeps nothing.
	KeepSuccess, KeepFailure int
	// Repeatable: the receiver recognises repeats. A request that was sent on an idle connection which the receiver was
	// closing is then sent again on another, within this Do; otherwise it fails as ClassReset.
	Repeatable bool
}

// Result is the end of a request: a response, whose Status is above 0, or an error with its Class.
type Result struct {
	// Status is that of the response; a redirect (3xx) is a response like any other.
	Status int
	// Header are the answer's headers, at most 8 KiB of them; HeaderTruncated says that there were more.
	Header          http.Header
	HeaderTruncated bool
	// Body is the first part of the answer's body; BodyTruncated says that there was more, or that the rest did not come.
	Body          []byte
	BodyTruncated bool
	// Reused: the connection had served a request before; DNS, Connect and TLS are then 0.
	Reused bool
	Phases Phases
	// Class is empty where there was a response, and Err is nil. The text of Err contains no header and no query.
	Class Class
	Err   error
}

// Do sends the request and waits for its end. It follows no redirect and, except for Repeatable, repeats nothing.
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

// permits checks the scheme, which the dialled address does not show.
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
