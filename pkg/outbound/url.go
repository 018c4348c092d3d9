package outbound

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/pkg/fault"
)

// maxURL bounds a URL, in characters.
const maxURL = 2048

// CheckURL checks a URL when it is saved: absolute, https (http where the policy allows it), no user or password, no
// fragment, a port only where the policy lists it, at most 2,048 characters. A literal address is checked at once, a
// name when it is dialled. The fault lists every violation, without a field: the caller knows its name.
func CheckURL(raw string, p Policy) error {
	var f fault.Violations
	if len(raw) > maxURL {
		f.Add("", "must be at most %d characters, has %d", maxURL, len(raw))
		return f.Err(ReasonURLRefused) // further errors would quote a long URL
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The parser's error quotes the URL, which may hold a password.
		f.Add("", "must be a URL such as https://example.com/hook")
		return f.Err(ReasonURLRefused)
	}
	switch {
	case u.Scheme == "https" || (u.Scheme == "http" && p.PlainHTTP):
	case u.Scheme == "http":
		f.Add("", "must begin with https://: the operator can allow plain http for the tenant")
	default:
		f.Add("", "must begin with https://")
	}
	if u.User != nil {
		f.Add("", "must not hold a user or a password: use the endpoint's authentication")
	}
	if u.Fragment != "" || strings.HasSuffix(raw, "#") {
		f.Add("", "must not have a fragment")
	}
	checkHost(&f, u.Hostname(), p)
	checkPort(&f, u, p)
	return f.Err(ReasonURLRefused)
}

func checkPort(f *fault.Violations, u *url.URL, p Policy) {
	text := u.Port()
	if text == "" {
		if strings.HasSuffix(u.Host, ":") {
			f.Add("", "must not end its host with a colon")
		}
		return
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		f.Add("", "must have a port from 1 to 65535, has %s", text)
		return
	}
	for _, allowed := range p.Ports {
		if uint64(allowed) == port {
			return
		}
	}
	f.Add("", "must not name port %d: the operator can add it to the tenant's outbound ports", port)
}

func checkHost(f *fault.Violations, host string, p Policy) {
	if host == "" {
		f.Add("", "must name a host")
		return
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if err := p.allowsAddr(addr); err != nil {
			f.AddErr("", err)
		}
		return
	}
	if !isHostName(host) {
		f.Add("", "must name a host in letters, digits, hyphens and dots (international names in their xn-- form) "+
			"or an address in its usual form")
	}
}

// isHostName rejects names that resolvers parse as an address in an unusual form: 127.1, 0x7f000001, 2130706433.
func isHostName(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return false
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	last := labels[len(labels)-1]
	_, err := strconv.ParseUint(last, 0, 64)
	return err != nil && strings.Trim(last, "0123456789") != ""
}
