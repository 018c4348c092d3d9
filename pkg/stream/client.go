package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
	"github.com/tollgate/tollgate/pkg/stream/internal/consume"
	"github.com/tollgate/tollgate/pkg/stream/internal/produce"
)

// Config is where Kafka is and how long one call to it may take.
type Config struct {
	// Brokers are host:port addresses to start from; the rest of the cluster is found through them.
	Brokers []string `yaml:"brokers" env:"TOLLGATE_KAFKA_BROKERS"`
	// Prefix precedes every topic and group: "<prefix>.events.ordered".
	Prefix string `yaml:"prefix" env:"TOLLGATE_KAFKA_PREFIX"`
	// ClientID names this process in the broker's logs and quotas.
	ClientID string `yaml:"client_id" env:"TOLLGATE_KAFKA_CLIENT_ID"`
	// Security of every connection.
	Security `yaml:",inline"`
	// MetadataTTL bounds how long a moved leader goes unnoticed. Between 1 s and 5 s; default 1 s.
	MetadataTTL time.Duration `yaml:"metadata_ttl" env:"TOLLGATE_KAFKA_METADATA_TTL"`
	// CallTimeout bounds one request, without the time a fetch waits for records. It stays below
	// the rebalance timeout of every group, since one stuck call would hold all members. Default 8 s.
	CallTimeout time.Duration `yaml:"call_timeout" env:"TOLLGATE_KAFKA_CALL_TIMEOUT"`
	// MaxUnpackedBatch bounds what one record batch may unpack to, in bytes. A larger one of events.inbound goes to
	// events.rejected; in a log of our own it stops its partition. Between 1 MiB and 1 GiB; default 32 MiB.
	MaxUnpackedBatch int `yaml:"max_unpacked_batch_bytes" env:"TOLLGATE_KAFKA_MAX_UNPACKED_BATCH_BYTES"`
	// MaxUnpacked bounds what all batches above 1 MiB, of every partition and group of the process, take at once;
	// beside it each partition takes 4 MiB at most. At least MaxUnpackedBatch; default four times that.
	MaxUnpacked int `yaml:"max_unpacked_bytes" env:"TOLLGATE_KAFKA_MAX_UNPACKED_BYTES"`
	// Compression of what this process writes.
	Compression Compression `yaml:"compression"`
	// Dial opens connections; default a net.Dialer. Tests cut and delay connections here.
	Dial func(ctx context.Context, network, address string) (net.Conn, error) `yaml:"-"`
}

// DefaultConfig is Kafka on this machine, and every default that a file of ours shows.
func DefaultConfig() Config {
	c := Config{Brokers: []string{"127.0.0.1:9092"}, Prefix: "tollgate"}
	d := c.withDefaults()
	c.MaxUnpackedBatch, c.MaxUnpacked, c.Compression = d.MaxUnpackedBatch, d.MaxUnpacked, d.Compression
	return c
}

// Validate reports every violation at once.
func (c Config) Validate() error {
	var violations []error
	if len(c.Brokers) == 0 {
		violations = append(violations, errors.New("brokers: at least one address is required"))
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			violations = append(violations, fmt.Errorf("brokers: %q is not host:port: %w", b, err))
		}
	}
	if !validTopic(c.Prefix) {
		violations = append(violations,
			fmt.Errorf("prefix: %q must be 1 to 100 letters, digits, dots, dashes or underscores", c.Prefix))
	}
	if c.MetadataTTL != 0 && (c.MetadataTTL < time.Second || c.MetadataTTL > 5*time.Second) {
		violations = append(violations, fmt.Errorf("metadata ttl: %s is not between 1s and 5s", c.MetadataTTL))
	}
	if c.CallTimeout < 0 {
		violations = append(violations, fmt.Errorf("call timeout: %s is negative", c.CallTimeout))
	}
	if b := c.MaxUnpackedBatch; b != 0 && (b < codec.SmallBatch || b > 1<<30) {
		violations = append(violations, fmt.Errorf("max_unpacked_batch_bytes: %d is not between 1048576 and 1073741824",
			b))
	}
	if d := c.withDefaults(); d.MaxUnpackedBatch > 0 && d.MaxUnpacked < d.MaxUnpackedBatch {
		violations = append(violations,
			fmt.Errorf("max_unpacked_bytes: %d is below max_unpacked_batch_bytes, %d: no batch of that size could be read", d.MaxUnpacked, d.MaxUnpackedBatch))
	}
	violations = append(violations, c.Compression.validate())
	return errors.Join(append(violations, c.Security.validate()...)...)
}

func validTopic(s string) bool {
	if s == "" || len(s) > 100 {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

func (c Config) withDefaults() Config {
	if c.MetadataTTL == 0 {
		c.MetadataTTL = time.Second
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = 8 * time.Second
	}
	if c.MaxUnpackedBatch == 0 {
		c.MaxUnpackedBatch = 32 << 20
	}
	if c.MaxUnpacked == 0 {
		c.MaxUnpacked = 4 * c.MaxUnpackedBatch
	}
	c.Compression = c.Compression.withDefaults()
	if c.ClientID == "" {
		c.ClientID = c.Prefix
	}
	if c.Dial == nil {
		d := &net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}
		c.Dial = d.DialContext
	}
	return c
}

// Client is a process's one connection pool to Kafka, shared by its producers,
// groups and readers. It is safe for use by many goroutines.
type Client struct {
	cfg      Config
	cluster  *cluster.Cluster
	produced *produce.Metrics
	consumer *consume.Consumer
}

// Open makes a Client. It does no I/O: a broker that is away shows in Health,
// not as an error here. A second Client on the same registry shares its metrics.
func Open(cfg Config, log *zap.Logger, reg prometheus.Registerer) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	c, err := open(cfg.withDefaults(), log, reg)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	return c, nil
}

func open(cfg Config, log *zap.Logger, reg prometheus.Registerer) (*Client, error) {
	encryption, identity, err := cfg.Security.open()
	if err != nil {
		return nil, err
	}
	var topics []string
	for _, t := range Topics(1) {
		topics = append(topics, t.Name)
	}
	k, err := cluster.Open(cluster.Config{
		Brokers: cfg.Brokers, Prefix: cfg.Prefix, ClientID: cfg.ClientID, TLS: encryption, SASL: identity,
		MetadataTTL: cfg.MetadataTTL, CallTimeout: cfg.CallTimeout, Dial: cfg.Dial, Topics: topics,
	}, log, reg)
	if err != nil {
		return nil, err
	}
	produced, err := produce.NewMetrics(reg)
	if err != nil {
		return nil, err
	}
	consumer, err := consume.New(k, consume.Bounds{Batch: cfg.MaxUnpackedBatch, All: cfg.MaxUnpacked}, reg)
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, cluster: k, produced: produced, consumer: consumer}, nil
}

// Topic returns the full name of one of Tollgate's topics. A name that already
// bears the prefix is returned as it is.
func (c *Client) Topic(name string) string { return c.cluster.Topic(name) }

// Close ends every connection. Producers and groups are closed by their owners before.
func (c *Client) Close() error {
	c.cluster.Close()
	return nil
}

// Partitions asks how many partitions a topic (full name) has. The answer may be
// as old as the metadata TTL. A topic that does not exist is ErrUnknownTopic.
func (c *Client) Partitions(ctx context.Context, topic string) (int, error) {
	return c.cluster.Partitions(ctx, topic)
}

// Offsets asks where a partition's log starts and where the next record will
// be, or an open transaction begins. Temporary errors are retried until ctx ends.
func (c *Client) Offsets(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	return c.cluster.Offsets(ctx, topic, partition)
}

// OffsetAt asks for the first offset whose record is stamped at or after a
// time; the log's end where there is none. Temporary errors are retried until
// ctx ends.
func (c *Client) OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (int64, error) {
	return c.cluster.OffsetAt(ctx, topic, partition, at)
}

// FetchFrom reads outside any group, from one explicit offset. It does not wait
// for records: at the log's end the batch is empty. Temporary errors are retried
// until ctx ends.
func (c *Client) FetchFrom(ctx context.Context, topic string, partition int32, offset int64,
	maxBytes int) (Batch, error) {
	return c.consumer.FetchFrom(ctx, topic, partition, offset, maxBytes)
}

// Fetch is FetchFrom that waits at the log's end for records, up to o.MaxWait.
func (c *Client) Fetch(ctx context.Context, topic string, partition int32, offset int64, o FetchOptions) (Batch, error) {
	return c.consumer.Fetch(ctx, topic, partition, offset, o)
}

// Positions reads what a group (with or without the client's prefix) committed for partitions, which ask names by
// their full topic. Temporary errors are retried until ctx ends.
func (c *Client) Positions(ctx context.Context, group string, ask []Position) ([]Position, error) {
	return c.consumer.Positions(ctx, c.Topic(group), ask)
}

// SetPositions commits offsets for a group that has no members, all or none of them. Temporary errors are retried
// until ctx ends.
func (c *Client) SetPositions(ctx context.Context, group string, positions []Position) error {
	return c.consumer.SetPositions(ctx, c.Topic(group), positions)
}

// NewProducer makes a Producer on the client's connections.
func (c *Client) NewProducer(opts ...ProducerOption) *Producer {
	return produce.New(c.cluster, c.produced, c.cfg.codecOf, opts...)
}

// Consume joins a group and runs work once per assigned partition and
// generation, each in its own goroutine, until ctx ends; then it drains, leaves
// the group and returns nil.
//
// Work that returns an error while its claim is held is run again with backoff:
// the partition waits, Health reports it, and the others go on. ErrRejoin makes the
// member drain and rejoin. Work must return soon after its context ends: work
// that shows no sign for the watchdog's time makes the member leave and Consume
// return ErrStuck, after which the process must exit: the stuck goroutine is
// still there.
func (c *Client) Consume(ctx context.Context, cfg GroupConfig, work func(ctx context.Context, cl *Claim) error) error {
	return c.consumer.Consume(ctx, cfg, work)
}

// Health reports what waits and which incidents last, in a stable order.
func (c *Client) Health() Health { return c.cluster.Health() }

// ReportIncident counts, logs and shows what a person should know of and nothing waits for, such as one record that was
// rejected: it is in Health as reported, which keeps no service from being ready.
func (c *Client) ReportIncident(in Incident) { c.cluster.ReportIncident(in) }
