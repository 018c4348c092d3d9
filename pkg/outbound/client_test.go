package outbound

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/tollgate/tollgate/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver starts a server on loopback and returns it with the policy and the certificate to reach it.
func receiver(t *testing.T, h http.HandlerFunc, change ...func(*httptest.Server)) (*httptest.Server, Options) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	for _, c := range change {
		c(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, optionsFor(s.Listener.Addr(), s.Certificate())
}

func optionsFor(addr net.Addr, cert *x509.Certificate) Options {
	to := netip.MustParseAddrPort(addr.String())
	o := Options{Policy: Policy{
		Networks: []netip.Prefix{netip.PrefixFrom(to.Addr(), to.Addr().BitLen())}, Ports: []uint16{to.Port()},
	}}
	if cert != nil {
		o.CAs = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
	return o
}

func mustClient(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestDo_ReusesConnection(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run("h2="+strconv.FormatBool(h2), func(t *testing.T) {
			s, o := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || string(body) != "spent" || r.Method != http.MethodPost || r.UserAgent() != "Tollgate/"+version() ||
					r.Header.Get("Webhook-Id") != "dlv_1" || r.ContentLength != 5 || (r.ProtoMajor == 2) != h2 || r.URL.RawQuery != "a=b" {
					t.Errorf("received %q, %v: %v", body, err, r)
				}
				for _, name := range []string{"Idempotency-Key", "Accept-Encoding"} {
					if _, sent := r.Header[name]; sent {
						t.Errorf("header %s was sent", name)
					}
				}
				w.Header().Set("X-Answer", "yes")
				w.WriteHeader(http.StatusAccepted)
				_, _ = io.WriteString(w, "thanks")
			}, func(s *httptest.Server) { s.EnableHTTP2 = h2 })
			c := mustClient(t, o)
			for i := range 3 {
				got := c.Do(t.Context(), Request{
					URL: mustURL(t, s.URL+"/hook?a=b"), Body: []byte("spent"), Repeatable: true,
					Header: http.Header{"Webhook-Id": {"dlv_1"}},
				})
				if got.Err != nil || got.Class != ClassNone || got.Status != 202 || string(got.Body) != "thanks" || got.BodyTruncated ||
					got.Header.Get("X-Answer") != "yes" || got.HeaderTruncated {
					t.Fatalf("%+v", got)
				}
				p := got.Phases
				if got.Reused != (i > 0) || (p.Connect > 0) != (i == 0) || (p.TLS > 0) != (i == 0) || p.DNS != 0 ||
					p.Wait <= 0 || p.Read <= 0 || p.Total < p.DNS+p.Connect+p.TLS+p.Wait {
					t.Errorf("request %d: reused %v, %+v", i, got.Reused, p)
				}
			}
		})
	}
}

// nameServer is a resolver whose answers come from answer, asked once per look-up of A records.
func nameServer(answer func() []netip.Addr) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			// A connection that is no datagram carries a length before each message.
			var length [2]byte
			if _, err := io.ReadFull(server, length[:]); err != nil {
				return
			}
			query := make([]byte, int(length[0])<<8|int(length[1]))
			if _, err := io.ReadFull(server, query); err != nil {
				return
			}
			var m dnsmessage.Message
			if err := m.Unpack(query); err != nil {
				return
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if m.Questions[0].Type == dnsmessage.TypeA {
				for _, addr := range answer() {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
						Body:   &dnsmessage.AResource{A: addr.As4()},
					})
				}
			}
			packed, err := m.Pack()
			if err != nil {
				return
			}
			_, _ = server.Write(append([]byte{byte(len(packed) >> 8), byte(len(packed))}, packed...))
		}()
		return client, nil
	}}
}

// Both addresses are loopback, so that no packet leaves the machine: 127.0.0.2 stands for the public one.
func TestDo_RebindingNameReachesNoPrivateAddress(t *testing.T) {
	public, private := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")
	var inside net.Listener
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) {}, func(s *httptest.Server) {
		_ = s.Listener.Close()
		for inside == nil { // until a port is free at both
			l, err := net.Listen("tcp4", netip.AddrPortFrom(public, 0).String())
			if err != nil {
				t.Fatal(err)
			}
			port := netip.MustParseAddrPort(l.Addr().String()).Port()
			if inside, err = net.Listen("tcp4", netip.AddrPortFrom(private, port).String()); err != nil {
				inside = nil
				_ = l.Close()
			}
			s.Listener = l
		}
	})
	port := o.Policy.Ports[0]
	defer inside.Close()
	var reached atomic.Int64
	go func() {
		for {
			conn, err := inside.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			_ = conn.Close()
		}
	}()

	var answers atomic.Pointer[[]netip.Addr]
	resolver := nameServer(func() []netip.Addr { return *answers.Load() })
	o.names = newNames(nil)
	o.names.resolver = resolver
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The certificate of httptest is for example.com.
	target := mustURL(t, "https://example.com:"+strconv.Itoa(int(port))+"/hook")
	if err := CheckURL(target.String(), o.Policy); err != nil {
		t.Fatal(err)
	}
	post := func(now ...netip.Addr) Result {
		answers.Store(&now)
		c.Close()
		return c.Do(t.Context(), Request{URL: target})
	}

	if got := post(public); got.Status != 200 || got.Phases.DNS <= 0 {
		t.Fatalf("while the name is public: %+v", got)
	}
	if got := post(private); got.Class != ClassRefusedAddress || fault.ReasonOf(got.Err) != ReasonAddressRefused {
		t.Errorf("once the name is private: %+v", got)
	}
	if got := post(private, public); got.Status != 200 {
		t.Errorf("of two addresses only the allowed one is dialled: %+v", got)
	}
	if got := post(); got.Class != ClassDNS {
		t.Errorf("a name without an address: %+v", got)
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the private address was reached %d times", n)
	}
	_ = s
}

func TestDo_DoesNotDialRefusedAddresses(t *testing.T) {
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("the receiver was reached") })
	port := o.Policy.Ports
	tests := map[string]struct {
		policy Policy
		url    string
		reason string
	}{
		"loopback":                   {Policy{Ports: port}, s.URL, ReasonAddressRefused},
		"a port":                     {Policy{Networks: o.Policy.Networks}, s.URL, ReasonPortRefused},
		"plain http":                 {o.Policy, "http://" + s.Listener.Addr().String(), ReasonURLRefused},
		"a user":                     {o.Policy, "https://user:pass@" + s.Listener.Addr().String(), ReasonURLRefused},
		"loopback in IPv6 clothes":   {Policy{Ports: port}, "https://[::ffff:127.0.0.1]:" + strconv.Itoa(int(port[0])), ReasonAddressRefused},
		"the machine's own name":     {Policy{Ports: port}, "https://localhost:" + strconv.Itoa(int(port[0])), ReasonAddressRefused},
		"this host, written as zero": {Policy{Ports: port}, "https://0.0.0.0:" + strconv.Itoa(int(port[0])), ReasonAddressRefused},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := o
			o.Policy = tc.policy
			got := mustClient(t, o).Do(t.Context(), Request{URL: mustURL(t, tc.url)})
			if got.Class != ClassRefusedAddress || fault.ReasonOf(got.Err) != tc.reason || got.Status != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestDo_RedirectIsAResponse(t *testing.T) {
	var requests atomic.Int64
	s, o := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	got := mustClient(t, o).Do(t.Context(), Request{URL: mustURL(t, s.URL)})
	if got.Status != 307 || got.Header.Get("Location") != "/elsewhere" || got.Class != ClassNone || requests.Load() != 1 {
		t.Errorf("%d requests, %+v", requests.Load(), got)
	}
}

func TestDo_IgnoresProxyOfTheEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) {})
	if got := mustClient(t, o).Do(t.Context(), Request{URL: mustURL(t, s.URL)}); got.Status != 200 {
		t.Errorf("%+v", got)
	}
}

func TestDo_BoundsTheKeptBody(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	tests := map[string]struct {
		status    int
		body      string
		chunked   bool
		request   Request
		keep      int
		truncated bool
		reusable  bool
	}{
		"an empty answer":                        {200, "", false, Request{}, 0, false, true},
		"a short success is kept whole":          {200, "ok", false, Request{}, 2, false, true},
		"a success of exactly its part":          {200, long[:1<<10], false, Request{}, 1 << 10, false, true},
		"a chunked success of exactly its part":  {200, long[:1<<10], true, Request{}, 1 << 10, false, true},
		"of a success the first KiB":             {200, long[:1<<10+1], false, Request{}, 1 << 10, true, true},
		"of a chunked success the first KiB":     {201, long[:5<<10], true, Request{}, 1 << 10, true, true},
		"a failure of exactly its part":          {500, long[:64<<10], true, Request{}, 64 << 10, false, true},
		"of a failure the first 64 KiB":          {404, long[:64<<10+1], false, Request{}, 64 << 10, true, true},
		"a redirect is kept like a failure":      {302, long[:2<<10], false, Request{}, 2 << 10, false, true},
		"as the request bounds it":               {200, long[:100], false, Request{KeepSuccess: 10}, 10, true, true},
		"as the request bounds a failure":        {503, long[:100], true, Request{KeepFailure: 99}, 99, true, true},
		"nothing, where the request asks so":     {200, "ok", false, Request{KeepSuccess: -1}, 0, true, true},
		"an endless answer costs its connection": {200, long, true, Request{}, 1 << 10, true, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, o := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				if !tc.chunked {
					w.Header().Set("Content-Length", strconv.Itoa(len(tc.body)))
				}
				w.WriteHeader(tc.status)
				if tc.chunked {
					w.(http.Flusher).Flush()
				}
				_, _ = io.WriteString(w, tc.body)
			}, func(s *httptest.Server) { s.EnableHTTP2 = false })
			c := mustClient(t, o)
			tc.request.URL = mustURL(t, s.URL)
			got := c.Do(t.Context(), tc.request)
			if got.Status != tc.status || string(got.Body) != tc.body[:tc.keep] || got.BodyTruncated != tc.truncated {
				t.Errorf("status %d, %d bytes, truncated %v", got.Status, len(got.Body), got.BodyTruncated)
			}
			if again := c.Do(t.Context(), tc.request); again.Reused != tc.reusable {
				t.Errorf("the connection was used again: %v", again.Reused)
			}
		})
	}
}

func TestDo_BoundsTheKeptHeaders(t *testing.T) {
	var extra atomic.Int64
	s, o := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range extra.Load() {
			w.Header().Set("A-"+strconv.Itoa(int(i)+1000), strings.Repeat("x", 1000))
		}
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
	}, func(s *httptest.Server) { s.EnableHTTP2 = false })
	c := mustClient(t, o)
	post := func(n int64) Result {
		extra.Store(n)
		return c.Do(t.Context(), Request{URL: mustURL(t, s.URL)})
	}
	if got := post(7); got.HeaderTruncated || len(got.Header.Values("A-1006")) != 1 {
		t.Errorf("7 KiB: %+v", got.Header)
	}
	got := post(20)
	size := 0
	for name, values := range got.Header {
		size += headerSize(name, values)
	}
	if !got.HeaderTruncated || size > maxHeaderKept || size < 7<<10 || got.Header.Get("Retry-After") != "120" || got.Header.Get("A-1000") == "" {
		t.Errorf("20 KiB: %d bytes are kept of %v", size, got.Header)
	}
	if got := post(100); got.Class != ClassProtocol || got.Status != 0 {
		t.Errorf("100 KiB: status %d, class %q, %v", got.Status, got.Class, got.Err)
	}
}
