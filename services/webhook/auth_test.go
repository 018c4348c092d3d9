package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/receiver"
)

// site is a receiver without the loop: what is sent to it is an attempt alone.
type site struct {
	server *httptest.Server
	sender *sender
	tenant *configclient.Tenant
	ca     string

	mu  sync.Mutex
	got []*http.Request
}

func newSite(t *testing.T, answer http.HandlerFunc, change ...func(*httptest.Server)) *site {
	t.Helper()
	s := &site{}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		s.mu.Lock()
		s.got = append(s.got, r.Clone(context.WithoutCancel(r.Context())))
		s.mu.Unlock()
		answer(w, r)
	}))
	for _, c := range change {
		c(s.server)
	}
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	s.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw}))
	to := netip.MustParseAddrPort(s.server.Listener.Addr().String())
	s.tenant = &configclient.Tenant{Outbound: outbound.Policy{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Ports: []uint16{to.Port()}}}
	pool, err := outbound.NewPool(10, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	tokens, err := outbound.NewTokens(10)
	if err != nil {
		t.Fatal(err)
	}
	s.sender = &sender{Client: receiver.Client{Pool: pool, Tokens: tokens}, clock: time.Now, newest: func(string) *endpoint { return nil }}
	return s
}

func (s *site) endpoint(auth webhook.Auth) *endpoint {
	return prepare(&webhook.Endpoint{
		Name: "tenants/acme/endpoints/e", Tenant: "acme", URL: s.server.URL + "/hook", CACertificates: []byte(s.ca), Timeout: 5 * time.Second,
		Concurrency: 4, Auth: auth, Secrets: []webhook.Secret{[]byte("thirty-two bytes of a secret key")},
	}, s.tenant, nil)
}

func (s *site) send(ctx context.Context, e *endpoint) delivery.Outcome {
	return s.sender.Send(ctx, &delivery.Delivery{ID: "dlv_1", Body: []byte("{}"), ContentType: "application/json"}, e, 1)
}

func (s *site) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.got...)
}

// Each way sends its secret and records none, not even where the receiver sends it back.
func TestSend_AuthenticatesAndRecordsNoSecret(t *testing.T) {
	for name, tc := range map[string]struct {
		auth          webhook.Auth
		header, value string
		secrets       []string
	}{
		"basic":  {webhook.Basic{Username: "user", Password: "p:ä-s3cret"}, "Authorization", "Basic dXNlcjpwOsOkLXMzY3JldA==", []string{"p:ä-s3cret", "dXNlcjpwOsOkLXMzY3JldA=="}},
		"bearer": {webhook.Bearer{Token: "s3cret-token"}, "Authorization", "Bearer s3cret-token", []string{"s3cret-token"}},
		"key":    {webhook.Key{Header: "x-tenant-key", Value: "s3cret-key"}, "X-Tenant-Key", "s3cret-key", []string{"s3cret-key"}},
		"none":   {nil, "Authorization", "", []string{"dGhpcnR5LXR3byBieXRlcyBvZiBhIHNlY3JldCBrZXk="}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Echo", r.Header.Get(tc.header)+" whsec_dGhpcnR5LXR3byBieXRlcyBvZiBhIHNlY3JldCBrZXk=")
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, "you sent "+strings.Join(tc.secrets, " and ")+" whsec_dGhpcnR5LXR3byBieXRlcyBvZiBhIHNlY3JldCBrZXk=")
			})
			e := s.endpoint(tc.auth)
			if e.Broken != nil {
				t.Fatal(e.Broken)
			}
			out := s.send(t.Context(), e)
			if got := s.requests()[0].Header.Get(tc.header); got != tc.value || out.Status != 403 {
				t.Errorf("sent %q, status %d", got, out.Status)
			}
			text := fmt.Sprint(out.RequestHeaders, out.ResponseHeaders, string(out.ResponseBody), out.Error)
			for _, secret := range tc.secrets {
				if strings.Contains(text, secret) {
					t.Errorf("recorded %s", text)
				}
			}
			if tc.value != "" && !strings.Contains(text, tc.header+" "+masked) {
				t.Errorf("the header is not recorded as masked: %s", text)
			}
		})
	}
}

// oauth is a receiver and the server of its tokens, in one.
type oauth struct {
	*site
	fetched atomic.Int64
	// accepts is the token that the receiver takes; nil: any.
	accepts atomic.Pointer[string]
	// before sees each request to the receiver.
	before func(r *http.Request)
}

func newOAuth(t *testing.T, token http.HandlerFunc) *oauth {
	o := &oauth{}
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) { o.fetched.Add(1); token(w, r) })
	mux.HandleFunc("/hook", func(w http.ResponseWriter, r *http.Request) {
		if o.before != nil {
			o.before(r)
		}
		if accepts := o.accepts.Load(); accepts != nil && r.Header.Get("Authorization") != "Bearer "+*accepts {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "not "+r.Header.Get("Authorization"))
		}
	})
	o.site = newSite(t, mux.ServeHTTP, func(s *httptest.Server) { s.Config.ErrorLog = log.New(io.Discard, "", 0) })
	return o
}

func (o *oauth) endpoint() *endpoint {
	return o.site.endpoint(webhook.OAuth2{TokenURL: o.server.URL + "/token", ClientID: "tollgate", ClientSecret: "s3cret"})
}

func (o *oauth) hooks() (n int) {
	for _, r := range o.requests() {
		if r.URL.Path == "/hook" {
			n++
		}
	}
	return n
}

func TestSend_TokenIsKeptAndReplacedOnceItIsRefused(t *testing.T) {
	var n atomic.Int64
	o := newOAuth(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":3600}`, n.Add(1))
	})
	e := o.endpoint()
	accept := func(token string) { o.accepts.Store(&token) }
	accept("token-1")
	for range 3 {
		if out := o.send(t.Context(), e); out.Result != delivery.Accepted || out.RepeatedRequest {
			t.Fatalf("%+v", out)
		}
	}
	if o.fetched.Load() != 1 || o.hooks() != 3 {
		t.Errorf("%d tokens for %d requests", o.fetched.Load(), o.hooks())
	}
	accept("token-2")
	out := o.send(t.Context(), e)
	if out.Result != delivery.Accepted || !out.RepeatedRequest || o.fetched.Load() != 2 || o.hooks() != 5 {
		t.Errorf("%d tokens, %d requests, %+v", o.fetched.Load(), o.hooks(), out)
	}
	// A refusal of the new token is the result: twice is the most.
	accept("none")
	out = o.send(t.Context(), e)
	if out.Status != 401 || !out.RepeatedRequest || o.hooks() != 7 {
		t.Errorf("%d requests, %+v", o.hooks(), out)
	}
	if text := fmt.Sprint(out.RequestHeaders, string(out.ResponseBody)); strings.Contains(text, "token-3") {
		t.Errorf("recorded %s", text)
	}
}

// A request that was sent twice already is not sent a third time for a new token.
func TestSend_RefusalOfARepeatedRequestIsTheResult(t *testing.T) {
	var served sync.Map
	o := newOAuth(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"access_token":"token-1","expires_in":3600}`)
	})
	o.before = func(r *http.Request) {
		if _, again := served.LoadOrStore(r.RemoteAddr, true); again && o.accepts.Load() != nil {
			panic(http.ErrAbortHandler)
		}
	}
	e := o.endpoint()
	if out := o.send(t.Context(), e); out.Status != 200 {
		t.Fatalf("%+v", out)
	}
	none := "none"
	o.accepts.Store(&none)
	if out := o.send(t.Context(), e); out.Status != 401 || !out.RepeatedRequest || o.hooks() != 3 {
		t.Errorf("%d requests, %+v", o.hooks(), out)
	}
}

func TestSend_FreshTokenThatIsRefusedIsNotRepeated(t *testing.T) {
	o := newOAuth(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"access_token":"token-1"}`) })
	none := "none"
	o.accepts.Store(&none)
	if out := o.send(t.Context(), o.endpoint()); out.Status != 401 || out.RepeatedRequest || o.hooks() != 1 || o.fetched.Load() != 1 {
		t.Errorf("%d requests, %+v", o.hooks(), out)
	}
}

// Without a token nothing is sent, and the failure is the endpoint's.
func TestSend_WithoutATokenNothingIsSent(t *testing.T) {
	o := newOAuth(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"s3cret is not known"}`)
	})
	out := o.send(t.Context(), o.endpoint())
	if out.ErrorClass != "auth" || out.Result != delivery.Failed || out.Fault != delivery.FaultReceiver || o.hooks() != 0 {
		t.Errorf("%d requests, %+v", o.hooks(), out)
	}
	if !strings.Contains(out.Error, "invalid_client") || strings.Contains(out.Error, "s3cret") || len(out.RequestHeaders) != 0 {
		t.Errorf("recorded %q, %v", out.Error, out.RequestHeaders)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if out := o.send(ended, o.endpoint()); !out.Unfinished {
		t.Errorf("%+v", out)
	}
}

// The token's request takes from the attempt's time.
func TestSend_TimeoutCoversTokenAndRequest(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	o := newOAuth(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	e := o.endpoint()
	e.Timeout = 50 * time.Millisecond
	if out := o.send(t.Context(), e); out.ErrorClass != "auth" || out.Unfinished || !strings.Contains(out.Error, "timeout") {
		t.Errorf("%+v", out)
	}
}

// From the revision that changes it on, the new certificate is shown; an owner that still has the endpoint of before
// sends with the newest.
func TestSend_ClientCertificateIsThatOfTheNewestRevision(t *testing.T) {
	s := newSite(t, func(http.ResponseWriter, *http.Request) {}, func(server *httptest.Server) {
		server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	})
	made := func() (*endpoint, []byte) {
		cert, chain := selfSigned(t, nil)
		key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		e := s.endpoint(webhook.Certificate{Chain: chain, Key: webhook.Hidden(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))})
		if e.Broken != nil {
			t.Fatal(e.Broken)
		}
		return e, cert.Certificate[0]
	}
	before, first := made()
	after, second := made()
	if before.Fingerprint() == after.Fingerprint() {
		t.Error("the fingerprint is the same")
	}
	for range 2 {
		if out := s.send(t.Context(), before); out.Status != 200 {
			t.Fatalf("%+v", out)
		}
	}
	s.sender.newest = func(string) *endpoint { return after }
	s.sender.Pool.Keep(map[outbound.Key]bool{after.Identity.Key(): true})
	if out := s.send(t.Context(), before); out.Status != 200 {
		t.Fatalf("%+v", out)
	}
	for i, want := range []string{string(first), string(first), string(second)} {
		if got := s.requests()[i].TLS.PeerCertificates[0].Raw; string(got) != want {
			t.Errorf("request %d shows another certificate", i)
		}
	}
}

func TestFingerprint_CoversWhatMayTurnAFailureIntoASuccess(t *testing.T) {
	base := func() *webhook.Endpoint {
		return &webhook.Endpoint{Name: "tenants/acme/endpoints/e", URL: "https://example.com/", Timeout: time.Second, Auth: webhook.OAuth2{TokenURL: "https://example.com/t"}}
	}
	print := func(change func(*webhook.Endpoint)) uint64 {
		e := base()
		change(e)
		return prepare(e, &configclient.Tenant{}, nil).Fingerprint()
	}
	seen := map[uint64]string{print(func(*webhook.Endpoint) {}): "the base"}
	for name, change := range map[string]func(*webhook.Endpoint){
		"URL":          func(e *webhook.Endpoint) { e.URL += "x" },
		"timeout":      func(e *webhook.Endpoint) { e.Timeout++ },
		"connect":      func(e *webhook.Endpoint) { e.Phases.Connect = 1 },
		"handshake":    func(e *webhook.Endpoint) { e.Phases.TLS = 1 },
		"response":     func(e *webhook.Endpoint) { e.Phases.Response = 1 },
		"secret":       func(e *webhook.Endpoint) { e.Secrets = []webhook.Secret{[]byte("x")} },
		"header":       func(e *webhook.Endpoint) { e.Headers = []webhook.Header{{Name: "a", Value: "b"}} },
		"no auth":      func(e *webhook.Endpoint) { e.Auth = nil },
		"basic":        func(e *webhook.Endpoint) { e.Auth = webhook.Basic{Username: "a", Password: "b"} },
		"another user": func(e *webhook.Endpoint) { e.Auth = webhook.Basic{Username: "ab"} },
		"bearer":       func(e *webhook.Endpoint) { e.Auth = webhook.Bearer{Token: "a"} },
		"key":          func(e *webhook.Endpoint) { e.Auth = webhook.Key{Header: "a", Value: "b"} },
		"token URL":    func(e *webhook.Endpoint) { e.Auth = webhook.OAuth2{TokenURL: "https://example.com/u"} },
		"client":       func(e *webhook.Endpoint) { e.Auth = webhook.OAuth2{TokenURL: "https://example.com/t", ClientID: "a"} },
		"client's secret": func(e *webhook.Endpoint) {
			e.Auth = webhook.OAuth2{TokenURL: "https://example.com/t", ClientSecret: "a"}
		},
		"scopes": func(e *webhook.Endpoint) {
			e.Auth = webhook.OAuth2{TokenURL: "https://example.com/t", Scopes: []string{"a"}}
		},
		"audience":          func(e *webhook.Endpoint) { e.Auth = webhook.OAuth2{TokenURL: "https://example.com/t", Audience: "a"} },
		"in the body":       func(e *webhook.Endpoint) { e.Auth = webhook.OAuth2{TokenURL: "https://example.com/t", InBody: true} },
		"the certificate":   func(e *webhook.Endpoint) { e.Auth = webhook.Certificate{Chain: "a"} },
		"certificate's key": func(e *webhook.Endpoint) { e.Auth = webhook.Certificate{Chain: "a", Key: "b"} },
	} {
		p := print(change)
		if other, known := seen[p]; known {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[p] = name
	}
}

// Past 1 MiB within a second only the first KiB of a failure's body is kept.
func TestSend_KeepsLessOnceResponsesFillASecond(t *testing.T) {
	s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(make([]byte, 64<<10))
	})
	now := time.Unix(1_800_000_000, 0)
	s.sender.clock = func() time.Time { return now }
	e := s.endpoint(nil)
	for i := range 20 {
		out := s.send(t.Context(), e)
		want, cut := 64<<10, false
		if i >= 16 {
			want, cut = 1<<10, true
		}
		if len(out.ResponseBody) != want || out.ResponseBodyTruncated != cut {
			t.Errorf("response %d: %d bytes, truncated %v", i, len(out.ResponseBody), out.ResponseBodyTruncated)
		}
	}
	now = now.Add(time.Second)
	if out := s.send(t.Context(), e); len(out.ResponseBody) != 64<<10 {
		t.Errorf("a second later: %d bytes", len(out.ResponseBody))
	}
}

// A request that a waiting connection lost is sent once more, and the attempt has it.
func TestSend_RecordsThatARequestWasSentTwice(t *testing.T) {
	var served sync.Map
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if _, again := served.LoadOrStore(r.RemoteAddr, true); again {
			panic(http.ErrAbortHandler)
		}
	}, func(server *httptest.Server) { server.Config.ErrorLog = log.New(io.Discard, "", 0) })
	e := s.endpoint(nil)
	if out := s.send(t.Context(), e); out.RepeatedRequest || out.Status != 200 {
		t.Fatalf("%+v", out)
	}
	if out := s.send(t.Context(), e); !out.RepeatedRequest || out.Status != 200 || len(s.requests()) != 3 {
		t.Errorf("%d requests, %+v", len(s.requests()), out)
	}
}
