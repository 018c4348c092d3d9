package outbound

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newCertificate(t *testing.T, from time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nobody"}, NotBefore: from, NotAfter: from.AddDate(100, 0, 0),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"nobody.example"},
	}, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nobody"}}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// inMemory dials servers that run in the bubble of a test, so that its clock holds for them. Without a server it is a
// host that swallows packets.
type inMemory struct {
	serve   func(net.Conn)
	serving sync.WaitGroup
}

func (m *inMemory) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	if m.serve == nil {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}
	client, server := net.Pipe()
	m.serving.Go(func() {
		defer server.Close()
		m.serve(server)
	})
	return client, nil
}

// dialerOn is the dialer of a client, on another network.
func dialerOn(o Options, network contextDialer) *Dialer {
	d := newDialer(o)
	d.direct = network
	return d
}

func TestDo_KeepsDeadlines(t *testing.T) {
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	dripping := func(status string) func(net.Conn) {
		return func(c net.Conn) {
			readRequest(c)
			go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
			if _, err := io.WriteString(c, "HTTP/1.1 "+status+"\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
				return
			}
			for wait := 700 * time.Millisecond; ; wait = time.Second {
				time.Sleep(wait)
				if _, err := io.WriteString(c, "1\r\nx\r\n"); err != nil {
					return
				}
			}
		}
	}
	tests := map[string]struct {
		server  func(net.Conn)
		scheme  string
		options Options
		timeout time.Duration
		after   time.Duration
		class   Class
		status  int
		body    int
		phase   func(Phases) time.Duration
	}{
		"a connection that does not come takes its 5 s": {
			nil, "http", Options{}, 0, 5 * time.Second, ClassTimeout, 0, 0, func(p Phases) time.Duration { return p.Total },
		},
		"a handshake that does not end takes its 5 s": {
			silent, "https", Options{}, 0, 5 * time.Second, ClassTimeout, 0, 0, func(p Phases) time.Duration { return p.TLS },
		},
		"an answer that does not come takes the total": {
			silent, "http", Options{}, 0, 15 * time.Second, ClassTimeout, 0, 0, func(p Phases) time.Duration { return p.Wait },
		},
		"the request's own deadline goes before": {
			silent, "http", Options{}, 40 * time.Second, 40 * time.Second, ClassTimeout, 0, 0, func(p Phases) time.Duration { return p.Wait },
		},
		"the body of a success that drips ends with the deadline": {
			dripping("200 OK"), "http", Options{}, 0, 15 * time.Second, ClassNone, 200, 15, func(p Phases) time.Duration { return p.Read },
		},
		"the body of a failure that drips ends with the deadline": {
			dripping("500 Oh"), "http", Options{TotalTimeout: 7500 * time.Millisecond}, 0, 7500 * time.Millisecond, ClassNone, 500, 7,
			func(p Phases) time.Duration { return p.Read },
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := tc.options.withDefaults()
				o.Policy.PlainHTTP = true
				network := &inMemory{serve: tc.server}
				c, err := newClient(o, dialerOn(o, network))
				if err != nil {
					t.Fatal(err)
				}
				defer network.serving.Wait()
				defer c.Close()
				began := time.Now()
				got := c.Do(t.Context(), Request{URL: mustURL(t, tc.scheme+"://example.com/"), Timeout: tc.timeout})
				if took := time.Since(began); took != tc.after {
					t.Errorf("took %s, want %s", took, tc.after)
				}
				if got.Class != tc.class || got.Status != tc.status || len(got.Body) != tc.body || got.BodyTruncated != (tc.status != 0) {
					t.Errorf("class %q, status %d, %d bytes, truncated %v: %v", got.Class, got.Status, len(got.Body), got.BodyTruncated, got.Err)
				}
				if phase := tc.phase(got.Phases); phase < tc.after-time.Millisecond {
					t.Errorf("the phase took %s of %s: %+v", phase, tc.after, got.Phases)
				}
			})
		})
	}
}

func TestDo_BoundsEachPhase(t *testing.T) {
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	const short = 700 * time.Millisecond
	for name, tc := range map[string]struct {
		server  func(net.Conn)
		scheme  string
		request Request
		phase   func(Phases) time.Duration
	}{
		"a connection that does not come": {nil, "http", Request{ConnectTimeout: short}, func(p Phases) time.Duration { return p.Total }},
		"a handshake that does not end":   {silent, "https", Request{TLSTimeout: short}, func(p Phases) time.Duration { return p.TLS }},
		"a response that does not begin":  {silent, "http", Request{ResponseTimeout: short}, func(p Phases) time.Duration { return p.Wait }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{}.withDefaults()
				o.Policy.PlainHTTP = true
				network := &inMemory{serve: tc.server}
				c, err := newClient(o, dialerOn(o, network))
				if err != nil {
					t.Fatal(err)
				}
				defer network.serving.Wait()
				defer c.Close()
				began := time.Now()
				tc.request.URL = mustURL(t, tc.scheme+"://example.com/")
				got := c.Do(t.Context(), tc.request)
				if took := time.Since(began); took != short || got.Class != ClassTimeout || tc.phase(got.Phases) < short-time.Millisecond {
					t.Errorf("took %s, class %q, %+v: %v", took, got.Class, got.Phases, got.Err)
				}
			})
		})
	}
}

// The bound of the response's first byte is not one of its rest.
func TestDo_ResponseThatBegunMayTakeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{}.withDefaults()
		o.Policy.PlainHTTP = true
		network := &inMemory{serve: func(c net.Conn) {
			readRequest(c)
			for _, part := range []string{"HTTP/1.1 200 OK\r\n", "Content-Length: 2\r\n\r\n", "a", "b"} {
				time.Sleep(600 * time.Millisecond)
				_, _ = io.WriteString(c, part)
			}
		}}
		c, err := newClient(o, dialerOn(o, network))
		if err != nil {
			t.Fatal(err)
		}
		defer network.serving.Wait()
		defer c.Close()
		got := c.Do(t.Context(), Request{URL: mustURL(t, "http://example.com/"), ResponseTimeout: 700 * time.Millisecond})
		if string(got.Body) != "ab" || got.BodyTruncated {
			t.Errorf("%+v", got)
		}
	})
}

func TestDo_DialerHasItsOwnDeadline(t *testing.T) {
	if o := (Options{}).withDefaults(); o.DialTimeout != 5*time.Second || o.TotalTimeout != 15*time.Second {
		t.Errorf("%+v", o)
	}
}
