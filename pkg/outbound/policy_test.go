package outbound

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"code.dny.dev/ssrf"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/fault"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

func TestAllows_RefusesEverySpecialRange(t *testing.T) {
	for _, text := range []string{
		// https://www.iana.org/assignments/iana-ipv4-special-registry
		"0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/31", "192.0.2.0/24",
		"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.88.99.2/32", "192.168.0.0/16", "192.175.48.0/24",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32",
		// Beside the registry.
		"224.0.0.0/4", "168.63.129.16/32", "169.254.169.254/32",
		// https://www.iana.org/assignments/iana-ipv6-special-registry
		"::1/128", "::/128", "::ffff:0:0/120", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23",
		"2001::/32", "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48",
		"2001:10::/28", "2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
		"5f00::/16", "fc00::/7", "fe80::/10",
		// Beside the registry: what is not in 2000::/3.
		"fec0::/10", "ff00::/8", "::/8", "4000::/3", "1000::/4", "8000::/1",
	} {
		t.Run(text, func(t *testing.T) {
			p := netip.MustParsePrefix(text)
			for _, addr := range []netip.Addr{p.Addr(), lastOf(p)} {
				err := Policy{}.Allows(netip.AddrPortFrom(addr, 443))
				if fault.KindOf(err) != fault.Denied || fault.ReasonOf(err) != ReasonAddressRefused {
					t.Errorf("%s: %v", addr, err)
				}
			}
		})
	}
}

// An independent check: tables that another project generated from the registries.
func TestAllows_AgreesWithIndependentTable(t *testing.T) {
	for _, p := range append(ssrf.IPv4DeniedPrefixes, ssrf.IPv6DeniedPrefixes...) {
		for _, addr := range []netip.Addr{p.Addr(), lastOf(p)} {
			if err := (Policy{}).Allows(netip.AddrPortFrom(addr, 443)); err == nil {
				t.Errorf("%s of %s is allowed", addr, p)
			}
		}
	}
	guard := ssrf.New(ssrf.WithPorts(443))
	rapid.Check(t, func(t *rapid.T) {
		var addr netip.Addr
		if rapid.Bool().Draw(t, "v4") {
			addr = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
		} else {
			bytes := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")
			bytes[0] = rapid.SampledFrom([]byte{0x20, 0x26, 0x3f, bytes[0]}).Draw(t, "first")
			addr = netip.AddrFrom16([16]byte(bytes))
		}
		network := "tcp4"
		if addr.Is6() {
			network = "tcp6"
		}
		to := netip.AddrPortFrom(addr, 443)
		theirs, isLocal := guard.Safe(network, to.String(), nil), Policy{}.Allows(to)
		if isLocal == nil && theirs != nil && !addr.Is4In6() {
			t.Fatalf("%s is allowed here, there: %v", addr, theirs)
		}
		if isLocal != nil && theirs == nil && addr != netip.MustParseAddr("168.63.129.16") {
			t.Fatalf("%s is allowed there, here: %v", addr, isLocal)
		}
	})
}

func TestAllows(t *testing.T) {
	private := Policy{Networks: prefixes("10.8.0.0/16", "fd00::/8", "::1/128"), Ports: []uint16{8443}}
	tests := map[string]struct {
		policy Policy
		to     string
		reason string
	}{
		"a public address":                                    {Policy{}, "93.184.216.34:443", ""},
		"a public IPv6 address":                               {Policy{}, "[2606:2800:220:1::1]:443", ""},
		"the address before a range":                          {Policy{}, "9.255.255.255:443", ""},
		"the address after a range":                           {Policy{}, "11.0.0.0:443", ""},
		"before and after the carriers' range":                {Policy{}, "100.63.255.255:443", ""},
		"after the carriers' range":                           {Policy{}, "100.128.0.0:443", ""},
		"after IPv6 protocol assignments":                     {Policy{}, "[2001:200::1]:443", ""},
		"beside Azure's address":                              {Policy{}, "168.63.129.17:443", ""},
		"a mapped public address is that address":             {Policy{}, "[::ffff:93.184.216.34]:443", ""},
		"a compatible public address is that address":         {Policy{}, "[::93.184.216.34]:443", ""},
		"mapped loopback":                                     {Policy{}, "[::ffff:127.0.0.1]:443", ReasonAddressRefused},
		"mapped metadata":                                     {Policy{}, "[::ffff:a9fe:a9fe]:443", ReasonAddressRefused},
		"compatible loopback":                                 {Policy{}, "[::127.0.0.1]:443", ReasonAddressRefused},
		"compatible private":                                  {Policy{}, "[::10.0.0.1]:443", ReasonAddressRefused},
		"private through NAT64":                               {Policy{}, "[64:ff9b::10.0.0.1]:443", ReasonAddressRefused},
		"loopback through 6to4":                               {Policy{}, "[2002:7f00:1::]:443", ReasonAddressRefused},
		"link-local with a zone":                              {Policy{}, "[fe80::1%eth0]:443", ReasonAddressRefused},
		"a global address with a zone":                        {Policy{}, "[2606:2800:220:1::1%eth0]:443", ReasonAddressRefused},
		"a port that is not listed":                           {Policy{}, "93.184.216.34:8443", ReasonPortRefused},
		"port 80 without plain http":                          {Policy{}, "93.184.216.34:80", ReasonPortRefused},
		"port 80 with plain http":                             {Policy{PlainHTTP: true}, "93.184.216.34:80", ""},
		"port 0":                                              {Policy{PlainHTTP: true}, "93.184.216.34:0", ReasonPortRefused},
		"a listed port":                                       {private, "93.184.216.34:8443", ""},
		"443 beside a listed port":                            {private, "93.184.216.34:443", ""},
		"a network of the tenant":                             {private, "10.8.1.2:8443", ""},
		"a network of the tenant, mapped":                     {private, "[::ffff:10.8.1.2]:443", ""},
		"an IPv6 network of the tenant":                       {private, "[fd12::1]:443", ""},
		"IPv6 loopback where the tenant has it":               {private, "[::1]:443", ""},
		"beside the network of the tenant":                    {private, "10.9.0.0:443", ReasonAddressRefused},
		"a network of the tenant does not open its ports":     {private, "10.8.1.2:22", ReasonPortRefused},
		"the operator's denial of a public address":           {Policy{Denied: prefixes("93.184.0.0/16")}, "93.184.216.34:443", ReasonAddressRefused},
		"the operator's denial is stronger than the tenant's": {Policy{Denied: prefixes("10.8.1.0/24"), Networks: prefixes("10.8.0.0/16")}, "10.8.1.2:443", ReasonAddressRefused},
		"the operator's denial holds for mapped addresses":    {Policy{Denied: prefixes("93.184.0.0/16")}, "[::ffff:93.184.216.34]:443", ReasonAddressRefused},
		"the operator's denial of mapped addresses as such":   {Policy{Denied: prefixes("::ffff:0:0/96")}, "[::ffff:93.184.216.34]:443", ReasonAddressRefused},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			to := netip.MustParseAddrPort(tc.to)
			network := "tcp4"
			if to.Addr().Is6() {
				network = "tcp6"
			}
			for _, err := range []error{tc.policy.Allows(to), tc.policy.Control(network, tc.to, nil)} {
				if fault.ReasonOf(err) != tc.reason || (err == nil) != (tc.reason == "") {
					t.Errorf("got %v, want %q", err, tc.reason)
				}
			}
		})
	}
	if err := (Policy{}).Allows(netip.AddrPort{}); err == nil {
		t.Error("no address at all is allowed")
	}
	for _, network := range []string{"udp4", "unix", "tcp"} {
		if err := (Policy{}).Control(network, "93.184.216.34:443", nil); fault.KindOf(err) != fault.Denied {
			t.Errorf("%s: %v", network, err)
		}
	}
	if err := (Policy{}).Control("tcp4", "example.com:443", nil); fault.KindOf(err) != fault.Denied {
		t.Errorf("a name: %v", err)
	}
	text := Policy{}.Allows(netip.MustParseAddrPort("10.1.2.3:443")).Error()
	for _, part := range []string{"10.1.2.3", "10.0.0.0/8", "private use", "ask the operator"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not contain %q", text, part)
		}
	}
}

func TestCheckURL(t *testing.T) {
	lab := Policy{Ports: []uint16{8443}, PlainHTTP: true, Networks: prefixes("127.0.0.0/8")}
	tests := map[string]struct {
		policy Policy
		url    string
		want   []string // a part of each violation
	}{
		"a plain URL":                          {Policy{}, "https://example.com/hook?tenant=1", nil},
		"capitals and underscores":             {Policy{}, "HTTPS://Hooks_1.Example.COM", nil},
		"an international name in its xn form": {Policy{}, "https://xn--bcher-kva.example/", nil},
		"a trailing dot":                       {Policy{}, "https://example.com./", nil},
		"a name is validated once dialled":     {Policy{}, "https://localhost/", nil},
		"a public address":                     {Policy{}, "https://93.184.216.34/hook", nil},
		"a public IPv6 address":                {Policy{}, "https://[2606:2800:220:1::1]/hook", nil},
		"exactly 2,048 characters":             {Policy{}, "https://example.com/" + strings.Repeat("a", 2028), nil},
		"one character more":                   {Policy{}, "https://example.com/" + strings.Repeat("a", 2029), []string{"2048 characters"}},
		"plain http":                           {Policy{}, "http://example.com/", []string{"plain http"}},
		"plain http where it is allowed":       {lab, "http://example.com/", nil},
		"another scheme":                       {lab, "ftp://example.com/", []string{"https://"}},
		"a port":                               {Policy{}, "https://example.com:8443/", []string{"port 8443"}},
		"even the standard port":               {Policy{}, "https://example.com:443/", []string{"port 443"}},
		"a listed port":                        {lab, "https://example.com:8443/", nil},
		"a port that is not listed":            {lab, "https://example.com:9443/", []string{"port 9443"}},
		"a port past the highest":              {lab, "https://example.com:65536/", []string{"port from 1"}},
		"a colon without a port":               {lab, "https://example.com:/", []string{"colon"}},
		"a user":                               {Policy{}, "https://user@example.com/", []string{"user"}},
		"a password":                           {Policy{}, "https://user:s3cret@example.com/", []string{"user"}},
		"a fragment":                           {Policy{}, "https://example.com/#top", []string{"fragment"}},
		"an empty fragment":                    {Policy{}, "https://example.com/#", []string{"fragment"}},
		"no host":                              {Policy{}, "https:///hook", []string{"host"}},
		"opaque":                               {Policy{}, "https:example.com", []string{"host"}},
		"relative":                             {Policy{}, "/hook", []string{"https://", "host"}},
		"nothing":                              {Policy{}, "", []string{"https://", "host"}},
		"not a URL":                            {Policy{}, "https://user:s3cret@exa mple.com\x7f", []string{"a URL such as"}},
		"a literal private address":            {Policy{}, "https://192.168.1.1/", []string{"private use"}},
		"a literal mapped loopback":            {Policy{}, "https://[::ffff:7f00:1]/", []string{"loopback"}},
		"a literal with a zone":                {Policy{}, "https://[fe80::1%25eth0]/", []string{"without a zone"}},
		"loopback where the tenant has it":     {lab, "http://127.0.0.1:8443/", nil},
		"an address as one number":             {lab, "https://2130706433/", []string{"usual form"}},
		"an address in hexadecimal":            {lab, "https://0x7f000001/", []string{"usual form"}},
		"an address of two parts":              {lab, "https://127.1/", []string{"usual form"}},
		"an octal address":                     {lab, "https://0177.0.0.01/", []string{"usual form"}},
		"an address with a dot behind":         {lab, "https://127.0.0.1./", []string{"usual form"}},
		"letters beyond ASCII":                 {Policy{}, "https://bücher.example/", []string{"xn--"}},
		"digits beyond ASCII":                  {Policy{}, "https://①②⑦.0.0.1/", []string{"xn--"}},
		"an empty label":                       {Policy{}, "https://example..com/", []string{"letters"}},
		"a label that begins with a hyphen":    {Policy{}, "https://-a.example/", []string{"letters"}},
		"a label of 64":                        {Policy{}, "https://" + strings.Repeat("a", 64) + ".example/", []string{"letters"}},
		"a name of 254":                        {Policy{}, "https://" + strings.Repeat("a.", 125) + "exam/", []string{"letters"}},
		"everything at once":                   {Policy{}, "http://u:p@10.0.0.1:81/#x", []string{"plain http", "user", "fragment", "private use", "port 81"}},
		"a denied literal":                     {Policy{Denied: prefixes("93.184.0.0/16")}, "https://93.184.216.34/", []string{"operator denies"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := CheckURL(tc.url, tc.policy)
			var got []string
			for i, v := range fault.ViolationsOf(err) {
				text := v.Description
				if i < len(tc.want) && strings.Contains(text, tc.want[i]) {
					text = tc.want[i]
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if err != nil && (fault.KindOf(err) != fault.Invalid || fault.ReasonOf(err) != ReasonURLRefused) {
				t.Errorf("%v %s", fault.KindOf(err), fault.ReasonOf(err))
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestPolicyOf_ListsEveryViolation(t *testing.T) {
	p, err := PolicyOf([]uint32{8443, 65535, 1}, true, []string{"10.8.0.0/16", "::1/128"}, prefixes("1.2.3.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	want := Policy{Ports: []uint16{8443, 65535, 1}, PlainHTTP: true, Networks: prefixes("10.8.0.0/16", "::1/128"), Denied: prefixes("1.2.3.0/24")}
	if fmt.Sprint(p) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", p, want)
	}
	_, err = PolicyOf([]uint32{0, 443, 65536}, false, []string{"10.8.0.1/16", "10.8.0.1", "::1/128", "x"}, nil)
	var fields []string
	for _, v := range fault.ViolationsOf(err) {
		fields = append(fields, v.Field)
	}
	if diff := cmp.Diff([]string{"ports[0]", "ports[2]", "networks[0]", "networks[1]", "networks[3]"}, fields); diff != "" {
		t.Error(diff)
	}
}
