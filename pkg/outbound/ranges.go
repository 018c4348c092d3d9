package outbound

import "net/netip"

type specialRange struct {
	network netip.Prefix
	what    string
}

func ranges(of ...string) []specialRange {
	var all []specialRange
	for i := 0; i < len(of); i += 2 {
		all = append(all, specialRange{netip.MustParsePrefix(of[i]), of[i+1]})
	}
	return all
}

// specialV4 is IANA's IPv4 Special-Purpose Address Registry, multicast, and one address of a cloud.
var specialV4 = ranges(
	"0.0.0.0/8", "this network",
	"10.0.0.0/8", "private use",
	"100.64.0.0/10", "shared address space of carriers",
	"127.0.0.0/8", "loopback",
	"168.63.129.16/32", "Azure's platform services",
	"169.254.0.0/16", "link-local, cloud metadata",
	"172.16.0.0/12", "private use",
	"192.0.0.0/24", "IETF protocol assignments",
	"192.0.2.0/24", "documentation",
	"192.31.196.0/24", "AS112",
	"192.52.193.0/24", "automatic multicast tunneling",
	"192.88.99.0/24", "6to4 relays",
	"192.168.0.0/16", "private use",
	"192.175.48.0/24", "AS112",
	"198.18.0.0/15", "benchmarks",
	"198.51.100.0/24", "documentation",
	"203.0.113.0/24", "documentation",
	"224.0.0.0/4", "multicast",
	"240.0.0.0/4", "reserved, broadcast",
)

// specialV6 is the part of IANA's IPv6 Special-Purpose Address Registry within 2000::/3, then names for ranges outside
// it.
var specialV6 = ranges(
	"2001::/32", "Teredo",
	"2001:2::/48", "benchmarks",
	"2001:10::/28", "ORCHID",
	"2001:20::/28", "ORCHID",
	"2001::/23", "IETF protocol assignments",
	"2001:db8::/32", "documentation",
	"2002::/16", "6to4",
	"2620:4f:8000::/48", "AS112",
	"3fff::/20", "documentation",

	"64:ff9b::/96", "NAT64",
	"64:ff9b:1::/48", "NAT64 of local use",
	"100::/64", "discard only",
	"100:0:0:1::/64", "dummy prefix",
	"5f00::/16", "segment routing",
	"fc00::/7", "unique local",
	"fe80::/10", "link-local",
	"fec0::/10", "site-local",
	"ff00::/8", "multicast",
)

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	v4Compatible  = netip.MustParsePrefix("::/96")
	notGlobal     = specialRange{netip.MustParsePrefix("::/0"), "not a global unicast address"}
)

// special finds the first range that makes addr not public.
func special(addr netip.Addr) (specialRange, bool) {
	table := specialV4
	if addr.Is6() {
		table = specialV6
	}
	for _, r := range table {
		if r.network.Contains(addr) {
			return r, true
		}
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return notGlobal, true
	}
	return specialRange{}, false
}

// unmapped extracts the IPv4 address of ::ffff:a.b.c.d and of ::a.b.c.d; ::1 becomes 0.0.0.1, which is not public
// either.
func unmapped(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if v4Compatible.Contains(addr) {
		bytes := addr.As16()
		return netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return addr
}
