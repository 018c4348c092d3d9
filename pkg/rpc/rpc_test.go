package rpc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "tg_0123456789abcdef"

// tenants is a service that does what the name of the tenant asks for.
type tenants struct {
	configv1.UnimplementedTenantServiceServer
	configv1.UnimplementedConfigWatchServiceServer
	held chan struct{}
	free chan struct{}
}

func (s *tenants) GetTenant(ctx context.Context, req *configv1.GetTenantRequest) (*configv1.Tenant, error) {
	switch req.GetName() {
	case "tenants/panic":
		panic("key tg_secret at 10.0.0.1")
	case "tenants/internal":
		return nil, fmt.Errorf("dial sqlite at /var/lib: %w", io.ErrUnexpectedEOF)
	case "tenants/invalid":
		return nil, fault.NewInvalid("CONFIG_INVALID", fault.Violation{Field: "a", Description: "b"}, fault.Violation{Field: "c", Description: "d"})
	case "tenants/caller":
		return &configv1.Tenant{Name: Caller(ctx)}, nil
	case "tenants/nobody":
		return nil, fault.New(fault.NotFound, "SUBSCRIBER_NOT_FOUND", "no tenants/a/subscribers/447700900012")
	case "tenants/refused":
		return nil, fault.NewInvalid("REQUEST_INVALID", fault.Violation{Field: "name", Description: "not \u202e447700900012"})
	case "tenants/who":
		if FromService(ctx) {
			return &configv1.Tenant{Name: "tenants/service"}, nil
		}
		return &configv1.Tenant{Name: "tenants/other"}, nil
	case "tenants/deadline":
		if _, ok := ctx.Deadline(); !ok {
			return nil, errors.New("no deadline")
		}
	case "tenants/held":
		s.held <- struct{}{}
		<-s.free
	}
	return &configv1.Tenant{Name: req.GetName()}, nil
}

func (s *tenants) Watch(_ *configv1.WatchRequest, stream grpc.ServerStreamingServer[configv1.WatchResponse]) error {
	if err := stream.Send(&configv1.WatchResponse{Revision: 7}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

type running struct {
	server  *Server
	service *tenants
	address string
	log     *buffer
	env     daemon.Env
	stop    func()
	ended   chan error
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func serve(t *testing.T, change func(*Config, *daemon.Env)) *running {
	t.Helper()
	r := &running{
		service: &tenants{held: make(chan struct{}), free: make(chan struct{})}, log: &buffer{}, ended: make(chan error, 1),
	}
	log, err := daemon.NewLogger("config", zapcore.DebugLevel.String(), r.log)
	if err != nil {
		t.Fatal(err)
	}
	r.env = daemon.NewEnv("config", log)
	cfg := DefaultConfig("127.0.0.1:0")
	cfg.KeyHashes = []string{HashKey("another"), HashKey(testKey)}
	if change != nil {
		change(&cfg, &r.env)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	r.server, err = NewServer(cfg, r.env)
	if err != nil {
		t.Fatal(err)
	}
	configv1.RegisterTenantServiceServer(r.server, r.service)
	configv1.RegisterConfigWatchServiceServer(r.server, r.service)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.ended <- r.server.Serve(ctx) }()
	r.address, err = r.env.Listeners.Wait(ctx, "grpc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err, open := <-r.ended; open && err != nil {
			t.Error(err)
		}
	})
	return r
}

func dial(t *testing.T, address, key string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := Dial(address, key, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestOnlyHealthAndReflectionAnswerWithoutAKey(t *testing.T) {
	r := serve(t, nil)
	ctx := t.Context()
	for name, tc := range map[string]struct{ key, reason string }{
		"no key":          {"", "API_KEY_MISSING"},
		"an unknown key":  {"tg_other", "API_KEY_UNKNOWN"},
		"the key's hash":  {HashKey(testKey), "API_KEY_UNKNOWN"},
		"part of the key": {testKey[:10], "API_KEY_UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, r.address, tc.key)
			_, err := configv1.NewTenantServiceClient(conn).GetTenant(ctx, &configv1.GetTenantRequest{Name: "tenants/a"})
			if fault.KindOf(err) != fault.Unauthenticated || fault.ReasonOf(err) != tc.reason {
				t.Errorf("unary: %v", err)
			}
			stream, err := configv1.NewConfigWatchServiceClient(conn).Watch(ctx, &configv1.WatchRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if fault.KindOf(err) != fault.Unauthenticated || fault.ReasonOf(err) != tc.reason {
				t.Errorf("stream: %v", err)
			}
			if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
				t.Errorf("health: %v", err)
			}
			info, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := info.Send(&grpc_reflection_v1.ServerReflectionRequest{
				MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
			}); err != nil {
				t.Fatal(err)
			}
			if res, err := info.Recv(); err != nil || len(res.GetListServicesResponse().GetService()) < 4 {
				t.Errorf("reflection: %v %v", res, err)
			}
			if err := info.CloseSend(); err != nil {
				t.Error(err)
			}
			if _, err := info.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("the end of a stream became %v", err)
			}
		})
	}
	client := configv1.NewTenantServiceClient(dial(t, r.address, testKey))
	res, err := client.GetTenant(ctx, &configv1.GetTenantRequest{Name: "tenants/caller"})
	if err != nil || res.GetName() != HashKey(testKey)[:8] {
		t.Errorf("the right key: caller %q, %v", res.GetName(), err)
	}
}

func TestAServerWithoutKeysRefusesEverybody(t *testing.T) {
	r := serve(t, func(c *Config, _ *daemon.Env) { c.KeyHashes = nil })
	for _, key := range []string{"x", testKey} {
		_, err := configv1.NewTenantServiceClient(dial(t, r.address, key)).GetTenant(t.Context(), &configv1.GetTenantRequest{})
		if fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%q: %v", key, err)
		}
	}
	if !strings.Contains(r.log.String(), "no API key is accepted") {
		t.Error("nothing warns")
	}
}

func TestErrorsOnTheWireTellOnlyFaults(t *testing.T) {
	r := serve(t, nil)
	client := configv1.NewTenantServiceClient(dial(t, r.address, testKey))
	call := func(name string) error {
		_, err := client.GetTenant(t.Context(), &configv1.GetTenantRequest{Name: name})
		return err
	}
	err := call("tenants/invalid")
	want := []fault.Violation{{Field: "a", Description: "b"}, {Field: "c", Description: "d"}}
	if diff := cmp.Diff(want, fault.ViolationsOf(err)); diff != "" || status.Code(err) != codes.InvalidArgument {
		t.Errorf("%v %s", err, diff)
	}
	for _, name := range []string{"tenants/panic", "tenants/internal"} {
		st := status.Convert(call(name))
		if st.Code() != codes.Internal || st.Message() != "internal error" || len(st.Details()) != 0 {
			t.Errorf("%s tells %v %q %v", name, st.Code(), st.Message(), st.Details())
		}
	}
	log := r.log.String()
	for _, w := range []string{
		`"level":"error","time"`, "panic: key tg_secret", "rpc_test.go", // the stack
		"dial sqlite at /var/lib", `"reason":"CONFIG_INVALID"`, `"method":"/tollgate.config.v1.TenantService/GetTenant"`,
		`"caller":"` + HashKey(testKey)[:8] + `"`,
	} {
		if !strings.Contains(log, w) {
			t.Errorf("the log does not say %s:\n%s", w, log)
		}
	}
	if n := strings.Count(log, `"call failed"`); n != 3 {
		t.Errorf("%d lines for 3 failed calls", n)
	}
	if err := call("tenants/ok"); err != nil {
		t.Errorf("after a panic: %v", err)
	}
	families, err := r.env.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]uint64{}
	for _, f := range families {
		if f.GetName() == "tollgate_config_rpc_seconds" {
			for _, m := range f.GetMetric() {
				counted[m.GetLabel()[0].GetValue()] += m.GetHistogram().GetSampleCount()
			}
		}
		if f.GetName() == "tollgate_config_rpc_panics_total" {
			counted["panics"] = uint64(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	if diff := cmp.Diff(map[string]uint64{"OK": 1, "Internal": 2, "InvalidArgument": 1, "panics": 1}, counted); diff != "" {
		t.Error(diff)
	}
}

func TestCallsAreBounded(t *testing.T) {
	r := serve(t, func(c *Config, _ *daemon.Env) { c.MaxMessageBytes = 2048 })
	client := configv1.NewTenantServiceClient(dial(t, r.address, testKey))
	_, err := client.GetTenant(t.Context(), &configv1.GetTenantRequest{Name: strings.Repeat("x", 4096)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message over the limit: %v", err)
	}
	if _, err := client.GetTenant(t.Context(), &configv1.GetTenantRequest{Name: "tenants/deadline"}); err != nil {
		t.Errorf("a call without a deadline got none: %v", err)
	}
}

func TestAStopFinishesCallsAndEndsStreams(t *testing.T) {
	r := serve(t, nil)
	conn := dial(t, r.address, testKey)
	stream, err := configv1.NewConfigWatchServiceClient(conn).Watch(t.Context(), &configv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := stream.Recv(); err != nil || res.GetRevision() != 7 {
		t.Fatalf("%v %v", res, err)
	}
	unary := make(chan error, 1)
	go func() {
		_, err := configv1.NewTenantServiceClient(conn).GetTenant(context.Background(), &configv1.GetTenantRequest{Name: "tenants/held"})
		unary <- err
	}()
	<-r.service.held
	r.stop()
	<-r.server.Stopping()
	if _, err := stream.Recv(); fault.KindOf(err) != fault.Unavailable || fault.ReasonOf(err) != "STOPPING" {
		t.Errorf("the stream ended with %v", err)
	}
	select {
	case err := <-r.ended:
		t.Fatalf("stopped with a call under way: %v", err)
	default:
	}
	close(r.service.free)
	if err := <-unary; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	close(r.ended)
}

func TestAStopThatLastsTooLongSaysSo(t *testing.T) {
	r := serve(t, func(_ *Config, e *daemon.Env) { e.ShutdownTimeout = time.Millisecond })
	unary := make(chan error, 1)
	client := configv1.NewTenantServiceClient(dial(t, r.address, testKey))
	go func() {
		_, err := client.GetTenant(context.Background(), &configv1.GetTenantRequest{Name: "tenants/held"})
		unary <- err
	}()
	<-r.service.held
	r.stop()
	if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "under way") {
		t.Error(err)
	}
	close(r.ended)
	if err := <-unary; fault.KindOf(err) != fault.Unavailable {
		t.Errorf("the call that was cut: %v", err)
	}
	close(r.service.free)
}

func TestACertificateMakesTheListenerTLS(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, certificate, key)
	r := serve(t, func(c *Config, _ *daemon.Env) { c.CertificateFile, c.CertificateKeyFile = certificate, key })
	trusting, err := TLS(certificate)
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
	system, err := TLS("")
	if err != nil {
		t.Fatal(err)
	}
	if err := call(system); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("trusting only the system's roots: %v", err)
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

func TestHealthFollowsTheChecks(t *testing.T) {
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

func TestKeysComeFromAFileAndAList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hashes")
	content := "# who may call\n\n" + HashKey("one") + "\n  " + strings.ToUpper(HashKey("two")) + "  \n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeys([]string{HashKey("three")}, path)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"one": true, "two": true, "three": true, "four": false, "": false} {
		if keys.Check(key) != want {
			t.Errorf("%q: %v", key, !want)
		}
	}
	for header, want := range map[string]bool{
		"Bearer one": true, "bearer two": true, "Bearer  three": true, "Bearer": false, "Bearer ": false, "one": false,
		"Basic one": false, "": false, "Bearer one two": false,
	} {
		if _, err := keys.Authenticate(header); (err == nil) != want {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func TestAKeyInPlaceOfItsHashIsNotRepeated(t *testing.T) {
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

func TestConfigNamesEveryFault(t *testing.T) {
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
