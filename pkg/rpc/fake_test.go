package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "tg_0123456789abcdef"

// tenants is a service whose behaviour depends on the name of the tenant.
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
	inventory inventory
	server    *Server
	service   *tenants
	address   string
	log       *buffer
	env       daemon.Env
	stop      func()
	ended     chan error
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
	optionsv1.RegisterOptionInventoryServiceServer(r.server, &r.inventory)
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
