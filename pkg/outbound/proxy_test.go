package outbound

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tollgate/tollgate/pkg/fault"
)

func mustPort(t *testing.T, u *url.URL) int {
	t.Helper()
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// proxyServer notes what it is asked for, and connects to it unless answer decides otherwise.
type proxyServer struct {
	mu     sync.Mutex
	asked  []string
	answer string
	want   string // of Proxy-Authorization
}

func (p *proxyServer) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host)
	answer := p.answer
	if p.want != r.Header.Get("Proxy-Authorization") {
		answer = "HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n"
	}
	p.mu.Unlock()
	if answer != "" {
		_, _ = io.WriteString(conn, answer)
		return
	}
	to, err := net.Dial("tcp", r.Host)
	if err != nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	defer to.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(to, in); _ = to.(*net.TCPConn).CloseWrite() }()
	_, _ = io.Copy(conn, to)
}

func (p *proxyServer) start(t *testing.T, credentials string) *Proxy {
	t.Helper()
	u, _ := parallel(t, p.serve)
	proxy, err := NewProxy(u.String(), credentials)
	if err != nil {
		t.Fatal(err)
	}
	return proxy
}

// The proxy never sees a name, so it can't resolve it to another address than the one that was checked.
func TestProxy_GetsTheCheckedAddress(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("h2=", h2), func(t *testing.T) {
			p := &proxyServer{want: "Basic dXNlcjpwYXNz"}
			s, o := receiver(t, func(http.ResponseWriter, *http.Request) {}, func(s *httptest.Server) { s.EnableHTTP2 = h2 })
			o.Proxy = p.start(t, "user:pass\n")
			private := netip.MustParseAddr("10.1.2.3")
			o.names = newNames(nil)
			o.names.resolver = nameServer(func() []netip.Addr { return []netip.Addr{private, netip.MustParseAddr("127.0.0.1")} })
			port := strconv.Itoa(int(o.Policy.Ports[0]))
			c := mustClient(t, o)
			for range 2 {
				if got := c.Do(t.Context(), Request{URL: mustURL(t, "https://example.com:"+port)}); got.Status != 200 {
					t.Fatalf("%+v", got)
				}
			}
			_ = s
			if len(p.asked) != 1 || p.asked[0] != "CONNECT 127.0.0.1:"+port {
				t.Errorf("the proxy was asked for %q", p.asked)
			}
		})
	}
}

func TestProxy_IsNotAskedForWhatThePolicyRefuses(t *testing.T) {
	p := &proxyServer{}
	_, o := receiver(t, func(http.ResponseWriter, *http.Request) {})
	o.Proxy = p.start(t, "")
	o.names = newNames(nil)
	o.names.resolver = nameServer(func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("10.1.2.3")} })
	port := strconv.Itoa(int(o.Policy.Ports[0]))
	for _, text := range []string{"https://example.com:" + port, "https://10.1.2.3:" + port, "https://[::ffff:10.1.2.3]:" + port, "https://127.0.0.1:1"} {
		got := mustClient(t, o).Do(t.Context(), Request{URL: mustURL(t, text)})
		if got.Class != ClassRefusedAddress || fault.KindOf(got.Err) != fault.Denied {
			t.Errorf("%s: %+v", text, got)
		}
	}
	if len(p.asked) != 0 {
		t.Errorf("the proxy was asked for %q", p.asked)
	}
}

func TestProxy_FailuresAreOursUnlessItCannotConnect(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		want   Class
	}{
		"it cannot connect":      {"HTTP/1.1 502 Bad Gateway\r\n\r\n", ClassConnect},
		"it refuses the address": {"HTTP/1.1 403 Forbidden\r\n\r\n", ClassConnect},
		"it wants credentials":   {"HTTP/1.1 407 Who\r\n\r\n", ClassLocal},
		"it speaks no HTTP":      {"220 mail\r\n", ClassLocal},
		"it closes":              {"H", ClassLocal},
		"its answer is endless":  {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 20<<10), ClassLocal},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := receiver(t, func(http.ResponseWriter, *http.Request) {})
			o.Proxy = (&proxyServer{answer: tc.answer}).start(t, "")
			got := mustClient(t, o).Do(t.Context(), Request{URL: mustURL(t, s.URL)})
			if got.Class != tc.want {
				t.Errorf("class %q: %v", got.Class, got.Err)
			}
		})
	}
	t.Run("it is not there", func(t *testing.T) {
		s, o := receiver(t, func(http.ResponseWriter, *http.Request) {})
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if o.Proxy, err = NewProxy("http://"+l.Addr().String(), ""); err != nil {
			t.Fatal(err)
		}
		if got := mustClient(t, o).Do(t.Context(), Request{URL: mustURL(t, s.URL)}); got.Class != ClassLocal {
			t.Errorf("class %q: %v", got.Class, got.Err)
		}
	})
}

// A dialer serves protocols in which the server speaks first.
func TestDialer_WithoutHTTP(t *testing.T) {
	greeting, o := parallel(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "220 mail.example.com ESMTP\r\n") })
	address := greeting.Host
	for name, proxy := range map[string]*Proxy{"at once": nil, "through a proxy": (&proxyServer{}).start(t, "")} {
		t.Run(name, func(t *testing.T) {
			conn, err := NewDialer(o.Policy, 0, proxy).DialContext(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if line, err := bufio.NewReader(conn).ReadString('\n'); line != "220 mail.example.com ESMTP\r\n" {
				t.Errorf("%q %v", line, err)
			}
			d := NewDialer(Policy{}.WithPorts(25), 0, proxy)
			for _, refused := range []string{"127.0.0.1:25", "93.184.216.34:587"} {
				if _, err := d.DialContext(t.Context(), "tcp", refused); d.Class(t.Context(), err, d.names.began) != ClassRefusedAddress {
					t.Errorf("%s: %v", refused, err)
				}
			}
			if _, err := d.DialContext(t.Context(), "udp", address); fault.KindOf(err) != fault.Denied {
				t.Errorf("udp: %v", err)
			}
		})
	}
	conf, err := TLSConfig(nil, nil)
	if err != nil || conf.InsecureSkipVerify || conf.MinVersion != tls.VersionTLS12 {
		t.Errorf("%+v, %v", conf, err)
	}
}

func TestNewProxy_RefusesWhatIsNone(t *testing.T) {
	for _, tc := range [][2]string{
		{"", ""}, {"proxy:3128", ""}, {"socks5://proxy:1080", ""}, {"http://proxy", ""}, {"http://u:s3cret@proxy:3128", ""},
		{"http://proxy:3128/path", ""}, {"http://proxy:3128", "s3cret"}, {"http://proxy:3128", "a:s3cret\r\nX: 1"},
	} {
		if _, err := NewProxy(tc[0], tc[1]); fault.ReasonOf(err) != ReasonProxyInvalid || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", tc, err)
		}
	}
}
