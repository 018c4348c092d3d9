package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/certificate"
)

// pair writes a certificate and its key.
func pair(t *testing.T, files certificate.Files) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{files.Certificate: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What can't be read again is in /readyz, in the log and in the metric; the service stays ready, and it ends with files that fit.
func TestWatchCertificates_NotesLogsAndCountsWhatCanNotBeReadAgain(t *testing.T) {
	dir := t.TempDir()
	files := certificate.Files{Certificate: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	out := &buffer{}
	log, err := NewLogger("trigger", "info", out)
	if err != nil {
		t.Fatal(err)
	}
	env := NewEnv("trigger", log)
	if err := env.Health.WatchCertificates("grpc", files); err == nil || !strings.Contains(err.Error(), "grpc") {
		t.Errorf("files that are not there: %v", err)
	}
	if err := env.Health.WatchCertificates("grpc", certificate.Files{}); err != nil {
		t.Errorf("plain text: %v", err)
	}
	pair(t, files)
	if err := env.Health.WatchCertificates("grpc", files); err != nil {
		t.Fatal(err)
	}
	env.Health.Set("start", nil)
	p := startProbes(env)
	p.stop()
	p.ask()
	if n := len(env.Health.Noted()); n != 0 {
		t.Fatalf("%d incidents at the start", n)
	}
	if err := os.WriteFile(files.Key, []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.ask()
	p.ask()
	noted := env.Health.Noted()
	if len(noted) != 1 || noted[0].Code != incidentCertificate || noted[0].Resource != "grpc" || !strings.Contains(noted[0].Detail, files.Key) {
		t.Fatalf("noted: %v", noted)
	}
	if len(env.Health.Failing()) != 0 {
		t.Errorf("not ready: %v", env.Health.Failing())
	}
	if n := value(t, p.incidents.WithLabelValues(incidentCertificate)); n != 1 || strings.Count(out.String(), filepath.Base(files.Key)) != 1 {
		t.Errorf("counted %v, logged %s", n, out)
	}
	pair(t, files)
	p.ask()
	if noted := env.Health.Noted(); len(noted) != 0 {
		t.Errorf("with files that fit: %v", noted)
	}
}
