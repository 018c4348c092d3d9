package webhook

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/pause"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// selfSigned is a certificate for 127.0.0.1, and its PEM; change may spoil it.
func selfSigned(t *testing.T, change func(*x509.Certificate)) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if change != nil {
		change(template)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

// newRawReceiver is a receiver whose connections serve answers, after the handshake. It reads the request first.
func newRawReceiver(t *testing.T, id string, certificate tls.Certificate, ca string, serve func(conn net.Conn)) *receiving {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer raw.Close()
				conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{certificate}})
				if conn.HandshakeContext(t.Context()) != nil {
					return
				}
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				serve(conn)
				_ = conn.Close()
			})
		}
	})
	to := netip.MustParseAddrPort(listener.Addr().String())
	return &receiving{
		name: "tenants/acme/endpoints/" + id, url: "https://" + to.String(), ca: ca, port: uint32(to.Port()),
		secret: webhook.NewSecret([]byte("thirty-two bytes of a secret key")),
	}
}

// Each receiver misbehaves in another way. Its delivery is an attempt that names it, it is tried again, and the
// neighbour is disturbed by none.
func TestRun_MisbehavingReceiversAreAttemptsWithTheirClass(t *testing.T) {
	write := func(texts ...string) func(net.Conn) {
		return func(conn net.Conn) {
			for _, text := range texts {
				_, _ = io.WriteString(conn, text)
			}
		}
	}
	forever := func(first, again string) func(net.Conn) {
		return func(conn net.Conn) {
			_, err := io.WriteString(conn, first)
			for err == nil {
				_, err = io.WriteString(conn, again)
			}
		}
	}
	const header = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n"
	misbehaving := map[string]struct {
		serve  func(net.Conn)
		spoil  func(*x509.Certificate)
		hideCA bool
		class  string
		status int32
		text   string // a part of the error
	}{
		"endless-headers":    {serve: forever("HTTP/1.1 200 OK\r\n", "A: "+strings.Repeat("x", 1000)+"\r\n"), class: "protocol"},
		"endless-body":       {serve: forever("HTTP/1.1 500 Oh\r\n\r\n", strings.Repeat("x", 1000)), status: 500},
		"flood-of-1xx":       {serve: forever("", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"), class: "protocol"},
		"invalid-http":       {serve: write("220 mail.example.com ESMTP\r\n"), class: "protocol"},
		"invalid-header":     {serve: write("HTTP/1.1 200 OK\r\nA b\r\n\r\n"), class: "protocol"},
		"two-lengths":        {serve: write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), class: "protocol"},
		"status-000":         {serve: write("HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n"), class: "protocol", text: "000"},
		"status-999":         {serve: write("HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n"), class: "protocol", text: "999"},
		"closes":             {serve: write(), class: "reset"},
		"half-a-header":      {serve: write("HTTP/1.1 200 OK\r\nContent-Le"), class: "reset"},
		"half-a-body":        {serve: write("HTTP/1.1 500 Oh\r\nContent-Length: 10\r\n\r\nhalf"), status: 500},
		"expired":            {spoil: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }, class: "tls", text: "expired"},
		"not-yet-valid":      {spoil: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, class: "tls", text: "not yet valid"},
		"wrong-host":         {spoil: func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} }, class: "tls", text: "127.0.0.1"},
		"unknown-authority":  {hideCA: true, class: "tls", text: "unknown authority"},
		"retry-in-a-year":    {serve: write(header + "Retry-After: 31536000\r\n\r\n"), status: 503},
		"retry-at-nonsense":  {serve: write(header + "Retry-After: the day after\r\n\r\n"), status: 503},
		"retry-of-30-digits": {serve: write(header + "Retry-After: " + strings.Repeat("9", 30) + "\r\n\r\n"), status: 503},
		"switches":           {serve: write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), status: 101},
	}
	onServers(t, func(f *fixture) {
		neighbour := newReceiver(f.T, "neighbour")
		all := []*receiving{neighbour}
		for id, tc := range misbehaving {
			certificate, ca := selfSigned(f.T, tc.spoil)
			if tc.hideCA {
				_, ca = selfSigned(f.T, nil)
			}
			if tc.serve == nil {
				tc.serve = write("HTTP/1.1 204 No Content\r\n\r\n")
			}
			all = append(all, newRawReceiver(f.T, id, certificate, ca, tc.serve))
		}
		f.configure(all...)
		r := f.start()
		for _, bad := range all[1:] {
			f.plan(ordered(bad, "a", 1, 1)...)
		}
		f.plan(ordered(neighbour, "b", 1, 50)...)
		for i, got := range neighbour.receipts(f, 50) {
			if got.verified != nil || got.body != `{"n":`+strconv.Itoa(i+1)+`}` {
				t.Errorf("the neighbour's receipt %d: %+v", i, got)
			}
		}
		first := map[string]*deliveryv1.Attempt{}
		f.attempts(func(all []*deliveryv1.Attempt) bool {
			delivered := 0
			for _, a := range all {
				_, id, _ := strings.Cut(a.GetEndpoint(), "/endpoints/")
				switch {
				case id != "neighbour" && a.GetNumber() == 1:
					first[id] = a
				case id == "neighbour" && a.GetSettlement() == deliveryv1.Settlement_SETTLEMENT_DELIVERED:
					delivered++
				case id == "neighbour":
					t.Errorf("the neighbour's attempt: %v", a)
				}
			}
			return len(first) == len(misbehaving) && delivered == 50
		})
		for id, tc := range misbehaving {
			a := first[id]
			if a.GetErrorClass() != tc.class || a.GetStatus() != tc.status || !strings.Contains(a.GetError(), tc.text) ||
				a.GetNextAttempt() == nil || a.GetSettlement() != 0 || a.GetRepeatedRequest() {
				t.Errorf("%s: %v", id, a)
			}
			if len(a.GetResponseBody()) > 64<<10 || len(a.GetError()) > 1<<10 {
				t.Errorf("%s: %d bytes of a body, %d of an error", id, len(a.GetResponseBody()), len(a.GetError()))
			}
			if hold := a.GetRetryAfter(); hold != nil && hold.AsTime().Sub(a.GetStarted().AsTime()) > time.Hour+time.Minute {
				t.Errorf("%s: held until %s", id, hold.AsTime())
			}
		}
		for failing := r.env.Health.Failing(); len(failing) > 0; failing = r.env.Health.Failing() {
			if !pause.For(f.ctx, 5*time.Millisecond) {
				t.Fatalf("health has %v", failing)
			}
		}
	})
}
