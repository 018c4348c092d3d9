package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/outbound"
)

// Mode is how a connection is encrypted.
type Mode uint8

const (
	// Required: STARTTLS with a certificate that is trusted, or nothing is sent.
	Required Mode = iota
	// Opportunistic: STARTTLS where the server offers it, also with a certificate that is not trusted; in clear where it does
	// not, or the handshake fails.
	Opportunistic
	// Implicit: TLS from the first byte, with a certificate that is trusted.
	Implicit
	// None: in clear.
	None
)

// Dialer opens connections; outbound.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Class is why a connection was not made.
	Class(ctx context.Context, err error, began time.Time) outbound.Class
}

// Server is a mail server, and how it is spoken to.
type Server struct {
	Dialer Dialer
	Host   string
	Port   uint16
	Mode   Mode
	// TLS is how certificates are verified; ServerName is set here.
	TLS *tls.Config
	// Hello is the name that EHLO gives: a domain name or an address literal.
	Hello string
	// Credentials are empty where the server asks for none.
	Credentials Credentials
}

// Dial opens a conversation: connection, greeting, EHLO, TLS, AUTH. It has a Conn also where it fails, for its steps.
func Dial(ctx context.Context, s *Server) (*Conn, *Error) {
	c, err := open(ctx, s, s.Mode)
	if err != nil && s.Mode == Opportunistic && c.noHandshake && ctx.Err() == nil {
		// The handshake failed, and what was a connection is none. In clear is what the profile allows.
		c.note("", "TLS failed: in clear, over a new connection", time.Now())
		steps := c.steps
		if c, err = open(ctx, s, None); c != nil {
			c.steps = append(steps, c.steps...)
		}
	}
	return c, err
}

func open(ctx context.Context, s *Server, mode Mode) (*Conn, *Error) {
	c := &Conn{server: s, since: time.Now(), caller: ctx, broken: true}
	address := net.JoinHostPort(s.Host, fmt.Sprint(s.Port))
	n, err := c.dial(ctx, address)
	if err != nil {
		class := s.Dialer.Class(ctx, err, c.since)
		failed := &Error{Stage: StageConnect, Class: Class(class), Err: err}
		c.note("connect "+address, err.Error(), c.since)
		return c, failed
	}
	c.broken = false
	c.note("connect "+address, "connected", c.since)
	c.take(n)
	defer c.during(ctx)()
	if failed := c.begin(mode); failed != nil {
		c.Close()
		return c, failed
	}
	return c, nil
}

// begin leads a new connection to where a message can be sent.
func (c *Conn) begin(mode Mode) *Error {
	if mode == Implicit {
		if failed := c.handshake(true); failed != nil {
			return failed
		}
	}
	r, failed := c.answer(StageGreeting, greetingTimeout, "greeting")
	if failed != nil {
		return failed
	}
	if r.Code != 220 {
		return &Error{Stage: StageGreeting, Class: ClassReply, Reply: r}
	}
	if failed := c.hello(); failed != nil {
		return failed
	}
	if mode == Required || mode == Opportunistic {
		if failed := c.startTLS(mode); failed != nil {
			return failed
		}
	}
	return c.authenticate()
}

func (c *Conn) dial(ctx context.Context, address string) (net.Conn, error) {
	var resolving, connecting time.Time
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { resolving = time.Now() },
		DNSDone:  func(httptrace.DNSDoneInfo) { c.phases.DNS = time.Since(resolving) },
	})
	connecting = time.Now()
	n, err := c.server.Dialer.DialContext(traced, "tcp", address)
	c.phases.Connect = time.Since(connecting) - c.phases.DNS
	return n, err
}

// hello sends EHLO, and HELO to a server that does not know it.
func (c *Conn) hello() *Error {
	c.offers = map[string]string{}
	name := c.server.Hello
	r, failed := c.ask(StageHello, commandTimeout, "EHLO "+name, "EHLO "+name)
	if failed != nil {
		return failed
	}
	if r.Code == 250 {
		lines := strings.Split(r.Text, "\n")
		for _, line := range lines[1:] {
			keyword, parameters, _ := strings.Cut(line, " ")
			c.offers[strings.ToUpper(keyword)] = strings.TrimSpace(parameters)
		}
		return nil
	}
	// 5xx to EHLO is a server of RFC 821.
	if r.Class() == 5 {
		if r, failed = c.ask(StageHello, commandTimeout, "HELO "+name, "HELO "+name); failed != nil {
			return failed
		}
	}
	if r.Code != 250 {
		return &Error{Stage: StageHello, Class: ClassReply, Reply: r}
	}
	return nil
}

var (
	errNoTLS     = errors.New("the server does not offer STARTTLS, which the profile demands")
	errInjection = errors.New("bytes in clear follow the answer to STARTTLS")
)

func (c *Conn) startTLS(mode Mode) *Error {
	if _, offered := c.Offers("STARTTLS"); !offered {
		if mode == Opportunistic {
			return nil
		}
		return &Error{Stage: StageTLS, Class: ClassTLS, Err: errNoTLS}
	}
	r, failed := c.ask(StageTLS, commandTimeout, "STARTTLS", "STARTTLS")
	switch {
	case failed != nil:
		return failed
	case r.Code == 421:
		return &Error{Stage: StageTLS, Class: ClassReply, Reply: r}
	case r.Code != 220 && mode == Opportunistic:
		return nil
	case r.Code != 220:
		return &Error{Stage: StageTLS, Class: ClassTLS, Reply: r, Err: errors.New("the server refuses STARTTLS")}
	case c.unread():
		// What came before the handshake would be read as if it came after it.
		c.broken = true
		return &Error{Stage: StageTLS, Class: ClassProtocol, Err: errInjection}
	}
	if failed := c.handshake(mode == Required); failed != nil {
		return failed
	}
	// What the server offered in clear is not believed.
	return c.hello()
}

// handshake encrypts the connection. Where trust is not demanded, whether the certificate is trusted is noted.
func (c *Conn) handshake(trust bool) *Error {
	began := time.Now()
	conf := c.server.TLS.Clone()
	conf.ServerName = c.server.Host
	var untrusted error
	if !trust {
		conf.InsecureSkipVerify = true
		conf.VerifyConnection = func(s tls.ConnectionState) error {
			untrusted = verify(s, c.server.Host, conf.RootCAs)
			return nil
		}
	}
	t := tls.Client(c.net, conf)
	c.within(handshakeTimeout)
	err := t.HandshakeContext(c.caller)
	c.phases.TLS = time.Since(began)
	if err != nil {
		c.broken, c.noHandshake = true, true
		class := Class(outbound.ConnClass(c.caller, err))
		if class != Class(outbound.ClassCancelled) && class != Class(outbound.ClassTimeout) {
			class = ClassTLS
		}
		c.note("TLS", err.Error(), began)
		return &Error{Stage: StageTLS, Class: class, Err: err}
	}
	c.take(t)
	c.Encrypted, c.Verified = true, untrusted == nil
	note := tls.VersionName(t.ConnectionState().Version) + ", certificate verified"
	if untrusted != nil {
		note = tls.VersionName(t.ConnectionState().Version) + ", unverified: " + untrusted.Error()
	}
	c.note("TLS", note, began)
	return nil
}

// verify is what crypto/tls does by itself unless asked otherwise.
func verify(s tls.ConnectionState, host string, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	between := x509.NewCertPool()
	for _, cert := range s.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between}); err != nil {
		return fmt.Errorf("verify the certificate: %w", err)
	}
	return nil
}
