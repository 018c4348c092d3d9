package foldtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/state/snapshot"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// Servers are a Kafka and a Redis on which histories run, each in partitions and under keys of its own.
type Servers struct {
	client   *stream.Client
	producer *stream.Producer
	redis    statetest.Redis
	topics   [2]string
}

// NewServers prepares topics for n histories.
func NewServers(t testing.TB, brokers []string, r statetest.Redis, n int) *Servers {
	t.Helper()
	client, err := stream.Open(stream.Config{Brokers: brokers, Prefix: streamtest.NewPrefix(t)}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatalf("open kafka: %v", err)
	}
	s := &Servers{client: client, producer: client.NewProducer(), redis: r, topics: [2]string{client.Topic("simulation.log"), client.Topic("simulation.outcomes")}}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := s.producer.Close(ctx); err != nil {
			t.Errorf("close producer: %v", err)
		}
		if err := client.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	// Histories play in the past; the log must not be cut for its age.
	forever := map[string]string{"retention.ms": "-1", "cleanup.policy": "delete"}
	specs := []stream.TopicSpec{
		{Name: "simulation.log", Partitions: n, Replication: 1, Config: forever},
		{Name: "simulation.outcomes", Partitions: n, Replication: 1, Config: forever},
		{Name: stream.StateSnapshots, Partitions: 4, Replication: 1},
	}
	if err := client.CreateTopics(t.Context(), specs, true); err != nil {
		t.Fatalf("create topics: %v", err)
	}
	return s
}

// Backend is that of the i-th history.
func (s *Servers) Backend(t testing.TB, i int) Backend {
	store, prefix := s.redis.Open(t)
	admin := redis.NewClient(&redis.Options{Addr: s.redis.Address, MaxRetries: -1})
	t.Cleanup(func() {
		if err := admin.Close(); err != nil {
			t.Errorf("close redis: %v", err)
		}
	})
	return &serverBackend{
		t: t, store: store, admin: admin, prefix: prefix,
		partition: state.Partition{Domain: fmt.Sprintf("simulation-%d", i), Count: 1},
		log:       &topicJournal{t: t, servers: s, topic: s.topics[0], partition: int32(i)},
		outcomes:  &topicJournal{t: t, servers: s, topic: s.topics[1], partition: int32(i)},
		snapshots: snapshot.NewTopic(s.client, s.producer, func() {}),
	}
}

type serverBackend struct {
	t             testing.TB
	store         *redisstate.Store
	admin         *redis.Client
	prefix        string
	partition     state.Partition
	log, outcomes Journal
	snapshots     fold.Snapshots
}

func (b *serverBackend) Partition() state.Partition { return b.partition }
func (b *serverBackend) Store() state.Store         { return b.store }
func (b *serverBackend) Log() Journal               { return b.log }
func (b *serverBackend) Outcomes() Journal          { return b.outcomes }
func (b *serverBackend) Snapshots() fold.Snapshots  { return b.snapshots }
func (b *serverBackend) Oldest() int64              { return 0 }
func (b *serverBackend) ScanStep() int              { return 200 }

func (b *serverBackend) keys() []string {
	var keys []string
	found := b.admin.Scan(b.t.Context(), 0, "{"+b.prefix+":*", 1000).Iterator()
	for found.Next(b.t.Context()) {
		keys = append(keys, found.Val())
	}
	if err := found.Err(); err != nil {
		b.t.Fatalf("scan redis: %v", err)
	}
	return keys
}

// Dump copies the values of all keys.
func (b *serverBackend) Dump() any {
	dump := make(map[string]string)
	for _, k := range b.keys() {
		v, err := b.admin.Get(b.t.Context(), k).Result()
		if err != nil {
			b.t.Fatalf("dump redis: %v", err)
		}
		dump[k] = v
	}
	return dump
}

// Restore deletes what is there and writes the dump.
func (b *serverBackend) Restore(dump any) {
	pipe := b.admin.TxPipeline()
	if keys := b.keys(); len(keys) > 0 {
		pipe.Del(b.t.Context(), keys...)
	}
	values, _ := dump.(map[string]string)
	for k, v := range values {
		pipe.Set(b.t.Context(), k, v, 0)
	}
	if pipe.Len() == 0 {
		return
	}
	if _, err := pipe.Exec(b.t.Context()); err != nil {
		b.t.Fatalf("restore redis: %v", err)
	}
}

// topicJournal is one partition of a topic.
type topicJournal struct {
	t         testing.TB
	servers   *Servers
	topic     string
	partition int32
}

func (j *topicJournal) Append(records ...stream.Record) error {
	out := make([]stream.Record, len(records))
	for i, r := range records {
		r.Topic, r.Partition = j.topic, j.partition
		out[i] = r
	}
	return j.servers.producer.Produce(j.t.Context(), out...)
}

func (j *topicJournal) Read(from int64, n int) ([]stream.Record, error) {
	b, err := j.servers.client.FetchFrom(j.t.Context(), j.topic, j.partition, from, 1<<20)
	return b.Records[:min(n, len(b.Records))], err
}

func (j *topicJournal) Range() (start, end int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.t.Context()), 30*time.Second)
	defer cancel()
	start, end, err := j.servers.client.Offsets(ctx, j.topic, j.partition)
	if err != nil {
		j.t.Errorf("ask offsets of %s: %v", j.topic, err)
	}
	return start, end
}

func (j *topicJournal) Trim(int64) {}
