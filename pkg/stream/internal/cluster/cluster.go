package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// Config is where a cluster is and how it is called, with every default set.
type Config struct {
	Brokers []string
	// Prefix precedes every topic and group.
	Prefix   string
	ClientID string
	// TLS is nil for plain text, SASL for a client without a name.
	TLS                      *tls.Config
	SASL                     sasl.Mechanism
	MetadataTTL, CallTimeout time.Duration
	Dial                     DialFunc
	// Topics are those with a label of their own in metrics, without the prefix.
	Topics []string
}

// Cluster is a process's one connection pool to Kafka, with what waits for it.
// It is safe for use by many goroutines.
type Cluster struct {
	Config
	Log   *zap.Logger
	Kafka *kafka.Client

	metrics *metrics
	health  *health
	reports *display.Limited
	gate    *gate
	counts  partitionCounts
	conns   *Connections
}

// Open makes a Cluster. It does no I/O.
func Open(cfg Config, log *zap.Logger, reg prometheus.Registerer) (*Cluster, error) {
	m, err := newMetrics(reg, cfg.Prefix, cfg.Topics)
	if err != nil {
		return nil, err
	}
	conns := &Connections{}
	g := &gate{transport: &kafka.Transport{
		Dial:        conns.Dial(cfg.Dial),
		DialTimeout: 3 * time.Second,
		IdleTimeout: 30 * time.Second,
		MetadataTTL: cfg.MetadataTTL,
		ClientID:    cfg.ClientID,
		TLS:         cfg.TLS,
		SASL:        cfg.SASL,
	}}
	return &Cluster{
		Config:  cfg,
		Log:     log,
		metrics: m,
		health:  newHealth(),
		reports: display.NewLimited(log, "incident", reportsPerSecond),
		gate:    g,
		// Twice the call's own deadline: kafka-go gives the broker half of it as the time
		// acks=all may take, and our contexts end the call earlier.
		Kafka:  &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: g, Timeout: 2 * cfg.CallTimeout},
		counts: partitionCounts{byTopic: map[string]partitionCount{}},
		conns:  conns,
	}, nil
}

// Topic is documented in package stream, and so are Partitions, Offsets and OffsetAt.
func (c *Cluster) Topic(name string) string {
	if strings.HasPrefix(name, c.Prefix+".") {
		return name
	}
	return c.Prefix + "." + name
}

// Close ends every connection. Producers and groups are closed by their owners before.
func (c *Cluster) Close() {
	c.gate.close()
	c.conns.Close()
}

// Partitions asks how many partitions a topic (full name) has. The answer may be
// as old as the metadata TTL. A topic that does not exist is ErrUnknownTopic.
func (c *Cluster) Partitions(ctx context.Context, topic string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, c.CallTimeout)
	defer cancel()
	md, err := c.Kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
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
// be, or an open transaction begins. Temporary errors are retried until ctx ends.
func (c *Cluster) Offsets(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	err = c.Retry(ctx, WaitKey{For: "offsets", Topic: topic, Partition: partition}, func(ctx context.Context) error {
		start, end, err = c.OffsetsOnce(ctx, topic, partition)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("ask offsets of %s/%d: %w", topic, partition, err)
	}
	return start, end, nil
}

// OffsetsOnce is Offsets without a retry.
func (c *Cluster) OffsetsOnce(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.CallTimeout)
	defer cancel()
	res, err := c.Kafka.ListOffsets(ctx, &kafka.ListOffsetsRequest{IsolationLevel: kafka.ReadCommitted,
		Topics: map[string][]kafka.OffsetRequest{
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

// Retry calls f until it succeeds, fails for good, or ctx ends. While it fails,
// Health reports it under key.
func (c *Cluster) Retry(ctx context.Context, key WaitKey, f func(context.Context) error) error {
	waiting := false
	defer func() {
		if waiting {
			c.health.done(key)
		}
	}()
	for attempt := 0; ; attempt++ {
		err := f(ctx)
		if err == nil || ctx.Err() != nil || !Temporary(err) {
			return err
		}
		waiting = true
		c.health.waits(key, err)
		if !pause.For(ctx, Backoff(attempt)) {
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

// KnownPartitions is a topic's partition count of a few seconds ago, 0 where it was not asked for.
func (c *Cluster) KnownPartitions(topic string) int { return c.counts.known(topic) }

// CountPartitions is Partitions, remembered for KnownPartitions.
func (c *Cluster) CountPartitions(ctx context.Context, topic string) (int, error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return 0, err
	}
	c.counts.mu.Lock()
	c.counts.byTopic[topic] = partitionCount{n: n, asked: time.Now()}
	c.counts.mu.Unlock()
	return n, nil
}

// Leader is the broker that leads a partition, as the connections know it.
func (c *Cluster) Leader(ctx context.Context, topic string, partition int32) (int32, error) {
	ctx, cancel := context.WithTimeout(ctx, c.CallTimeout)
	defer cancel()
	md, err := c.Kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return -1, fmt.Errorf("find leader of %s/%d: %w", topic, partition, err)
	}
	for _, t := range md.Topics {
		for _, p := range t.Partitions {
			if t.Name == topic && p.ID == int(partition) && p.Leader.Host != "" {
				return int32(p.Leader.ID), nil
			}
		}
	}
	return -1, fmt.Errorf("find leader of %s/%d: %w", topic, partition, kafka.LeaderNotAvailable)
}

// Request sends a request and returns its answer's body.
func (c *Cluster) Request(ctx context.Context, r *codec.Request) ([]byte, error) {
	r.ClientID = c.ClientID
	res, err := c.gate.RoundTrip(ctx, c.Kafka.Addr, r)
	if err != nil {
		return nil, err
	}
	c.metrics.answered.WithLabelValues(strings.ToLower(r.Key.String())).Inc()
	a, ok := res.(*codec.Answer)
	if !ok {
		return nil, codec.ErrWire
	}
	return a.Body, nil
}
