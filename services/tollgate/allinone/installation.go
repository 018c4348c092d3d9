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
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/provision"
	"github.com/tollgate/tollgate/services/tollgate/process"
)

// Config is where things are kept.
type Config struct {
	// Dir holds Kafka's log and the database of config.
	Dir string
	// KeyFile holds the API key that every service accepts.
	KeyFile string
	// Log is where a service logs.
	Log func(service string) (io.Writer, error)
	// AnyPort takes free ports at once, not the usual ones where they are free: for many installations that start at
	// the same moment.
	AnyPort bool
}

// Installation is everything, running.
type Installation struct {
	// Kafka and Redis are addresses of the embedded servers.
	Kafka, Redis string
	// Provision is where the service provision listens, or will: config is given it before.
	Provision string

	cfg Config
	key string
	// serviceKey is what services send to config, which shows secrets to no other caller; serviceKeyFile is where it is.
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
	if _, err := secret.Create(cfg.keyset()); err != nil && !errors.Is(err, fs.ErrExist) {
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
	if i.Provision, err = ahead(ctx, provision.DefaultConfig().GRPC.Listen, cfg.AnyPort); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	if err := i.open(ctx); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// keyset is the file of the keys that secrets are encrypted with.
func (c Config) keyset() string { return filepath.Join(c.Dir, "keyset.json") }

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

// first are the services that the others need: they run before Work.
var first = []string{"config", "ingest"}

func (i *Installation) open(ctx context.Context) error {
	if err := i.start(ctx, "config"); err != nil {
		return err
	}
	if err := createTopics(ctx, i.kafka()); err != nil {
		return err
	}
	return i.start(ctx, "ingest")
}

// Work starts the services that work on the log; they run until ctx ends.
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
	for _, p := range process.Table {
		if slices.Contains(first, p.Name) {
			continue
		}
		if err := i.start(ctx, p.Name); err != nil {
			return err
		}
	}
	return nil
}

func (i *Installation) kafka() stream.Config {
	return stream.Config{Brokers: []string{i.Kafka}, Prefix: "tollgate"}
}

// configure sets what an installation decides: free ports where the usual ones are taken, the keys, and where the servers
// are. The embedded Redis does not report its settings.
func (i *Installation) configure(ctx context.Context, parts process.Parts) error {
	parts.Frame.Admin.Listen = free(ctx, parts.Frame.Admin.Listen, i.cfg.AnyPort)
	parts.GRPC.Listen = free(ctx, parts.GRPC.Listen, i.cfg.AnyPort)
	parts.GRPC.KeyHashes = []string{rpc.HashKey(i.key)}
	if parts.HTTP != nil {
		*parts.HTTP = free(ctx, *parts.HTTP, i.cfg.AnyPort)
	}
	if parts.Database != nil {
		parts.Database.Path = filepath.Join(i.cfg.Dir, "config.db")
		parts.GRPC.ServiceKeyHashes = []string{rpc.HashKey(i.serviceKey)}
	}
	if parts.Provision != nil {
		*parts.Provision = i.Provision
	}
	if parts.Secrets != nil {
		parts.Secrets.KeysetFile = i.cfg.keyset()
	}
	if parts.Kafka != nil {
		*parts.Kafka = i.kafka()
	}
	if parts.Redis != nil {
		parts.Redis.Address, parts.Redis.SkipDurabilityCheck = i.Redis, true
	}
	if parts.Configuration == nil {
		return nil
	}
	address, err := i.Service("config").Address(ctx, "grpc")
	parts.Configuration.Address, parts.Configuration.APIKeyFile = address, i.serviceKeyFile
	return err
}

// start runs a service of the table.
func (i *Installation) start(ctx context.Context, name string) error {
	p, known := process.Find(name)
	if !known {
		return fmt.Errorf("start %s: there is no such service", name)
	}
	cfg := p.Default()
	if err := i.configure(ctx, cfg.Parts); err != nil {
		return err
	}
	if name == "provision" {
		cfg.Parts.GRPC.Listen = i.Provision
	}
	return i.serve(ctx, name, cfg)
}

// serve serves as daemon.Main does: the same checks, the same frame.
func (i *Installation) serve(ctx context.Context, name string, cfg process.Configuration) error {
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
		err := cfg.Serve(ctx, s.env)
		if err == nil && ctx.Err() == nil {
			err = errors.New("ended by itself")
		}
		if err != nil {
			i.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
	return nil
}

// fail ends all services with the first one that ended before it was stopped: what the others went on to accept would not
// be worked, in an installation that looks well.
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

// Failed is closed when a service has ended before it was stopped; Err is then which, and why. The others end with it.
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
