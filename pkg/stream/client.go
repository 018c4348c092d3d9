package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"go.uber.org/zap"
)

// Config says where Kafka is and how long one call to it may take.
type Config struct {
	// Brokers are host:port addresses to start from; the rest of the cluster is found through them.
	Brokers []string `yaml:"brokers" env:"TOLLGATE_KAFKA_BROKERS"`
	// Prefix stands before every topic and group: "<prefix>.events.ordered".
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
	// MaxUnpacked bounds what all batches above 1 MiB, of every partition and group of the process, take at once; beside
	// it each partition takes 4 MiB at most. At least MaxUnpackedBatch; default four times that.
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

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	if len(c.Brokers) == 0 {
		faults = append(faults, errors.New("brokers: at least one address is required"))
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			faults = append(faults, fmt.Errorf("brokers: %q is not host:port: %w", b, err))
		}
	}
	if !validTopic(c.Prefix) {
		faults = append(faults, fmt.Errorf("prefix: %q must be 1 to 100 letters, digits, dots, dashes or underscores", c.Prefix))
	}
	if c.MetadataTTL != 0 && (c.MetadataTTL < time.Second || c.MetadataTTL > 5*time.Second) {
		faults = append(faults, fmt.Errorf("metadata ttl: %s is not between 1s and 5s", c.MetadataTTL))
	}
	if c.CallTimeout < 0 {
		faults = append(faults, fmt.Errorf("call timeout: %s is negative", c.CallTimeout))
	}
	if b := c.MaxUnpackedBatch; b != 0 && (b < smallBatch || b > 1<<30) {
		faults = append(faults, fmt.Errorf("max_unpacked_batch_bytes: %d is not between 1048576 and 1073741824", b))
	}
	if d := c.withDefaults(); d.MaxUnpackedBatch > 0 && d.MaxUnpacked < d.MaxUnpackedBatch {
		faults = append(faults, fmt.Errorf("max_unpacked_bytes: %d is below max_unpacked_batch_bytes, %d: no batch of that size could be read", d.MaxUnpacked, d.MaxUnpackedBatch))
	}
	faults = append(faults, c.Compression.validate())
	return errors.Join(append(faults, c.Security.validate()...)...)
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
	cfg Config
	log *zap.Logger
	metrics  *metrics
	health   *health
	gate     *gate
	kafka    *kafka.Client
	counts   partitionCounts
	conns    *connections

	unpacked         *memory // of readers, from unpacking to when their worker comes back
	unpackedDirectly *memory // of fetches outside readers, while they unpack

	// How groups, which dial for themselves, are to connect.
	encryption *tls.Config
	identity   sasl.Mechanism
}

// Open makes a Client. It does no I/O: a broker that is away shows in Health,
// not as an error here. A second Client on the same registry shares its metrics.
func Open(cfg Config, log *zap.Logger, reg prometheus.Registerer) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	cfg = cfg.withDefaults()
	encryption, identity, err := cfg.Security.open()
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	m, err := newMetrics(reg, cfg.Prefix)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	conns := &connections{}
	g := &gate{transport: &kafka.Transport{
		Dial:        conns.dial(cfg.Dial),
		DialTimeout: 3 * time.Second,
		IdleTimeout: 30 * time.Second,
		MetadataTTL: cfg.MetadataTTL,
		ClientID:    cfg.ClientID,
		TLS:         encryption,
		SASL:        identity,
	}}
	return &Client{
		cfg:      cfg,
		log:      log,
		metrics:  m,
		health:   newHealth(),
		gate:     g,
		// Twice the call's own deadline: kafka-go tells the broker half of it as the time
		// acks=all may take, and our contexts end the call earlier.
		kafka:  &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: g, Timeout: 2 * cfg.CallTimeout},
		counts: partitionCounts{byTopic: map[string]partitionCount{}},
		conns:  conns,

		unpacked:         newMemory(cfg.MaxUnpacked),
		unpackedDirectly: newMemory(cfg.MaxUnpackedBatch),

		encryption: encryption,
		identity:   identity,
	}, nil
}

// Topic returns the full name of one of Tollgate's topics. A name that already
// bears the prefix is returned as it is.
func (c *Client) Topic(name string) string {
	if strings.HasPrefix(name, c.cfg.Prefix+".") {
		return name
	}
	return c.cfg.Prefix + "." + name
}

// Close ends every connection. Producers and groups are closed by their owners before.
func (c *Client) Close() error {
	c.gate.close()
	c.conns.close()
	return nil
}

// Partitions asks how many partitions a topic (full name) has. The answer may be
// as old as the metadata TTL. A topic that does not exist is ErrUnknownTopic.
func (c *Client) Partitions(ctx context.Context, topic string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	md, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, fmt.Errorf("count partitions of %s: %w", topic, err)
	}
	for _, t := range md.Topics {
		if t.Name != topic {
			continue
		}
		if errors.Is(t.Error, kafka.UnknownTopicOrPartition) {
			return 0, fmt.Errorf("count partitions of %s: %w", topic, ErrUnknownTopic)
		}
		if t.Error != nil {
			return 0, fmt.Errorf("count partitions of %s: %w", topic, t.Error)
		}
		return len(t.Partitions), nil
	}
	return 0, fmt.Errorf("count partitions of %s: %w", topic, ErrUnknownTopic)
}

// Offsets asks where a partition's log starts and where the next record will
// stand, or an open transaction begins. Temporary errors are retried until ctx ends.
func (c *Client) Offsets(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	err = c.retry(ctx, waitKey{"offsets", topic, partition}, func(ctx context.Context) error {
		start, end, err = c.offsetsOnce(ctx, topic, partition)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("ask offsets of %s/%d: %w", topic, partition, err)
	}
	return start, end, nil
}

func (c *Client) offsetsOnce(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	res, err := c.kafka.ListOffsets(ctx, &kafka.ListOffsetsRequest{IsolationLevel: kafka.ReadCommitted, Topics: map[string][]kafka.OffsetRequest{
		topic: {kafka.FirstOffsetOf(int(partition)), kafka.LastOffsetOf(int(partition))},
	}})
	if err != nil {
		return 0, 0, err
	}
	for _, p := range res.Topics[topic] {
		if p.Partition == int(partition) {
			if p.Error != nil {
				return 0, 0, p.Error
			}
			return p.FirstOffset, p.LastOffset, nil
		}
	}
	return 0, 0, kafka.UnknownTopicOrPartition
}

// retry calls f until it succeeds, fails for good, or ctx ends. While it fails,
// Health says so under key.
func (c *Client) retry(ctx context.Context, key waitKey, f func(context.Context) error) error {
	waiting := false
	defer func() {
		if waiting {
			c.health.done(key)
		}
	}()
	for attempt := 0; ; attempt++ {
		err := f(ctx)
		if err == nil || ctx.Err() != nil || !temporary(err) {
			return err
		}
		waiting = true
		c.health.waits(key, err)
		if !pause(ctx, nil, backoff(attempt)) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// partitionCounts remembers partition counts for a few seconds, so that keyed
// records find their partition without asking for each.
type partitionCounts struct {
	mu      sync.RWMutex
	byTopic map[string]partitionCount
}

type partitionCount struct {
	n     int
	asked time.Time
}

const partitionCountAge = 5 * time.Second

// known returns a count that is fresh enough, else 0.
func (p *partitionCounts) known(topic string) int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if c := p.byTopic[topic]; time.Since(c.asked) < partitionCountAge {
		return c.n
	}
	return 0
}

func (c *Client) partitionCount(ctx context.Context, topic string) (int, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return 0, err
	}
	c.counts.mu.Lock()
	c.counts.byTopic[topic] = partitionCount{n: n, asked: time.Now()}
	c.counts.mu.Unlock()
	return n, nil
}
