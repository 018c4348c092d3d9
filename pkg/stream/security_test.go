package stream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// certificate makes one for loopback, good for itself only, and the files that hold it and its key.
func certificate(t *testing.T) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Unix(0, 0),
		NotAfter:    time.Unix(1<<33, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile = file(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	keyFile = file(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	if pair, err = tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	return pair, certFile, keyFile
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A record goes in and comes out of a group: the pool and the group, which dials for itself, both encrypt and
// authenticate.
func TestSecurity_ConnectsWithTLSAndSASL(t *testing.T) {
	pair, certFile, keyFile := certificate(t)
	password := file(t, "password", "s3cret\n")
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			cluster := streamtest.EmbeddedCluster(t, kfake.EnableSASL(),
				kfake.Superuser(strings.ToUpper(mechanism), "tollgate", "s3cret"),
				kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}))
			open := func(change func(*stream.Config)) *stream.Client {
				cfg := stream.Config{Brokers: cluster.ListenAddrs(), Prefix: "secure", Security: stream.Security{
					TLS: true, CAFile: certFile, CertificateFile: certFile, CertificateKeyFile: keyFile,
					Mechanism: mechanism, Username: "tollgate", PasswordFile: password,
				}}
				if change != nil {
					change(&cfg)
				}
				c, err := stream.Open(cfg, zap.NewNop(), prometheus.NewRegistry())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				return c
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c := open(nil)
			if err := c.CreateTopics(ctx, []stream.TopicSpec{{Name: "log", Partitions: 1, Replication: 1}},
				true); err != nil {
				t.Fatal(err)
			}
			if err := c.NewProducer().Produce(ctx, stream.Record{Topic: c.Topic("log"),
				Value: []byte("hello")}); err != nil {
				t.Fatal(err)
			}
			consuming, stop := context.WithCancel(ctx)
			defer stop()
			var got string
			err := c.Consume(consuming, stream.GroupConfig{Name: "g", Topics: []string{"log"}},
				func(ctx context.Context, cl *stream.Claim) error {
					b, err := c.FetchFrom(ctx, cl.Topic, cl.Partition, 0, 1<<20)
					if err != nil {
						return err
					}
					got = string(b.Records[0].Value)
					stop()
					return nil
				})
			if err != nil || got != "hello" {
				t.Errorf("consumed %q, %v", got, err)
			}

			for name, change := range map[string]func(*stream.Config){
				"a wrong password":  func(c *stream.Config) { c.PasswordFile = file(t, "password", "guess") },
				"no name":           func(c *stream.Config) { c.Mechanism, c.Username, c.PasswordFile = "", "", "" },
				"other roots":       func(c *stream.Config) { _, c.CAFile, _ = certificate(t) },
				"plain text":        func(c *stream.Config) { c.Security = stream.Security{} },
				"another mechanism": func(c *stream.Config) { c.Mechanism = other(mechanism) },
				"an unknown name":   func(c *stream.Config) { c.Username = "nobody" },
			} {
				trying, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
				if n, err := open(change).Partitions(trying, "secure.log"); err == nil {
					t.Errorf("%s: saw %d partitions", name, n)
				} else if strings.Contains(err.Error(), "s3cret") {
					t.Errorf("%s: the error contains the password: %v", name, err)
				}
				cancel()
			}
		})
	}
}

func other(mechanism string) string {
	if mechanism == "scram-sha-256" {
		return "scram-sha-512"
	}
	return "scram-sha-256"
}

func TestSecurity_ListsEveryViolation(t *testing.T) {
	for name, row := range map[string]struct {
		security stream.Security
		want     []string
	}{
		"nothing is plain text":      {stream.Security{}, nil},
		"scram without TLS is taken": {stream.Security{Mechanism: "scram-sha-512", Username: "u", PasswordFile: "f"}, nil},
		"plain without TLS is not": {stream.Security{Mechanism: "plain", Username: "u", PasswordFile: "f"},
			[]string{"sasl_mechanism: plain sends the password as it is: only with tls: true"}},
		"files without TLS": {stream.Security{CAFile: "a", CertificateFile: "b"}, []string{
			"tls: must be true where ca_file or certificate_file is given",
			"certificate_file: and certificate_key_file are given both or not at all"}},
		"an unknown mechanism without a name": {stream.Security{Mechanism: "gssapi"}, []string{
			`sasl_mechanism: "gssapi" is none of plain, scram-sha-256, scram-sha-512`,
			"sasl_username: is required with sasl_mechanism", "sasl_password_file: is required with sasl_mechanism"}},
		"a name without a mechanism": {stream.Security{Username: "u"}, []string{
			"sasl_mechanism: is required where sasl_username or sasl_password_file is given: plain, scram-sha-256 or scram-sha-512"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := stream.Config{Brokers: []string{"127.0.0.1:1"}, Prefix: "p", Security: row.security}.Validate()
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	_, err := stream.Open(stream.Config{Brokers: []string{"127.0.0.1:1"}, Prefix: "p", Security: stream.Security{
		TLS: true, CAFile: file(t, "empty.pem", ""), Mechanism: "scram-sha-256", Username: "u",
		PasswordFile: file(t, "password", "\n"),
	}}, zap.NewNop(), prometheus.NewRegistry())
	if err == nil || !strings.Contains(err.Error(), "empty.pem holds no PEM certificate") ||
		!strings.Contains(err.Error(), "is empty") {
		t.Errorf("faults of files: %v", err)
	}
}
