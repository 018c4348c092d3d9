package outbound

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/tollgate/tollgate/pkg/fault"
)

func mustIdentity(t *testing.T, tenant string, p Policy, cas []byte, cert *tls.Certificate) Identity {
	t.Helper()
	id, err := NewIdentity(tenant, p, cas, cert)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustPool(t *testing.T, size int) *Pool {
	t.Helper()
	p, err := NewPool(size, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func (p *Pool) must(t *testing.T, id Identity) *Client {
	t.Helper()
	c, err := p.Client(id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPool_SharesClientsWithinIdentityOnly(t *testing.T) {
	_, o := receiver(t, func(http.ResponseWriter, *http.Request) {})
	policy := Policy{Ports: []uint16{8443, 9443}, Networks: prefixes("10.0.0.0/8", "fd00::/8")}
	first, second := selfSigned(t), selfSigned(t)
	pool := mustPool(t, 100)
	base := pool.must(t, mustIdentity(t, "acme", policy, o.CAs, &first))
	tests := map[string]struct {
		id   Identity
		same bool
	}{
		"the same again":                     {mustIdentity(t, "acme", policy, o.CAs, &first), true},
		"the lists of the policy reordered":  {mustIdentity(t, "acme", Policy{Ports: []uint16{9443, 8443, 9443}, Networks: prefixes("fd00::/8", "10.0.0.0/8")}, o.CAs, &first), true},
		"the same certificates with a space": {mustIdentity(t, "acme", policy, append([]byte("\n"), o.CAs...), &first), true},
		"another tenant":                     {mustIdentity(t, "acme2", policy, o.CAs, &first), false},
		"no CAs":                             {mustIdentity(t, "acme", policy, nil, &first), false},
		"another client certificate":         {mustIdentity(t, "acme", policy, o.CAs, &second), false},
		"no client certificate":              {mustIdentity(t, "acme", policy, o.CAs, nil), false},
		"one port less":                      {mustIdentity(t, "acme", Policy{Ports: policy.Ports[:1], Networks: policy.Networks}, o.CAs, &first), false},
		"one network less":                   {mustIdentity(t, "acme", Policy{Ports: policy.Ports, Networks: policy.Networks[:1]}, o.CAs, &first), false},
		"plain http":                         {mustIdentity(t, "acme", Policy{Ports: policy.Ports, Networks: policy.Networks, PlainHTTP: true}, o.CAs, &first), false},
		"networks denied instead of allowed": {mustIdentity(t, "acme", Policy{Ports: policy.Ports, Denied: policy.Networks}, o.CAs, &first), false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := pool.must(t, tc.id); (got == base) != tc.same {
				t.Errorf("shared: %v", got == base)
			}
		})
	}
	if _, err := NewIdentity("acme", policy, []byte("x"), nil); fault.ReasonOf(err) != ReasonCAInvalid {
		t.Errorf("bad certificates: %v", err)
	}
	if _, err := NewPool(0, Options{}); err == nil {
		t.Error("a pool of nothing")
	}
}

func TestPool_EvictsLeastRecentlyUsed(t *testing.T) {
	var connections atomic.Int64
	closed := make(chan struct{}, 1)
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) {}, func(s *httptest.Server) {
		s.EnableHTTP2 = false
		s.Config.ConnState = countConnections(&connections, closed)
	})
	pool := mustPool(t, 2)
	post := func(tenant string) {
		t.Helper()
		c := pool.must(t, mustIdentity(t, tenant, o.Policy, o.CAs, nil))
		if got := c.Do(t.Context(), Request{URL: mustURL(t, s.URL)}); got.Status != 200 {
			t.Fatalf("%+v", got)
		}
	}
	post("a")
	post("b")
	post("a")
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections of two tenants", n)
	}
	post("c") // puts b out
	<-closed
	post("a")
	if n := connections.Load(); n != 3 || pool.Len() != 2 {
		t.Errorf("%d connections, %d clients", n, pool.Len())
	}
	post("b")
	if n := connections.Load(); n != 4 || pool.Len() != 2 {
		t.Errorf("%d connections, %d clients", n, pool.Len())
	}
}

// A connection in use when its client is closed serves the request on it, and no other.
func TestClose_ConnectionsInUseServeNoFurtherRequest(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run("h2="+strconv.FormatBool(h2), func(t *testing.T) {
			began, release := make(chan string), make(chan struct{})
			s, o := receiver(t, func(_ http.ResponseWriter, r *http.Request) { began <- r.RemoteAddr; <-release }, func(s *httptest.Server) { s.EnableHTTP2 = h2 })
			c := mustClient(t, o)
			results := make(chan Result)
			post := func() { results <- c.Do(t.Context(), Request{URL: mustURL(t, s.URL)}) }
			go post()
			first := <-began
			c.Close()
			close(release)
			if got := <-results; got.Status != 200 {
				t.Errorf("%+v", got)
			}
			go post()
			if second := <-began; second == first {
				t.Error("the connection is used again")
			}
			if got := <-results; got.Status != 200 || got.Reused {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestPool_IsSafeForConcurrentUse(t *testing.T) {
	s, o := receiver(t, func(http.ResponseWriter, *http.Request) {})
	pool := mustPool(t, 3)
	ids := []Identity{}
	for _, tenant := range []string{"a", "b", "c", "d"} {
		ids = append(ids, mustIdentity(t, tenant, o.Policy, o.CAs, nil))
	}
	results := make(chan Result)
	for worker := range 8 {
		go func() {
			for i := range 20 {
				c, err := pool.Client(ids[(worker+i)%len(ids)])
				if err != nil {
					results <- Result{Err: err}
					continue
				}
				results <- c.Do(t.Context(), Request{URL: mustURL(t, s.URL), Body: []byte("x"), Repeatable: true})
			}
		}()
	}
	for range 160 {
		if got := <-results; got.Status != 200 {
			t.Errorf("%+v", got)
		}
	}
}

func BenchmarkPoolClient(b *testing.B) {
	pool, err := NewPool(10, Options{})
	if err != nil {
		b.Fatal(err)
	}
	id, err := NewIdentity("acme", Policy{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pool.Client(id); err != nil {
			b.Fatal(err)
		}
	}
}
