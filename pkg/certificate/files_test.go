package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

// authority makes certificates, and is one itself.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, cert: cert, key: key, file: filepath.Join(dir, name+".pem")}
	write(t, a.file, "CERTIFICATE", der)
	return a
}

// issue writes a certificate of a serial number and its key.
func (a *authority) issue(f Files, serial int64) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	write(a.t, f.Certificate, "CERTIFICATE", der)
	write(a.t, f.Key, "PRIVATE KEY", private)
}

// writes makes each write of a file a change of it, however coarse the clock of the file system.
var writes = time.Now()

func write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	writes = writes.Add(time.Second)
	if err := os.Chtimes(path, writes, writes); err != nil {
		t.Fatal(err)
	}
}

// bed is a listener and a client by files.
type bed struct {
	t      *testing.T
	server *tls.Config
	client func() *tls.Config
}

func newBed(t *testing.T, server, client Files) bed {
	t.Helper()
	s, err := Server(server, "h2")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Client(client)
	if err != nil {
		t.Fatal(err)
	}
	return bed{t, s, c}
}

// connection is over loopback: what one side writes as it gives up must not wait for the other.
func (b bed) connection() (near, far net.Conn) {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		b.t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		b.t.Fatal(err)
	}
	return near, far
}

// handshake is the serial number that each side has shown; 0 of a client without a certificate.
func (b bed) handshake() (server, client int64, err error) {
	near, far := b.connection()
	defer near.Close()
	defer far.Close()
	answered := make(chan error, 1)
	s := tls.Server(far, b.server)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		if err != nil {
			_ = far.Close()
		}
		answered <- err
	}()
	cfg := b.client()
	cfg.ServerName, cfg.NextProtos = "127.0.0.1", []string{"h2"}
	c := tls.Client(near, cfg)
	err = c.Handshake()
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // with TLS 1.3 a client learns here that it is refused
	}
	if err != nil {
		_ = near.Close()
	}
	if err = errors.Join(err, <-answered); err != nil {
		return 0, 0, err
	}
	if p := c.ConnectionState().NegotiatedProtocol; p != "h2" {
		b.t.Errorf("the protocol is %q", p)
	}
	server = c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	if shown := s.ConnectionState().PeerCertificates; len(shown) > 0 {
		client = shown[0].SerialNumber.Int64()
	}
	return server, client, nil
}

func (b bed) wants(server, client int64) {
	b.t.Helper()
	s, c, err := b.handshake()
	if err != nil || s != server || c != client {
		b.t.Errorf("certificates %d and %d, not %d and %d: %v", s, c, server, client, err)
	}
}

func TestFiles_AreReadAgainWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	server := Files{Certificate: filepath.Join(dir, "s.pem"), Key: filepath.Join(dir, "s.key"), CA: ca.file}
	client := Files{Certificate: filepath.Join(dir, "c.pem"), Key: filepath.Join(dir, "c.key"), CA: ca.file}
	ca.issue(server, 10)
	ca.issue(client, 20)
	b := newBed(t, server, client)
	b.wants(10, 20)
	ca.issue(server, 11)
	b.wants(11, 20)
	ca.issue(client, 21)
	b.wants(11, 21)

	// One half of a pair, and then nothing at all: what was read before goes on.
	other := Files{Certificate: server.Certificate, Key: filepath.Join(dir, "unused.key")}
	ca.issue(other, 12)
	b.wants(11, 21)
	if err := os.Remove(server.Key); err != nil {
		t.Fatal(err)
	}
	b.wants(11, 21)
	ca.issue(server, 13)
	b.wants(13, 21)

	// Another authority, for both.
	second := newAuthority(t, dir, "second")
	content, err := os.ReadFile(second.file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	write(t, ca.file, block.Type, block.Bytes)
	if _, _, err := b.handshake(); err == nil {
		t.Error("a certificate of an authority that is not trusted any more is accepted")
	}
	second.issue(server, 14)
	second.issue(client, 24)
	b.wants(14, 24)
}

func TestServer_DemandsAClientsCertificate(t *testing.T) {
	dir := t.TempDir()
	ca, foreign := newAuthority(t, dir, "ca"), newAuthority(t, dir, "foreign")
	server := Files{Certificate: filepath.Join(dir, "s.pem"), Key: filepath.Join(dir, "s.key")}
	ca.issue(server, 10)
	newBed(t, server, Files{CA: ca.file}).wants(10, 0)
	demanding := server
	demanding.CA = ca.file
	if _, _, err := newBed(t, demanding, Files{CA: ca.file}).handshake(); err == nil {
		t.Error("a client without a certificate is let in")
	}
	client := Files{Certificate: filepath.Join(dir, "c.pem"), Key: filepath.Join(dir, "c.key"), CA: ca.file}
	foreign.issue(client, 20)
	if _, _, err := newBed(t, demanding, client).handshake(); err == nil {
		t.Error("a client of another authority is let in")
	}
	ca.issue(client, 21)
	newBed(t, demanding, client).wants(10, 21)
	if _, _, err := newBed(t, server, Files{CA: foreign.file}).handshake(); err == nil {
		t.Error("a server of another authority is trusted")
	}
}

func TestFiles_FaultsAreFoundAtTheStart(t *testing.T) {
	if c, err := Server(Files{}); c != nil || err != nil {
		t.Errorf("without files: %v, %v", c, err)
	}
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.pem")
	write(t, broken, "NONSENSE", []byte{1})
	for name, f := range map[string]Files{
		"absent": {Certificate: filepath.Join(dir, "x"), Key: filepath.Join(dir, "y")},
		"broken": {Certificate: broken, Key: broken}, "broken authority": {CA: broken},
	} {
		if _, err := Client(f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	var f fault.Violations
	Files{Certificate: "x", CA: "z"}.Validate(&f, "client_")
	Files{CA: "z"}.Validate(&f, "client_")
	Files{CA: "z"}.Validate(&f, "")
	if got := fault.ViolationsOf(f.Err("X")); len(got) != 2 || got[0].Field != "certificate_file" || got[1].Field != "client_ca_file" {
		t.Errorf("%v", got)
	}
}

// Whoever operates the service learns of files that can't be read again, whether or not a connection is made.
func TestWatch_ReturnsWhyFilesCanNotBeReadAgain(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	files := Files{Certificate: filepath.Join(dir, "s.pem"), Key: filepath.Join(dir, "s.key"), CA: ca.file}
	if _, err := Watch(files); err == nil {
		t.Error("files that are not there are watched")
	}
	ca.issue(files, 10)
	check, err := Watch(files)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(files.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name   string
		change func()
		names  string
	}{
		{"unchanged", func() {}, ""},
		{"one half of a pair", func() { ca.issue(Files{Certificate: files.Certificate, Key: filepath.Join(dir, "other.key")}, 11) }, files.Key},
		{"still", func() {}, files.Key},
		{"a file that is gone", func() {
			if err := os.Remove(files.Key); err != nil {
				t.Fatal(err)
			}
		}, files.Key},
		{"a pair", func() { ca.issue(files, 12) }, ""},
		{"an authority that is none", func() { write(t, files.CA, "NONSENSE", content) }, files.CA},
	} {
		step.change()
		switch err := check(); {
		case step.names == "" && err != nil:
			t.Errorf("%s: %v", step.name, err)
		case step.names != "" && (err == nil || !strings.Contains(err.Error(), step.names)):
			t.Errorf("%s: %v, want %s", step.name, err, step.names)
		}
	}
}
