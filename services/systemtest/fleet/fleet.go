package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Config is what an installation runs on.
type Config struct {
	// Brokers and Redis are the servers' addresses.
	Brokers []string
	Redis   string
	// Postgres is the address of the one that the config services keep their tables in; empty: one of them, on SQLite.
	Postgres string
	// Embedded is true where they are not Apache Kafka and Redis; their settings can't be read.
	Embedded bool
	// Dir is a folder for configuration files, logs and the database; it is made where it is missing.
	Dir string
	// Partitions of each topic.
	Partitions int
	// Prefix is put before its topics and keys; drawn where it is empty.
	Prefix string
	// Topics, where set, changes the topics before they are made.
	Topics func([]stream.TopicSpec)
	// Password is that of a user of Kafka. With it each service is the user of its own name, this program "operator";
	// without it Kafka authenticates no client.
	Password func(user string) string
	// Binaries is the folder that Build filled; empty: services run in this process.
	Binaries string
	// Memory is how many bytes a process may take; 0: what there is.
	Memory int64
	// Waits makes calls over Dial wait for a member that does not listen yet, as long as their ctx; elsewhere they fail at once.
	Waits bool
	// Collector is the address that spans are exported to; empty: none are.
	Collector string
}

// Fleet is one installation.
type Fleet struct {
	// Client looks at its topics, and writes to them as a producer does.
	Client *stream.Client
	// Key is the API key that every service takes.
	Key string

	cfg Config
	// Prefix is put before its topics and keys.
	Prefix  string
	keyFile string
	hashes  string
	// configurations are the addresses of the config services that run.
	configurations []string
	// databaseURL is a file; empty: the config service is on SQLite.
	databaseURL string
	// keysets are the files of services that have one of their own.
	keysets map[string]string
	members []*Member
	conns   []*grpc.ClientConn
}

// Open prepares an installation: topics, and the API key. Nothing runs yet.
func Open(ctx context.Context, cfg Config) (*Fleet, error) {
	f := &Fleet{
		cfg: cfg, Prefix: "fleet-" + strings.ToLower(rand.Text()[:10]), Key: "tg_" + rand.Text(),
		keyFile: filepath.Join(cfg.Dir, "api-key"), hashes: filepath.Join(cfg.Dir, "api-key-hashes"),
	}
	if cfg.Prefix != "" {
		f.Prefix = cfg.Prefix
	}
	if err := errors.Join(
		os.MkdirAll(cfg.Dir, 0o700),
		os.WriteFile(f.keyFile, []byte(f.Key+"\n"), 0o600),
		os.WriteFile(f.hashes, []byte(rpc.HashKey(f.Key)+"\n"), 0o600),
	); err != nil {
		return nil, fmt.Errorf("prepare installation: %w", err)
	}
	if _, err := secret.Create(f.Keyset()); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("prepare installation: %w", err)
	}
	if cfg.Postgres != "" {
		f.databaseURL = filepath.Join(cfg.Dir, "database-url")
		if err := os.WriteFile(f.databaseURL, []byte(PostgresURL(cfg.Postgres)+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("prepare installation: %w", err)
		}
	}
	var err error
	if f.Client, err = f.Kafka("operator"); err != nil {
		return nil, fmt.Errorf("prepare installation: %w", err)
	}
	client := f.Client
	topics := table.Topics(cfg.Partitions)
	if cfg.Topics != nil {
		cfg.Topics(topics)
	}
	if err := client.CreateTopics(ctx, topics, true); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare installation: %w", err), client.Close())
	}
	return f, nil
}

// Trace makes services that are started from now on export their spans.
func (f *Fleet) Trace(collector string) { f.cfg.Collector = collector }

// Keyset is the file of the keys that secrets are encrypted with.
func (f *Fleet) Keyset() string { return filepath.Join(f.cfg.Dir, "keyset.json") }

// UseKeyset has a service that is started later read another file of keys.
func (f *Fleet) UseKeyset(service, path string) {
	if f.keysets == nil {
		f.keysets = map[string]string{}
	}
	f.keysets[service] = path
}

func (f *Fleet) keysetOf(service string) string {
	if path := f.keysets[service]; path != "" {
		return path
	}
	return f.Keyset()
}

// Kafka is a client of the installation's topics, as a user.
func (f *Fleet) Kafka(user string) (*stream.Client, error) {
	security, err := f.security(user)
	if err != nil {
		return nil, err
	}
	return stream.Open(stream.Config{Brokers: f.cfg.Brokers, Prefix: f.Prefix, Security: security}, zap.NewNop(), prometheus.NewRegistry())
}

// security is how a user shows who it is.
func (f *Fleet) security(user string) (stream.Security, error) {
	if f.cfg.Password == nil {
		return stream.Security{}, nil
	}
	file := filepath.Join(f.cfg.Dir, "kafka-password-"+user)
	if err := os.WriteFile(file, []byte(f.cfg.Password(user)+"\n"), 0o600); err != nil {
		return stream.Security{}, fmt.Errorf("write password: %w", err)
	}
	return stream.Security{Mechanism: "scram-sha-256", Username: user, PasswordFile: file}, nil
}

// Dial is a connection with the API key, closed with the fleet.
func (f *Fleet) Dial(address string) (*grpc.ClientConn, error) {
	conn, err := rpc.Dial(address, f.Key, grpc.WithDefaultCallOptions(grpc.WaitForReady(f.cfg.Waits)))
	if err != nil {
		return nil, err
	}
	f.conns = append(f.conns, conn)
	return conn, nil
}

// Configuration is the address of the first config service, once it runs.
func (f *Fleet) Configuration() string {
	if len(f.configurations) == 0 {
		return ""
	}
	return f.configurations[0]
}

// Dir is the installation's folder.
func (f *Fleet) Dir() string { return f.cfg.Dir }

// Brokers are the addresses of its Kafka.
func (f *Fleet) Brokers() []string { return f.cfg.Brokers }

// Redis is the address of its Redis.
func (f *Fleet) Redis() string { return f.cfg.Redis }

// Database is the file of the config service's database; files beside it begin with its name.
func (f *Fleet) Database() string { return filepath.Join(f.cfg.Dir, "database", "config.db") }

// Partitions is how many each topic has.
func (f *Fleet) Partitions() int { return f.cfg.Partitions }

// Processes reports whether each member is a process of its own.
func (f *Fleet) Processes() bool { return f.cfg.Binaries != "" }

// Close stops every member that still runs, the last started first, and lets go of everything. Its error names members
// that did not end well.
func (f *Fleet) Close(ctx context.Context) error {
	var faults []error
	for _, conn := range f.conns {
		faults = append(faults, conn.Close())
	}
	for _, m := range slices.Backward(f.members) {
		faults = append(faults, m.Stop(ctx))
	}
	return errors.Join(append(faults, f.Client.Close())...)
}
