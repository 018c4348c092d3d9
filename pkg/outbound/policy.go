package outbound

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Reasons of the faults that refuse an address, a port or a URL.
const (
	// ReasonAddressRefused is of kind Denied: the address may not be dialled for this tenant.
	ReasonAddressRefused = "ADDRESS_REFUSED"
	// ReasonPortRefused is of kind Denied: the port may not be dialled for this tenant.
	ReasonPortRefused = "PORT_REFUSED"
	// ReasonURLRefused is of kind Invalid, with a violation for each problem of the URL.
	ReasonURLRefused = "URL_REFUSED"
	// ReasonPolicyInvalid is of kind Invalid: the policy itself cannot be parsed.
	ReasonPolicyInvalid = "OUTBOUND_POLICY_INVALID"
	// ReasonProxyInvalid is of kind Invalid: the outbound proxy's URL or credentials cannot be parsed.
	ReasonProxyInvalid = "OUTBOUND_PROXY_INVALID"
	// ReasonCAInvalid is of kind Invalid: the certificates cannot be parsed.
	ReasonCAInvalid = "CA_CERTIFICATES_INVALID"
)

// Policy decides where requests of one tenant may go. The zero value is the default of a tenant: https on port 443 of
// public addresses. A policy is not changed once it is in use.
type Policy struct {
	// Ports may be dialled in addition to 443, and written in a URL, for https and http alike.
	Ports []uint16
	// PlainHTTP allows http:// as well, and with it port 80.
	PlainHTTP bool
	// Networks are allowed in addition to public ones.
	Networks []netip.Prefix
	// Denied is the operator's list for all tenants; it overrides Networks.
	Denied []netip.Prefix
}

// PolicyOf parses a policy from configuration; networks are in CIDR notation. The error lists every violation, in the
// fields "ports" and "networks".
func PolicyOf(ports []uint32, plainHTTP bool, networks []string, denied []netip.Prefix) (Policy, error) {
	var f fault.Violations
	p := Policy{PlainHTTP: plainHTTP, Denied: denied}
	for i, port := range ports {
		if port < 1 || port > 65535 {
			f.Add(fmt.Sprintf("ports[%d]", i), "must be from 1 to 65535, is %d", port)
			continue
		}
		p.Ports = append(p.Ports, uint16(port))
	}
	for i, text := range networks {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			f.Add(fmt.Sprintf("networks[%d]", i), "must be a network such as 10.8.0.0/16, is %q", text)
			continue
		}
		if network != network.Masked() {
			f.Add(fmt.Sprintf("networks[%d]", i), "has bits beyond its length: %s would be %s", network, network.Masked())
			continue
		}
		p.Networks = append(p.Networks, network)
	}
	return p, f.Err(ReasonPolicyInvalid)
}

// Allows checks the address about to be dialled: nil, or a fault of kind Denied that names what to do. The operator's
// denials are checked first, then the tenant's networks, then whether the address is public. An IPv4 address mapped
// into IPv6 is checked as the IPv4 address.
func (p Policy) Allows(to netip.AddrPort) error {
	if err := p.allowsPort(to.Port()); err != nil {
		return err
	}
	return p.allowsAddr(to.Addr())
}

func (p Policy) allowsPort(port uint16) error {
	if port == 443 || (port == 80 && p.PlainHTTP) || slices.Contains(p.Ports, port) {
		return nil
	}
	return fault.New(fault.Denied, ReasonPortRefused,
		"port %d may not be dialled: the operator can add it to the tenant's outbound ports", port)
}

func (p Policy) allowsAddr(addr netip.Addr) error {
	if !addr.IsValid() || addr.Zone() != "" {
		return fault.New(fault.Denied, ReasonAddressRefused, "%q is not an address without a zone: use a public address", addr)
	}
	inner := unmapped(addr)
	for _, denied := range p.Denied {
		if denied.Contains(addr) || denied.Contains(inner) {
			return fault.New(fault.Denied, ReasonAddressRefused, "%s lies in %s, which the operator denies", addr, denied)
		}
	}
	for _, allowed := range p.Networks {
		if allowed.Contains(addr) || allowed.Contains(inner) {
			return nil
		}
	}
	if r, found := special(inner); found {
		return fault.New(fault.Denied, ReasonAddressRefused,
			"%s lies in %s (%s): use a public address, or ask the operator to add the network to the tenant's outbound networks",
			addr, r.network, r.what)
	}
	return nil
}

// Control is for net.Dialer.Control: it checks each address after names were resolved and before a packet is sent, so a
// DNS answer that changes between a check and the dialling has no effect.
func (p Policy) Control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fault.New(fault.Denied, ReasonAddressRefused, "network %s may not be dialled", network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fault.New(fault.Denied, ReasonAddressRefused, "read the address being dialled: %w", err)
	}
	return p.Allows(to)
}

// WithPorts is the policy of a protocol that has standard ports of its own beside that of https.
func (p Policy) WithPorts(ports ...uint16) Policy {
	p.Ports = append(slices.Clone(p.Ports), ports...)
	return p
}

// key is the same text for policies that allow the same, whatever the order of their lists.
func (p Policy) key() string {
	var b strings.Builder
	ports := slices.Clone(p.Ports)
	slices.Sort(ports)
	fmt.Fprintf(&b, "%v %v", p.PlainHTTP, slices.Compact(ports))
	for _, list := range [][]netip.Prefix{p.Networks, p.Denied} {
		sorted := slices.Clone(list)
		slices.SortFunc(sorted, func(a, b netip.Prefix) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
		})
		fmt.Fprintf(&b, " %v", slices.Compact(sorted))
	}
	return b.String()
}
