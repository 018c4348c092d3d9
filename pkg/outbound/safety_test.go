package outbound

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

// trap is a listener on loopback that must not be reached; its port is allowed.
func trap(t *testing.T) (port uint16, reached *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reached = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String()).Port(), reached
}

// Every way to write or to name an address that is not public leads nowhere, also where a name server believes it. The
// name server of the test answers loopback to every question.
func TestSafety_NothingOfATenantReachesThisMachine(t *testing.T) {
	port, reached := trap(t)
	hosts := map[string]string{
		"loopback":                        "127.0.0.1",
		"loopback elsewhere":              "127.9.9.9",
		"loopback of IPv6":                "[::1]",
		"any address":                     "0.0.0.0",
		"any address of IPv6":             "[::]",
		"one decimal number":              "2130706433",
		"hexadecimal":                     "0x7f000001",
		"hexadecimal by parts":            "0x7f.0.0.1",
		"octal":                           "0177.0.0.1",
		"octal with many zeros":           "000000177.0.0.01",
		"two parts":                       "127.1",
		"mapped":                          "[::ffff:127.0.0.1]",
		"mapped in hexadecimal":           "[::ffff:7f00:1]",
		"compatible":                      "[::127.0.0.1]",
		"NAT64":                           "[64:ff9b::7f00:1]",
		"NAT64 of local use":              "[64:ff9b:1::7f00:1]",
		"6to4":                            "[2002:7f00:1::]",
		"Teredo":                          "[2001:0:7f00:1::]",
		"the metadata of clouds":          "169.254.169.254",
		"the metadata of a cloud in IPv6": "[fd00:ec2::254]",
		"Azure's platform services":       "168.63.129.16",
		"a name":                          "rebound.example.com",
		"a name with a trailing dot":      "rebound.example.com.",
		"localhost":                       "localhost",
		"an international name":           "xn--bcher-kva.example",
		"digits in circles":               "①②⑦.⓪.⓪.①",
		"a full stop of another script":   "127。0。0。1",
		"a name beyond ASCII":             "bücher.example",
		"with a user":                     "127.0.0.1@rebound.example.com",
		"with a user and a password":      "user:pass@127.0.0.1",
	}
	for name, host := range hosts {
		for _, scheme := range []string{"https", "http"} {
			t.Run(name+" by "+scheme, func(t *testing.T) {
				u, err := url.Parse(scheme + "://" + host + ":" + strconv.Itoa(int(port)) + "/hook")
				if err != nil {
					t.Fatal(err)
				}
				o := Options{Policy: Policy{Ports: []uint16{port}, PlainHTTP: true}, names: newNames(nil)}
				o.names.resolver = nameServer(func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} })
				got := mustClient(t, o).Do(t.Context(), Request{URL: u, Body: []byte("x"), Repeatable: true})
				if got.Class != ClassRefusedAddress && got.Class != ClassRequest || got.Status != 0 {
					t.Errorf("%+v", got)
				}
			})
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("reached %d times", n)
	}
}

// Each range of the page is refused when it is dialled: one address of each, through the dialer that all protocols use.
func TestSafety_SpecialRangesAreNotDialled(t *testing.T) {
	d := NewDialer(Policy{PlainHTTP: true}, 0, nil)
	for _, table := range [][]specialRange{specialV4, specialV6} {
		for _, r := range table {
			address := netip.AddrPortFrom(lastOf(r.network), 443).String()
			began := time.Now()
			conn, err := d.DialContext(t.Context(), "tcp", address)
			if err == nil {
				_ = conn.Close()
			}
			if class := d.Class(t.Context(), err, began); class != ClassRefusedAddress || fault.ReasonOf(err) != ReasonAddressRefused {
				t.Errorf("%s (%s): class %q, %v", address, r.what, class, err)
			}
		}
	}
}

// Of two tenants that name one address only one may reach it. What its connection could serve, the other gets none of.
func TestSafety_TenantsDoNotShareWhatOneMayReach(t *testing.T) {
	var requests atomic.Int64
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	pool := mustPool(t, 10)
	may := mustIdentity(t, "may", o.Policy, o.CAs, nil)
	mayNot := mustIdentity(t, "may-not", Policy{Ports: o.Policy.Ports}, o.CAs, nil)
	for range 3 {
		if got := pool.must(t, may).Do(t.Context(), Request{URL: mustURL(t, s.URL)}); got.Status != 200 {
			t.Fatalf("%+v", got)
		}
		if got := pool.must(t, mayNot).Do(t.Context(), Request{URL: mustURL(t, s.URL)}); got.Class != ClassRefusedAddress {
			t.Errorf("%+v", got)
		}
	}
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests", n)
	}
}

// A redirect is not followed, whatever it leads to and however often a receiver tries.
func TestSafety_RedirectsLeadNowhere(t *testing.T) {
	port, reached := trap(t)
	var status atomic.Int64
	s, o := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", fmt.Sprintf("http://127.0.0.1:%d/latest/meta-data", port))
		w.Header().Set("Refresh", fmt.Sprintf("0; url=http://127.0.0.1:%d/", port))
		w.WriteHeader(int(status.Load()))
	})
	o.Policy.Ports, o.Policy.PlainHTTP = append(o.Policy.Ports, port), true
	c := mustClient(t, o)
	for _, code := range []int{300, 301, 302, 303, 305, 307, 308} {
		status.Store(int64(code))
		if got := c.Do(t.Context(), Request{URL: mustURL(t, s.URL), Repeatable: true}); got.Status != code || got.Class != ClassNone {
			t.Errorf("%d: %+v", code, got)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("reached %d times", n)
	}
}

func TestSafety_NothingIsInjected(t *testing.T) {
	for name, change := range map[string]func(*Request){
		"a value with a line break":       func(r *Request) { r.Header = http.Header{"A": {"b\r\nX-Evil: 1"}} },
		"a value with a line feed":        func(r *Request) { r.Header = http.Header{"A": {"b\nX-Evil: 1"}} },
		"a value with a NUL":              func(r *Request) { r.Header = http.Header{"A": {"b\x00c"}} },
		"a name with a line break":        func(r *Request) { r.Header = http.Header{"A: b\r\nX-Evil": {"1"}} },
		"a name with a blank":             func(r *Request) { r.Header = http.Header{"A b": {"1"}} },
		"a method with a line break":      func(r *Request) { r.Method = "POST / HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET" },
		"a host with a line break":        func(r *Request) { r.URL.Host += "\r\nX-Evil: 1" },
		"a query with a line break":       func(r *Request) { r.URL.RawQuery = "a=b HTTP/1.1\r\nX-Evil: 1" },
		"an opaque URL with a line break": func(r *Request) { r.URL.Opaque = "/ HTTP/1.1\r\nX-Evil: 1" },
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " h2=", h2), func(t *testing.T) {
				s, o := receiver(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("received %s %v", r.Method, r.Header) },
					func(s *httptest.Server) { s.EnableHTTP2 = h2 })
				r := Request{URL: mustURL(t, s.URL), Body: []byte("x"), Repeatable: true}
				change(&r)
				if got := mustClient(t, o).Do(t.Context(), r); got.Class != ClassRequest {
					t.Errorf("%+v", got)
				}
			})
		}
	}
	// A line break in a path is escaped by its URL.
	s, o := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a\r\nX-Evil: 1" || r.Header.Get("X-Evil") != "" {
			t.Errorf("received %q %v", r.URL.Path, r.Header)
		}
	})
	u := mustURL(t, s.URL)
	u.Path = "/a\r\nX-Evil: 1"
	if got := mustClient(t, o).Do(t.Context(), Request{URL: u}); got.Status != 200 {
		t.Errorf("%+v", got)
	}
}

// From a change of the client's certificate on, nothing starts on a connection or a session of the one before.
func TestSafety_ACertificateIsShownByItsIdentityAlone(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("h2=", h2), func(t *testing.T) {
			var mu sync.Mutex
			var shown []string
			resumed := false
			s, o := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				shown = append(shown, string(r.TLS.PeerCertificates[0].Raw))
				resumed = resumed || r.TLS.DidResume
			}, func(s *httptest.Server) {
				s.EnableHTTP2 = h2
				s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
			})
			old, next := selfSigned(t), selfSigned(t)
			pool := mustPool(t, 10)
			post := func(cert *tls.Certificate) Identity {
				id := mustIdentity(t, "acme", o.Policy, o.CAs, cert)
				if got := pool.must(t, id).Do(t.Context(), Request{URL: mustURL(t, s.URL)}); got.Status != 200 {
					t.Fatalf("%+v", got)
				}
				return id
			}
			before := post(&old)
			after := post(&next)
			pool.Keep(map[Key]bool{after.Key(): true})
			if pool.Len() != 1 {
				t.Errorf("%d clients", pool.Len())
			}
			post(&next)
			for i, want := range []string{string(old.Certificate[0]), string(next.Certificate[0]), string(next.Certificate[0])} {
				if shown[i] != want {
					t.Errorf("request %d shows another certificate", i)
				}
			}
			if resumed || before.Key() == after.Key() {
				t.Error("a session is resumed")
			}
		})
	}
}

// All clients of a pool share one bound; of idle connections those of the client unused for longest close first.
func TestSafety_ConnectionsAreBoundedInAll(t *testing.T) {
	var connections, open atomic.Int64
	closed := make(chan struct{}, 100)
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) {}, func(s *httptest.Server) {
		s.EnableHTTP2 = false
		count := countConnections(&connections, closed)
		s.Config.ConnState = func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				open.Add(-1)
			}
			count(c, state)
		}
	})
	pool, err := NewPool(10, Options{Connections: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	post := func(tenant string) Result {
		return pool.must(t, mustIdentity(t, tenant, o.Policy, o.CAs, nil)).Do(t.Context(), Request{URL: mustURL(t, s.URL)})
	}
	for _, tenant := range []string{"a", "b", "c"} {
		if got := post(tenant); got.Status != 200 {
			t.Fatalf("%+v", got)
		}
	}
	if got := post("a"); !got.Reused {
		t.Errorf("%+v", got)
	}
	if got := post("d"); got.Status != 200 { // closes that of b
		t.Fatalf("%+v", got)
	}
	<-closed
	if a, b := post("a"), connections.Load(); !a.Reused || b != 4 || open.Load() != 3 {
		t.Errorf("%d connections, %d open, %+v", b, open.Load(), a)
	}
	if got := post("b"); got.Status != 200 || got.Reused {
		t.Errorf("%+v", got)
	}
}

func TestSafety_WithoutAFreeConnectionNothingIsSentAndItIsOurs(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) { began <- struct{}{}; <-release }, func(s *httptest.Server) { s.EnableHTTP2 = false })
	o.Connections = 1
	c := mustClient(t, o)
	first := make(chan Result)
	go func() { first <- c.Do(t.Context(), Request{URL: mustURL(t, s.URL)}) }()
	<-began
	if got := c.Do(t.Context(), Request{URL: mustURL(t, s.URL)}); got.Class != ClassLocal {
		t.Errorf("%+v", got)
	}
	close(release)
	if got := <-first; got.Status != 200 {
		t.Errorf("%+v", got)
	}
}
