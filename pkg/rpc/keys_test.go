package rpc

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

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	files "github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func TestServer_CertificateEnablesTLS(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, certificate, key)
	r := serve(t, func(c *Config, _ *daemon.Env) { c.CertificateFile, c.CertificateKeyFile = certificate, key })
	trusting, err := TLS(files.Files{CA: certificate})
	if err != nil {
		t.Fatal(err)
	}
	call := func(options ...grpc.DialOption) error {
		_, err := configv1.NewTenantServiceClient(dial(t, r.address, testKey, options...)).
			GetTenant(t.Context(), &configv1.GetTenantRequest{Name: "tenants/a"})
		return err
	}
	if err := call(trusting); err != nil {
		t.Errorf("trusting the certificate: %v", err)
	}
	if err := call(); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("in plain text: %v", err)
	}
	system, err := TLS(files.Files{})
	if err != nil {
		t.Fatal(err)
	}
	if err := call(system); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("trusting only the system's roots: %v", err)
	}
}

func TestServer_ClientCAFileDemandsACertificate(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, certificate, key)
	r := serve(t, func(c *Config, _ *daemon.Env) {
		c.CertificateFile, c.CertificateKeyFile, c.ClientCAFile = certificate, key, certificate
	})
	for own, want := range map[files.Files]bool{
		{CA: certificate}: false, {CA: certificate, Certificate: certificate, Key: key}: true,
	} {
		option, err := TLS(own)
		if err != nil {
			t.Fatal(err)
		}
		_, err = configv1.NewTenantServiceClient(dial(t, r.address, testKey, option)).
			GetTenant(t.Context(), &configv1.GetTenantRequest{Name: "tenants/a"})
		if (err == nil) != want || err != nil && fault.KindOf(err) != fault.Unavailable {
			t.Errorf("%+v: %v", own, err)
		}
	}
}

func selfSigned(t *testing.T, certificatePath, keyPath string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		certificatePath: {Type: "CERTIFICATE", Bytes: der}, keyPath: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHealth_FollowsTheChecks(t *testing.T) {
	r := serve(t, nil)
	client := grpc_health_v1.NewHealthClient(dial(t, r.address, ""))
	check := func(service string) grpc_health_v1.HealthCheckResponse_ServingStatus {
		t.Helper()
		res, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetStatus()
	}
	for _, service := range []string{"", "tollgate.config.v1.TenantService"} {
		r.env.Health.Set("sqlite", nil)
		if got := check(service); got != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q well: %v", service, got)
		}
		r.env.Health.Set("sqlite", errors.New("away"))
		if got := check(service); got != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("%q ill: %v", service, got)
		}
	}
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "x.Y"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: %v", err)
	}
}

func TestLoadKeys_ReadsFileAndList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hashes")
	content := "# who may call\n\n" + HashKey("one") + "\n  " + strings.ToUpper(HashKey("two")) + "  \n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeys([]string{HashKey("three")}, path)
	if err != nil {
		t.Fatal(err)
	}
	authorizer := NewAuthorizer(keys, &Keys{}, time.Now)
	for header, want := range map[string]bool{
		"Bearer one": true, "bearer two": true, "Bearer  three": true, "Bearer": false, "Bearer ": false, "one": false,
		"Basic one": false, "": false, "Bearer one two": false, "Bearer four": false,
	} {
		if _, _, err := authorizer.Authenticate(header); (err == nil) != want {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func TestLoadKeys_ErrorDoesNotRepeatAKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hashes")
	if err := os.WriteFile(path, []byte("tg_plain\n"+HashKey("x")+"\nalso-plain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadKeys([]string{"third-plain"}, path)
	if err == nil || strings.Contains(err.Error(), "plain") || strings.Count(err.Error(), "must be") != 3 ||
		!strings.Contains(err.Error(), path+":3") {
		t.Error(err)
	}
	c := DefaultConfig("127.0.0.1:0")
	c.KeyHashes = []string{"plain"}
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "plain") {
		t.Error(err)
	}
}

func TestConfig_NamesEveryViolation(t *testing.T) {
	c := Config{Listen: ":7010", CertificateFile: "x", MaxMessageBytes: 1, KeyHashes: []string{"x"}}
	var got []string
	for _, v := range fault.ViolationsOf(c.Validate()) {
		got = append(got, v.Field)
	}
	want := []string{"advertise", "api_key_hashes", "certificate_file", "max_message_bytes", "max_held_bytes", "call_timeout"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for listen, all := range map[string]bool{
		"0.0.0.0:1": true, "[::]:1": true, ":1": true, "127.0.0.1:1": false, "[::1]:1": false, "localhost:1": false,
	} {
		if bindsAll(listen) != all {
			t.Errorf("%s binds all: %v", listen, !all)
		}
	}
}
