package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Proxy is an HTTP proxy of the operator through which every connection goes. It gets CONNECT with an address that was
// resolved and checked here, never with a name.
type Proxy struct {
	address string
	// tls is the name that its certificate must have; empty: it is spoken to in clear.
	tls           string
	authorization string
	dial          contextDialer
}

// maxTunnelled is how many addresses of one name are tried through the proxy, and maxProxyHeader bounds its answer.
const (
	maxTunnelled   = 4
	maxProxyHeader = 16 << 10
)

// NewProxy reads the URL of a proxy, http://host:port or https://host:port, and its credentials, "user:password" or
// empty. The error never repeats either.
func NewProxy(text, credentials string) (*Proxy, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.Port() == "" ||
		u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New(fault.Invalid, ReasonProxyInvalid, "must be http://host:port or https://host:port, without a user")
	}
	p := &Proxy{address: u.Host, dial: new(net.Dialer)}
	if u.Scheme == "https" {
		p.tls = u.Hostname()
	}
	if credentials = strings.TrimSpace(credentials); credentials != "" {
		if !strings.Contains(credentials, ":") || strings.ContainsAny(credentials, "\r\n\x00") {
			return nil, fault.New(fault.Invalid, ReasonProxyInvalid, "the credentials of the proxy must be user:password in one line")
		}
		p.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
	}
	return p, nil
}

// proxyError is a failure of the proxy itself, which no receiver and no tenant causes.
type proxyError struct{ err error }

func (e *proxyError) Error() string { return "the outbound proxy: " + e.err.Error() }
func (e *proxyError) Unwrap() error { return e.err }

// tunnel connects to the first allowed address of a host that the proxy can reach.
func (d *Dialer) tunnel(ctx context.Context, address string) (net.Conn, error) {
	addrs, err := d.resolve(ctx, address)
	if err != nil {
		return nil, err
	}
	var last error
	for _, to := range addrs[:min(len(addrs), maxTunnelled)] {
		conn, err := d.proxy.connect(ctx, to.String())
		if err == nil {
			return conn, nil
		}
		if _, ours := errors.AsType[*proxyError](err); ours {
			return nil, err
		}
		last = err
	}
	return nil, last
}

// connect asks the proxy for a connection to an address.
func (p *Proxy) connect(ctx context.Context, to string) (_ net.Conn, err error) {
	conn, err := p.dial.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, &proxyError{err}
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	// Closing is what ends reads and writes where ctx ends.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if p.tls != "" {
		secure := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: p.tls})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, &proxyError{fmt.Errorf("handshake: %w", err)}
		}
		conn = secure
	}
	request := "CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\n"
	if p.authorization != "" {
		request += "Proxy-Authorization: " + p.authorization + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return nil, &proxyError{fmt.Errorf("send CONNECT: %w", err)}
	}
	in := bufio.NewReader(&io.LimitedReader{R: conn, N: maxProxyHeader})
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect}) //nolint:bodyclose // what follows is the connection
	if err != nil {
		if ctx.Err() != nil {
			// The proxy holds CONNECT until it is connected, so silence is the receiver's as likely as its own.
			return nil, fmt.Errorf("connect through the proxy: %w", ctx.Err())
		}
		return nil, &proxyError{fmt.Errorf("read the answer to CONNECT: %w", err)}
	}
	switch {
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return nil, &proxyError{fmt.Errorf("it answers %d: its credentials are missing or wrong", resp.StatusCode)}
	case resp.StatusCode/100 != 2:
		return nil, fmt.Errorf("connect through the proxy: it answers %d", resp.StatusCode)
	}
	if !stop() {
		return nil, fmt.Errorf("connect through the proxy: %w", ctx.Err())
	}
	if n := in.Buffered(); n > 0 {
		first, _ := in.Peek(n)
		return &begun{Conn: conn, first: append([]byte(nil), first...)}, nil
	}
	return conn, nil
}

// begun is a connection whose first bytes were read together with the proxy's answer: a server that speaks first.
type begun struct {
	net.Conn
	first []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}
