package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Dialer opens connections to addresses that a tenant's policy allows, whatever is spoken on them: HTTP here, SMTP in
// its own package. It is safe for concurrent use.
type Dialer struct {
	policy  Policy
	timeout time.Duration
	names   *names
	proxy   *Proxy
	direct  contextDialer
}

// contextDialer is net.Dialer; tests of deadlines use connections in memory instead.
type contextDialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// NewDialer makes a dialer for one policy. timeout bounds name resolution and connecting, 5 s where it is 0; proxy may be
// nil.
func NewDialer(p Policy, timeout time.Duration, proxy *Proxy) *Dialer {
	o := Options{Policy: p, DialTimeout: timeout, Proxy: proxy}.withDefaults()
	return newDialer(o)
}

func newDialer(o Options) *Dialer {
	return &Dialer{
		policy: o.Policy, timeout: o.DialTimeout, names: o.names, proxy: o.Proxy,
		direct: &net.Dialer{Control: o.Policy.Control, Resolver: o.names.resolver},
	}
}

// DialContext connects to address, "host:port", over TCP. The address that is dialled must be allowed: a refusal is a
// fault of kind Denied. Class is what an error means.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" {
		return nil, fault.New(fault.Denied, ReasonAddressRefused, "network %s may not be dialled", network)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fault.New(fault.Invalid, ReasonURLRefused, "the address to dial is not host:port")
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
		return nil, fault.New(fault.Denied, ReasonAddressRefused, "%q is neither a name nor an address in its usual form", host)
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if d.proxy != nil {
		return d.tunnel(ctx, address)
	}
	return d.direct.DialContext(ctx, network, address)
}

// Class is why a connection was not made. began is when dialling began; ctx is the caller's, without a deadline of its
// own.
func (d *Dialer) Class(ctx context.Context, err error, began time.Time) Class {
	switch fault.KindOf(err) {
	case fault.Denied:
		return ClassRefusedAddress
	case fault.Invalid:
		return ClassRequest
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ClassCancelled
	}
	if _, ours := errors.AsType[*proxyError](err); ours || errors.Is(err, errNoConnection) || isLocal(ctx, err) {
		return ClassLocal
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if d.names.isLocal(ctx, dns, began) {
			return ClassLocal
		}
		return ClassDNS
	}
	if timedOut(err) {
		return ClassTimeout
	}
	return ClassConnect
}

func timedOut(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout()
}

// resolve looks a host up and returns the addresses that may be dialled, in the order of the resolver. Where there is
// none, the error is the first refusal.
func (d *Dialer) resolve(ctx context.Context, address string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fault.New(fault.Invalid, ReasonURLRefused, "the address to dial is not host:port")
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, fault.New(fault.Invalid, ReasonURLRefused, "the port to dial is not a number")
	}
	addrs := []netip.Addr{}
	if literal, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, literal)
	} else if addrs, err = d.names.resolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, fmt.Errorf("look up the host: %w", err)
	}
	var (
		allowed []netip.AddrPort
		refused error
	)
	for _, addr := range addrs {
		to := netip.AddrPortFrom(addr.Unmap(), uint16(port))
		if err := d.policy.Allows(to); err != nil {
			refused = errors.Join(refused, err)
			continue
		}
		allowed = append(allowed, to)
	}
	if len(allowed) == 0 {
		return nil, refused
	}
	return allowed, nil
}
