package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// ownCertificate writes a certificate that is its own authority, for the names given; it returns the files.
func ownCertificate(t *testing.T, names []string, addresses ...net.IP) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names, IPAddresses: addresses,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func TestHealthy_AsksTheProcessBehindTheListener(t *testing.T) {
	byName, keyByName := ownCertificate(t, []string{"*.tollgate.example"})
	byAddress, keyByAddress := ownCertificate(t, nil, net.IPv4(10, 0, 0, 9))
	other, keyOfOther := ownCertificate(t, []string{"other.example"})
	tests := map[string]struct {
		serves, asks Admin
		failing      error
		want         string // "" where the process is ready
	}{
		"a ready process":                              {},
		"one that is not ready":                        {failing: errors.New("no broker answers"), want: "kafka: no broker answers"},
		"with a certificate of a name":                 {serves: Admin{CertificateFile: byName, CertificateKeyFile: keyByName}},
		"with a certificate of an address":             {serves: Admin{CertificateFile: byAddress, CertificateKeyFile: keyByAddress}},
		"with a certificate that clients need too":     {serves: Admin{CertificateFile: byName, CertificateKeyFile: keyByName, ClientCAFile: byName}},
		"another process at the address":               {serves: Admin{CertificateFile: other, CertificateKeyFile: keyOfOther}, asks: Admin{CertificateFile: byName, CertificateKeyFile: keyByName}, want: "does not answer"},
		"a process without the certificate, in clear":  {asks: Admin{CertificateFile: byName, CertificateKeyFile: keyByName}, want: "does not answer"},
		"a certificate that is not there":              {asks: Admin{CertificateFile: "none.crt", CertificateKeyFile: "none.key"}, want: "no such file"},
		"a port that the process was free to choose":   {asks: Admin{Listen: "127.0.0.1:0"}, want: "port 0"},
		"nobody listens":                               {asks: Admin{Listen: "127.0.0.1:1"}, want: "does not answer"},
		"a listener on all addresses, asked by itself": {serves: Admin{Listen: "0.0.0.0:0"}, asks: Admin{Listen: "0.0.0.0:"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			env := NewEnv("test", zap.NewNop())
			if tc.serves.Listen == "" {
				tc.serves.Listen = "127.0.0.1:0"
			}
			a, err := startAdmin(t.Context(), Config{Admin: tc.serves}, env)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = a.close() }()
			env.Health.Set("kafka", tc.failing)
			asks := tc.serves
			if tc.asks != (Admin{}) {
				asks = tc.asks
			}
			if strings.HasSuffix(asks.Listen, ":") || tc.asks.Listen == "" {
				address, err := env.Listeners.Wait(t.Context(), "admin")
				if err != nil {
					t.Fatal(err)
				}
				_, port, _ := net.SplitHostPort(address)
				host, _, _ := net.SplitHostPort(tc.serves.Listen)
				asks.Listen = net.JoinHostPort(host, port)
			}
			err = askReady(t.Context(), asks)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("not ready: %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%v does not have %q", err, tc.want)
			}
		})
	}
}
