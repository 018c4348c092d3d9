package stream_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

func openOn(t *testing.T, cluster *kfake.Cluster, partitions int) (*stream.Client, string, context.Context) {
	t.Helper()
	return openAt(t, cluster.ListenAddrs(), "wire", partitions)
}

// The settings that make acknowledged mean durable are looked at on the wire,
// since kafka-go's zero values mean the opposite.
func TestRequests_AskForWhatIsPromised(t *testing.T) {
	cluster := streamtest.EmbeddedCluster(t)
	var mu sync.Mutex
	seen := map[int16]int{}
	leaving := false
	cluster.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		seen[req.Key()]++
		switch r := req.(type) {
		case *kmsg.ProduceRequest:
			if r.Acks != -1 {
				t.Errorf("a produce request asks for %d acks", r.Acks)
			}
			if r.TimeoutMillis < 1000 {
				t.Errorf("a produce request gives in-sync replicas %d ms", r.TimeoutMillis)
			}
			if partitionsOf(r) > 1 && r.TimeoutMillis > 2000 {
				t.Errorf("a produce request gives the slowest of several partitions %d ms, and the others wait",
					r.TimeoutMillis)
			}
		case *kmsg.FetchRequest:
			if r.MinBytes < 1 {
				t.Error("a fetch request does not wait for records")
			}
		case *kmsg.MetadataRequest:
			for _, rt := range r.Topics { // kafka-go's groups allow it, so they must only ask for topics that exist
				if r.AllowAutoTopicCreation && rt.Topic != nil && *rt.Topic != "wire.t" {
					t.Errorf("a metadata request may create %s", *rt.Topic)
				}
			}
		case *kmsg.JoinGroupRequest:
			if leaving {
				t.Error("a member that leaves joins once more: the others would wait for it")
			}
			if r.SessionTimeoutMillis != 6000 || r.RebalanceTimeoutMillis <= r.SessionTimeoutMillis {
				t.Errorf("join with session %d ms, rebalance %d ms", r.SessionTimeoutMillis, r.RebalanceTimeoutMillis)
			}
		case *kmsg.OffsetCommitRequest:
			if r.Generation < 0 || r.MemberID == "" {
				t.Errorf("a commit without its generation: %d %q", r.Generation, r.MemberID)
			}
		}
		return nil, nil, false
	})
	c, topic, ctx := openOn(t, cluster, 2)
	if err := c.NewProducer().Produce(ctx,
		stream.Record{Topic: topic, Partition: 0, Value: []byte("x")}, stream.Record{Topic: topic, Partition: 1,
			Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{}, 2)
	err := c.Consume(ctx, stream.GroupConfig{Name: "g", Topics: []string{"t"}},
		func(ctx context.Context, cl *stream.Claim) error {
			b, err := cl.Fetch(ctx, 0, stream.FetchOptions{})
			if err != nil {
				return err
			}
			if err := cl.Commit(ctx, b.Next); err != nil {
				return err
			}
			if done <- struct{}{}; len(done) == 2 {
				mu.Lock()
				leaving = true
				mu.Unlock()
				cancel()
			}
			<-cl.Draining()
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, k := range []kmsg.Key{kmsg.Produce, kmsg.Fetch, kmsg.Metadata, kmsg.JoinGroup, kmsg.OffsetCommit,
		kmsg.LeaveGroup} {
		if seen[k.Int16()] == 0 {
			t.Errorf("no %s request was seen", k.Name())
		}
	}
}

// What a broker answers while leaders and coordinators move is waited out,
// whatever the request: nothing fails, nothing starts from somewhere else.
func TestTemporaryErrors_AreRetried(t *testing.T) {
	for _, e := range []*kerr.Error{
		kerr.LeaderNotAvailable, kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition, kerr.RequestTimedOut,
		kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.CoordinatorLoadInProgress,
		kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.KafkaStorageError, kerr.UnknownServerError,
		kerr.BrokerNotAvailable, kerr.ReplicaNotAvailable,
	} {
		t.Run(e.Message, func(t *testing.T) {
			t.Parallel()
			cluster := streamtest.EmbeddedCluster(t)
			c, topic, ctx := openOn(t, cluster, 1)
			p := c.NewProducer()
			if err := p.Produce(ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("0")}); err != nil {
				t.Fatal(err)
			}
			// The group has committed 1; what is fetched after an error must begin there.
			run := func(work func(ctx context.Context, cl *stream.Claim) error) {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				err := c.Consume(ctx, stream.GroupConfig{Name: "g", Topics: []string{"t"}},
					func(wctx context.Context, cl *stream.Claim) error {
						defer cancel()
						if err := work(wctx, cl); err != nil {
							t.Error(err)
						}
						return nil
					})
				if err != nil {
					t.Error(err)
				}
			}
			run(func(ctx context.Context, cl *stream.Claim) error { return cl.Commit(ctx, 1) })

			faults := cluster.Fault(
				kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: e, Count: 2},
				kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: e, Count: 2},
				kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: topic, Err: e, Count: 2},
				kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: topic, Err: e, Count: 3},
				kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: topic, Err: e, Count: 2},
			)
			if err := p.Produce(ctx, stream.Record{Topic: topic, Partition: 0, Value: []byte("1")}); err != nil {
				t.Errorf("produce: %v", err)
			}
			if _, end, err := c.Offsets(ctx, topic, 0); err != nil || end < 2 {
				t.Errorf("offsets: %d, %v", end, err)
			}
			run(func(ctx context.Context, cl *stream.Claim) error {
				if cl.Committed() != 1 {
					t.Errorf("committed is %d, want 1", cl.Committed())
				}
				b, err := cl.Fetch(ctx, cl.Committed(), stream.FetchOptions{})
				if err != nil {
					return err
				}
				if len(b.Records) == 0 || b.Records[0].Offset != 1 {
					t.Errorf("fetched %+v", b)
				}
				return cl.Commit(ctx, b.Next)
			})
			if faults.Hits() < 9 {
				t.Errorf("only %d requests were faulted", faults.Hits())
			}
			if h := c.Health(); len(h.Waiting) != 0 || len(h.Incidents) != 0 {
				t.Errorf("health afterwards: %+v", h)
			}
		})
	}
}

func TestProduce_SpreadsRecordsWithoutAKey(t *testing.T) {
	c, topic, ctx := openOn(t, streamtest.EmbeddedCluster(t), 4)
	recs := make([]stream.Record, 40)
	for i := range recs {
		recs[i] = stream.Record{Topic: topic, Partition: stream.AnyPartition, Value: []byte(strconv.Itoa(i))}
	}
	results, err := c.NewProducer().ProduceResults(ctx, recs...)
	if err != nil {
		t.Fatal(err)
	}
	count := map[int32]int{}
	for _, at := range results {
		count[at.Partition]++
	}
	if len(count) != 4 || count[0] != 10 {
		t.Errorf("records per partition: %v", count)
	}
}

func TestConfig_ListsEveryViolation(t *testing.T) {
	_, err := stream.Open(stream.Config{Brokers: []string{"nohost"}, Prefix: "a b", MetadataTTL: time.Minute,
		CallTimeout: -1}, zap.NewNop(), nil)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"brokers", "prefix", "metadata ttl", "call timeout"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	for want, cfg := range map[string]stream.Config{
		"max_unpacked_batch_bytes": {MaxUnpackedBatch: 512 << 10, MaxUnpacked: 1 << 30},
		"max_unpacked_bytes":       {MaxUnpackedBatch: 4 << 20, MaxUnpacked: 2 << 20},
	} {
		cfg.Brokers, cfg.Prefix = []string{"127.0.0.1:1"}, "p"
		if _, err := stream.Open(cfg, zap.NewNop(), nil); err == nil || !strings.Contains(err.Error(), want+": ") {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	if _, err := stream.Open(stream.Config{Prefix: "p"}, zap.NewNop(), nil); err == nil {
		t.Error("no brokers accepted")
	}
}

// Services in one process share a registry.
func TestOpen_ClientsShareARegistry(t *testing.T) {
	reg := prometheus.NewRegistry()
	for range 2 {
		if _, err := stream.Open(stream.Config{Brokers: []string{"127.0.0.1:1"}, Prefix: "p"}, zap.NewNop(),
			reg); err != nil {
			t.Fatal(err)
		}
	}
}

func partitionsOf(r *kmsg.ProduceRequest) (n int) {
	for _, t := range r.Topics {
		n += len(t.Partitions)
	}
	return n
}
