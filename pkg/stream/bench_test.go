package stream_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// The bare loops are what kafka-go itself does: the producer and the reader are
// to stay close to them. Run: go test -bench . -run '^$' ./stream

const benchPartitions = 8

// benchValues are 200 bytes that compress about as events do.
var benchValues = func() (out [64][]byte) {
	rnd := rand.NewChaCha8([32]byte{1})
	for i := range out {
		raw := make([]byte, 100)
		_, _ = rnd.Read(raw)
		out[i] = []byte(hex.EncodeToString(raw))
	}
	return out
}()

var benchNext atomic.Uint32

func benchValue() []byte { return benchValues[benchNext.Add(1)%uint32(len(benchValues))] }

func eachBroker(b *testing.B, run func(b *testing.B, addrs []string)) {
	for _, broker := range streamtest.Brokers(b) {
		b.Run(broker.Name, func(b *testing.B) { run(b, broker.Addrs) })
	}
}

func benchClient(b *testing.B, addrs []string, compression ...stream.Compression) (*stream.Client, string) {
	cfg := stream.Config{Brokers: addrs, Prefix: streamtest.NewPrefix(b)}
	for _, c := range compression {
		cfg.Compression = c
	}
	c, err := stream.Open(cfg, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	err = c.CreateTopics(context.Background(), []stream.TopicSpec{{Name: "bench", Partitions: benchPartitions,
		Replication: 1}}, true)
	if err != nil {
		b.Fatal(err)
	}
	return c, c.Topic("bench")
}

// One caller per partition, batches of 100.
func BenchmarkProduceBatches(b *testing.B) {
	const batch = 100
	produce := func(codec string) func(b *testing.B, addrs []string) {
		return func(b *testing.B, addrs []string) {
			c, topic := benchClient(b, addrs, stream.Compression{Public: codec})
			p := c.NewProducer()
			perPartition(b, func(partition int, n int) error {
				recs := make([]stream.Record, batch)
				for i := range recs {
					recs[i] = stream.Record{Topic: topic, Partition: int32(partition), Value: benchValue()}
				}
				for ; n > 0; n -= batch {
					if err := p.Produce(context.Background(), recs...); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	b.Run("stream", func(b *testing.B) { eachBroker(b, produce("")) })
	b.Run("uncompressed", func(b *testing.B) { eachBroker(b, produce("none")) })
	b.Run("bare", func(b *testing.B) {
		eachBroker(b, func(b *testing.B, addrs []string) {
			_, topic := benchClient(b, addrs)
			k := bareClient(b, addrs)
			perPartition(b, func(partition int, n int) error {
				recs := make([]kafka.Record, batch)
				for ; n > 0; n -= batch {
					for i := range recs {
						recs[i] = kafka.Record{Value: kafka.NewBytes(benchValue()), Time: time.Now()}
					}
					res, err := k.Produce(context.Background(), &kafka.ProduceRequest{
						Topic: topic, Partition: partition, RequiredAcks: kafka.RequireAll, Compression: kafka.Lz4,
						Records: kafka.NewRecordReader(recs...),
					})
					if err = errors.Join(err, res.Error); err != nil {
						return err
					}
				}
				return nil
			})
		})
	})
}

// Many callers with one record each: what group commit is for.
func BenchmarkProduceSingles(b *testing.B) {
	eachBroker(b, func(b *testing.B, addrs []string) {
		c, topic := benchClient(b, addrs)
		p := c.NewProducer()
		var next atomic.Int32
		b.SetParallelism(256)
		report := startCPU(b)
		b.RunParallel(func(pb *testing.PB) {
			rec := stream.Record{Topic: topic, Partition: next.Add(1) % benchPartitions, Value: benchValue()}
			for pb.Next() {
				if err := p.Produce(context.Background(), rec); err != nil {
					b.Error(err)
					return
				}
			}
		})
		report()
	})
}

func BenchmarkRead(b *testing.B) {
	b.Run("stream", func(b *testing.B) {
		eachBroker(b, func(b *testing.B, addrs []string) {
			c, topic := benchClient(b, addrs)
			fill(b, c, topic, b.N)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var left atomic.Int64
			left.Store(int64(b.N))
			var joined sync.Once
			report := func() {}
			err := c.Consume(ctx, stream.GroupConfig{Name: "bench", Topics: []string{topic}},
				func(ctx context.Context, cl *stream.Claim) error {
					joined.Do(func() { report = startCPU(b) })
					r := cl.Reader(ctx, 0, stream.FetchOptions{})
					defer r.Close()
					for {
						batch, err := r.Next(ctx)
						if err != nil {
							return err
						}
						if left.Add(-int64(len(batch.Records))) <= 0 {
							cancel()
						}
					}
				})
			if err != nil {
				b.Fatal(err)
			}
			report()
		})
	})
	b.Run("bare", func(b *testing.B) {
		eachBroker(b, func(b *testing.B, addrs []string) {
			c, topic := benchClient(b, addrs)
			fill(b, c, topic, b.N)
			k := bareClient(b, addrs)
			report := startCPU(b)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for p := range benchPartitions {
				wg.Go(func() {
					for from := int64(0); ctx.Err() == nil; {
						res, err := k.Fetch(ctx, &kafka.FetchRequest{Topic: topic, Partition: p, Offset: from,
							MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 500 * time.Millisecond})
						if err != nil {
							continue
						}
						n := 0
						for {
							rec, err := res.Records.ReadRecord()
							if errors.Is(err, io.EOF) {
								break
							}
							if err != nil {
								b.Error(err)
								return
							}
							if rec.Offset < from {
								continue
							}
							if _, err := kafka.ReadAll(rec.Value); err != nil {
								b.Error(err)
								return
							}
							from = rec.Offset + 1
							n++
						}
						if left.Add(-int64(n)) <= 0 {
							cancel()
						}
					}
				})
			}
			wg.Wait()
			report()
		})
	})
}

// startCPU begins to measure; the returned function reports records a second, and
// this process's processor time per record, which other load on the machine
// changes less. Of the embedded broker it holds the broker's as well.
func startCPU(b *testing.B) (report func()) {
	b.ResetTimer()
	used := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	before := used()
	return func() {
		b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/record")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	}
}

func bareClient(b *testing.B, addrs []string) *kafka.Client {
	t := &kafka.Transport{MetadataTTL: time.Second}
	b.Cleanup(t.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(addrs...), Transport: t}
}

func fill(b *testing.B, c *stream.Client, topic string, n int) {
	b.Helper()
	p := c.NewProducer()
	var wg sync.WaitGroup
	for part := range int32(benchPartitions) {
		wg.Go(func() {
			recs := make([]stream.Record, 1000)
			for i := range recs {
				recs[i] = stream.Record{Topic: topic, Partition: part, Value: benchValue()}
			}
			for left := n/benchPartitions + 1; left > 0; left -= len(recs) {
				if err := p.Produce(context.Background(), recs[:min(left, len(recs))]...); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func perPartition(b *testing.B, run func(partition, n int) error) {
	report := startCPU(b)
	var wg sync.WaitGroup
	for p := range benchPartitions {
		wg.Go(func() {
			if err := run(p, b.N/benchPartitions+1); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	report()
}
