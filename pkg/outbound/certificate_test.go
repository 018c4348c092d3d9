package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

func TestDo_VerifiesCertificates(t *testing.T) {
	_, stranger := receiver(t, func(http.ResponseWriter, *http.Request) {}, func(s *httptest.Server) {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	})
	tests := map[string]struct {
		change func(*httptest.Server)
		client func(*Options)
		ok     bool
	}{
		"a CA that is given":        {nil, nil, true},
		"no CA given":               {nil, func(o *Options) { o.CAs = nil }, false},
		"another CA given":          {nil, func(o *Options) { o.CAs = stranger.CAs }, false},
		"the right CA among others": {nil, func(o *Options) { o.CAs = append(stranger.CAs, o.CAs...) }, true},
		"TLS 1.1 at the most": {func(s *httptest.Server) {
			s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		}, nil, false},
		"TLS 1.2 at the most":               {func(s *httptest.Server) { s.TLS = &tls.Config{MaxVersion: tls.VersionTLS12} }, nil, true},
		"a client certificate that we lack": {func(s *httptest.Server) { s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} }, nil, false},
		"a client certificate that we lack, TLS 1.2": {
			func(s *httptest.Server) {
				s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}
			}, nil, false,
		},
		"a client certificate that we have": {
			func(s *httptest.Server) { s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} },
			func(o *Options) { cert := selfSigned(t); o.Certificate = &cert }, true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, o := receiver(t, func(http.ResponseWriter, *http.Request) {}, func(s *httptest.Server) {
				if tc.change != nil {
					tc.change(s)
				}
			})
			if tc.client != nil {
				tc.client(&o)
			}
			got := mustClient(t, o).Do(t.Context(), Request{URL: mustURL(t, s.URL)})
			// In TLS 1.3 the server decides after our handshake: what it closes on our request may overtake its alert.
			lost := name == "a client certificate that we lack" && got.Class == ClassReset
			if tc.ok && got.Status != 200 || !tc.ok && got.Class != ClassTLS && !lost {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestDo_TrustsGivenCAsAndTheSystems(t *testing.T) {
	_, o := receiver(t, func(http.ResponseWriter, *http.Request) {})
	got, err := roots(o.CAs)
	if err != nil {
		t.Fatal(err)
	}
	want, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	want.AppendCertsFromPEM(o.CAs)
	if !got.Equal(want) {
		t.Error("the system's roots are lost")
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	bad := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	for text, faults := range map[string]int{
		"": 0, " \n": 0, string(o.CAs): 0, "hello": 1, key: 1, bad: 1, key + string(o.CAs) + bad: 2, string(o.CAs) + "tail": 1,
	} {
		err := CheckCAs([]byte(text))
		if n := len(fault.ViolationsOf(err)); n != faults || (err == nil) != (faults == 0) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := NewClient(Options{CAs: []byte(bad)}); fault.ReasonOf(err) != ReasonCAInvalid {
		t.Errorf("a client with bad CAs: %v", err)
	}
}

// A self-signed certificate for an unused name.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	return newCertificate(t, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
}
