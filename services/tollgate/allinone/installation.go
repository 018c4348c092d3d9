package allinone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/config"
	"github.com/tollgate/tollgate/services/ingest"
	"github.com/tollgate/tollgate/services/safeguard"
	"github.com/tollgate/tollgate/services/trigger"
	"github.com/tollgate/tollgate/services/webhook"
)

// Config says where things are kept.
type Config struct {
	// Dir holds Kafka's log and the database of config.
	Dir string
	// KeyFile holds the API key that every service accepts.
	KeyFile string
	// Log is where a service logs.
	Log func(service string) (io.Writer, error)
	// AnyPort takes free ports at once, not the usual ones where nobody has them: for many installations that start at
	// the same moment.
	AnyPort bool
}

// Installation is everything, running.
type Installation struct {
	// Kafka and Redis are addresses of the embedded servers.
	Kafka, Redis string

	cfg Config
	key string
	// serviceKey is what services send to config, which shows secrets to nobody else; serviceKeyFile is where it lies.
	serviceKey     string
	serviceKeyFile string
	servers        *servers
	run            sync.WaitGroup
	// cancel ends what Open started, and each of working what a call of Work did.
	cancel  context.CancelFunc
	working []context.CancelFunc

	mu       sync.Mutex
	services []*Service
	faults   []error
	failed   chan struct{} // closed with the first of faults
}

// Service is one of the services.
type Service struct {
	Name string
	env  daemon.Env
}

// Address is where a listener of the service ("grpc", "http", "admin") is reached, once it is there.
func (s *Service) Address(ctx context.Context, listener string) (string, error) {
	return s.env.Listeners.Wait(ctx, listener)
}

// Metrics is the service's registry, which its admin listener serves at /metrics.
func (s *Service) Metrics() *prometheus.Registry { return s.env.Metrics }

// Failing is why the service is not ready; nothing means that it is.
func (s *Service) Failing() []daemon.Failing { return s.env.Health.Failing() }

// Open starts the servers, makes the topics, and starts config and ingest; they run until ctx ends. Close has to be
// called in any case.
func Open(ctx context.Context, cfg Config) (*Installation, error) {
	key, err := rpc.ReadKey(cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	serviceKeyFile := filepath.Join(cfg.Dir, "service-key")
	serviceKey, err := ownKey(serviceKeyFile)
	if err != nil {
		return nil, err
	}
	servers, err := startServers(ctx, filepath.Join(cfg.Dir, "kafka"), cfg.AnyPort)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	i := &Installation{
		Kafka: servers.kafka.ListenAddrs()[0], Redis: servers.redis.Addr(),
		cfg: cfg, key: key, serviceKey: serviceKey, serviceKeyFile: serviceKeyFile, servers: servers, cancel: cancel,
		failed: make(chan struct{}),
	}
	if err := i.open(ctx); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// ownKey is the key in the file at path, for this user alone; one is drawn where none is.
func ownKey(path string) (string, error) {
	key, err := rpc.ReadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = "tg_" + rand.Text()
	if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep the key of the services: %w", err)
	}
	return key, nil
}

func (i *Installation) open(ctx context.Context) error {
	cfg := config.DefaultConfig()
	cfg.Database.Path = filepath.Join(i.cfg.Dir, "config.db")
	i.frame(ctx, &cfg.Config, &cfg.GRPC)
	cfg.GRPC.ServiceKeyHashes = []string{rpc.HashKey(i.serviceKey)}
	if err := start(ctx, i, "config", cfg, config.Run); err != nil {
		return err
	}
	if err := createTopics(ctx, i.kafka()); err != nil {
		return err
	}
	configAddress, err := i.Service("config").Address(ctx, "grpc")
	if err != nil {
		return err
	}
	in := ingest.DefaultConfig()
	in.Configuration.Address, in.Configuration.APIKeyFile = configAddress, i.cfg.KeyFile // it reads no secrets
	in.Kafka, in.HTTP.Listen = i.kafka(), free(ctx, in.HTTP.Listen, i.cfg.AnyPort)
	i.frame(ctx, &in.Config, &in.GRPC)
	return start(ctx, i, "ingest", in, ingest.Run)
}

// Work starts what works on the log: safeguard, trigger and webhook; they run until ctx ends.
func (i *Installation) Work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	i.mu.Lock()
	i.working = append(i.working, cancel)
	failed := len(i.faults) > 0
	i.mu.Unlock()
	if failed {
		cancel()
		return i.Err()
	}
	configAddress, err := i.Service("config").Address(ctx, "grpc")
	if err != nil {
		return err
	}
	g := safeguard.DefaultConfig()
	g.Kafka = i.kafka()
	i.beside(configAddress, &g.Redis, &g.Configuration)
	i.frame(ctx, &g.Config.Config, &g.GRPC)
	if err := start(ctx, i, "safeguard", g, safeguard.Run); err != nil {
		return err
	}
	t := trigger.DefaultConfig()
	t.Kafka = i.kafka()
	i.beside(configAddress, &t.Redis, &t.Configuration)
	i.frame(ctx, &t.Config.Config, &t.GRPC)
	if err := start(ctx, i, "trigger", t, trigger.Run); err != nil {
		return err
	}
	w := webhook.DefaultConfig()
	w.Kafka = i.kafka()
	i.beside(configAddress, &w.Redis, &w.Configuration)
	i.frame(ctx, &w.Config.Config, &w.GRPC)
	return start(ctx, i, "webhook", w, webhook.Run)
}

// beside sets where Redis and the configuration service are. The embedded Redis does not tell its settings.
func (i *Installation) beside(configAddress string, redis *redisstate.Config, configuration *configclient.Config) {
	redis.Address, redis.SkipDurabilityCheck = i.Redis, true
	configuration.Address, configuration.APIKeyFile = configAddress, i.serviceKeyFile
}

func (i *Installation) kafka() stream.Config {
	return stream.Config{Brokers: []string{i.Kafka}, Prefix: "tollgate"}
}

// frame sets what every service has: free ports where the usual ones are taken, and the key.
func (i *Installation) frame(ctx context.Context, frame *daemon.Config, grpc *rpc.Config) {
	frame.Admin.Listen = free(ctx, frame.Admin.Listen, i.cfg.AnyPort)
	grpc.Listen = free(ctx, grpc.Listen, i.cfg.AnyPort)
	grpc.KeyHashes = []string{rpc.HashKey(i.key)}
}

// start serves as daemon.Main does: the same checks, the same frame.
func start[C daemon.Configuration](ctx context.Context, i *Installation, name string, cfg C, run func(context.Context, C, daemon.Env) error) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configure %s: %w", name, err)
	}
	out, err := i.cfg.Log(name)
	if err != nil {
		return fmt.Errorf("log of %s: %w", name, err)
	}
	log, err := daemon.NewLogger(name, cfg.Frame().LogLevel, out)
	if err != nil {
		return fmt.Errorf("log of %s: %w", name, err)
	}
	s := &Service{Name: name, env: daemon.NewEnv(name, log)}
	i.mu.Lock()
	i.services = append(i.services, s)
	i.mu.Unlock()
	i.run.Go(func() {
		err := daemon.Serve(ctx, cfg.Frame(), s.env, func(ctx context.Context, env daemon.Env) error { return run(ctx, cfg, env) })
		if err == nil && ctx.Err() == nil {
			err = errors.New("ended by itself")
		}
		if err != nil {
			i.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
	return nil
}

// fail ends all services with the first one that ended before it was told to: what the others went on to accept would be
// worked by nobody, in an installation that looks well.
func (i *Installation) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.faults = append(i.faults, err)
	if len(i.faults) == 1 {
		close(i.failed)
		i.stop()
	}
}

// stop lets every service finish; mu is held.
func (i *Installation) stop() {
	i.cancel()
	for _, cancel := range i.working {
		cancel()
	}
}

// Services are all that were started, in that order.
func (i *Installation) Services() []*Service {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]*Service(nil), i.services...)
}

// Service is the one of that name, nil where it was not started.
func (i *Installation) Service(name string) *Service {
	for _, s := range i.Services() {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Failed is closed when a service has ended before it was told to; Err then says which, and why. The others end with it.
func (i *Installation) Failed() <-chan struct{} { return i.failed }

// Err is the end of the first service that ended by itself, nil while all work.
func (i *Installation) Err() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.faults) == 0 {
		return nil
	}
	return i.faults[0]
}

// Close lets every service finish its work, then stops the servers. The error names services that did not finish.
func (i *Installation) Close() error {
	i.mu.Lock()
	i.stop()
	i.mu.Unlock()
	i.run.Wait()
	i.servers.close()
	i.mu.Lock()
	defer i.mu.Unlock()
	return errors.Join(i.faults...)
}
