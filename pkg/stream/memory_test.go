package stream_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// Each batch is within its bound; all of them together are bounded too.
func TestMemory_BoundsBatchesOfAllPartitionsTogether(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster := streamtest.EmbeddedCluster(t)
	open := func(bytes int) *stream.Client {
		c, err := stream.Open(stream.Config{
			Brokers: cluster.ListenAddrs(), Prefix: "memory", MaxUnpackedBatch: bytes, MaxUnpacked: bytes,
		}, zap.NewNop(), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	client := open(2 << 20)
	if err := client.CreateTopics(ctx, []stream.TopicSpec{{Name: "t", Partitions: 3, Replication: 1}}, true); err != nil {
		t.Fatal(err)
	}
	topic := client.Topic("t")
	producer := client.NewProducer(stream.MaxBatch(64 << 20))
	// batch is one that unpacks to so many times 500 KB.
	batch := func(partition int32, records int) {
		recs := make([]stream.Record, records)
		for i := range recs {
			recs[i] = stream.Record{Topic: topic, Partition: partition, Value: bytes.Repeat([]byte("x"), 500_000)}
		}
		if err := producer.Produce(ctx, recs...); err != nil {
			t.Fatal(err)
		}
	}
	batch(0, 3)
	batch(1, 3)
	batch(2, 6)

	// The bound of one batch is what is set: 3 MB are too much here, and well elsewhere.
	var damaged *stream.DamagedError
	if _, err := client.FetchFrom(ctx, topic, 2, 0, 1<<20); !errors.As(err, &damaged) || damaged.Reason != reason.BatchTooLarge {
		t.Errorf("a batch beyond the bound: %v", err)
	}
	if b, err := open(8<<20).FetchFrom(ctx, topic, 2, 0, 1<<20); err != nil || len(b.Records) == 0 {
		t.Errorf("a batch within the bound: %d records, %v", len(b.Records), err)
	}

	taken, release := make(chan int32, 2), make(chan struct{})
	groupCtx, stop := context.WithCancel(ctx)
	var ended sync.WaitGroup
	ended.Go(func() {
		err := client.Consume(groupCtx, stream.GroupConfig{Name: "g", Topics: []string{"t"}}, func(ctx context.Context, cl *stream.Claim) error {
			if cl.Partition == 2 {
				<-ctx.Done()
				return nil
			}
			first := true
			return cl.Each(ctx, stream.FetchOptions{}, func(ctx context.Context, b stream.Batch) error {
				if len(b.Records) > 0 && first {
					first = false
					taken <- cl.Partition
					select {
					case <-release:
					case <-ctx.Done():
					}
				}
				return nil
			})
		})
		if err != nil {
			t.Error(err)
		}
	})
	defer ended.Wait()
	defer stop()
	one := <-taken
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for waits := false; !waits; {
		for _, w := range client.Health().Waiting {
			waits = waits || w.For == "memory" && w.Topic == topic && w.Partition == 1-one
		}
		select {
		case other := <-taken:
			t.Fatalf("partition %d is worked while %d holds all the memory", other, one)
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("Health does not report that partition %d waits for memory: %+v", 1-one, client.Health())
		}
	}
	close(release)
	select {
	case other := <-taken:
		if other != 1-one {
			t.Errorf("partition %d came after %d", other, one)
		}
	case <-ctx.Done():
		t.Fatalf("partition %d waits for ever: %+v", 1-one, client.Health())
	}
}
