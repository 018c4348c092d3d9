// Package frametest starts what the tests of a service on package frame need: a broker, a Redis, and a configuration
// service whose revisions the test saves.
package frametest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// Patience bounds every wait of a test; only failing tests reach it.
const Patience = 5 * time.Minute

// Bed is a pair of servers with a configuration service. Topics and Redis keys belong to the test.
type Bed struct {
	*testing.T
	Ctx context.Context
	// Config locates the servers. The service listens on free ports and uses the key of KeyFile.
	Config        frame.Config
	Redis         statetest.Redis
	Client        *stream.Client
	Producer      *stream.Producer
	Configuration *Configuration
}

// OnServers runs a test on the embedded broker with the Redis in memory, and on real servers where they answer.
func OnServers(t *testing.T, partitions int, test func(b *Bed)) {
	brokers, redises := streamtest.Brokers(t), statetest.Redises(t)
	for i, b := range brokers {
		if i >= len(redises) {
			t.Fatalf("%s has no Redis beside it", b.Name)
		}
		t.Run(b.Name+", "+redises[i].Name, func(t *testing.T) {
			bed := New(t, b.Addrs, redises[i])
			bed.CreateTopics(partitions)
			test(bed)
		})
	}
}

// New prepares a bed on servers that run, without topics.
func New(t *testing.T, brokers []string, server statetest.Redis) *Bed {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Patience) // t.Context() ends before the clean-up
	t.Cleanup(cancel)
	_, prefix := server.Open(t)
	cfg := frame.DefaultConfig("127.0.0.1:0", "127.0.0.1:0")
	cfg.Kafka = stream.Config{Brokers: brokers, Prefix: streamtest.NewPrefix(t)}
	cfg.Redis = server.Config(prefix)
	b := &Bed{T: t, Ctx: ctx, Config: cfg, Redis: server}
	client, err := stream.Open(cfg.Kafka, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	b.Client = client
	t.Cleanup(func() { _ = client.Close() })
	b.Producer = client.NewProducer()
	t.Cleanup(func() { _ = b.Producer.Close(ctx) })
	b.startConfiguration()
	return b
}

// CreateTopics creates every topic of the product.
func (b *Bed) CreateTopics(partitions int) {
	b.Helper()
	if err := b.Client.CreateTopics(b.Ctx, table.Topics(partitions), true); err != nil {
		b.Fatal(err)
	}
}

// Run runs a service until stop, which returns its error. The test's end stops it at the latest.
func (b *Bed) Run(name string, run func(ctx context.Context, env daemon.Env) error) (env daemon.Env, stop func() error) {
	b.Helper()
	env = daemon.NewEnv(name, zap.NewNop())
	ctx, cancel := context.WithCancel(b.Ctx)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, env) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	b.Cleanup(func() {
		if err := stop(); err != nil {
			b.Errorf("%s ended with %v", name, err)
		}
	})
	return env, stop
}

// serve serves gRPC until the test ends, for callers with Key.
func (b *Bed) serve(register func(s *rpc.Server)) (address string) {
	b.Helper()
	cfg := rpc.DefaultConfig("127.0.0.1:0")
	cfg.KeyHashes = []string{rpc.HashKey(Key)}
	cfg.ServiceKeyHashes = cfg.KeyHashes // reports of health are taken from services alone
	server, err := rpc.NewServer(cfg, daemon.NewEnv("config", zap.NewNop()))
	if err != nil {
		b.Fatal(err)
	}
	register(server)
	ctx, cancel := context.WithCancel(b.Ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return server.Advertised()
}
