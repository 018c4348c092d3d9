package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// stopped is a partition 0 that stopped, and a partition 1 beside it that goes on.
type stopped struct {
	*testing.T
	ctx     context.Context
	cluster *kfake.Cluster
	client  *stream.Client
	topic   string
	reg     *prometheus.Registry
	heal    chan struct{}
}

// gauge is a partition's value, -1 where there is none.
func (s *stopped) gauge(name string, partition int) float64 {
	s.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		s.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == "partition" && l.GetValue() == strconv.Itoa(partition) {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	return -1
}

// until asks for a state again and again: there is no signal for it.
func (s *stopped) until(what string, ok func() bool) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.Fatalf("waited in vain until %s; lag %v records, %v s; health %+v", what,
				s.gauge("tollgate_stream_lag_records", 0), s.gauge("tollgate_stream_lag_seconds", 0), s.client.Health())
		}
	}
}

// fault has requests about partition 0 fail until the partition is healed.
func (s *stopped) fault(key kmsg.Key) {
	faults := s.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: s.topic, Partitions: []int32{0},
		Err: kerr.KafkaStorageError, Count: -1})
	go func() {
		select {
		case <-s.heal:
		case <-s.ctx.Done():
		}
		faults.Remove()
	}()
}

// work reads and commits as ingest does; before is asked for each batch.
func work(before func(context.Context, *stream.Claim, stream.Batch) error) func(context.Context, *stream.Claim) error {
	return func(ctx context.Context, cl *stream.Claim) error {
		r := cl.Reader(ctx, max(0, cl.Committed()), stream.FetchOptions{})
		defer r.Close()
		for {
			b, err := r.Next(ctx)
			if err != nil {
				return err
			}
			if cl.Partition == 0 && before != nil {
				if err := before(ctx, cl, b); err != nil {
					return err
				}
			}
			if b.Next > cl.Committed() {
				if err := cl.Commit(ctx, b.Next); err != nil {
					return err
				}
			}
		}
	}
}

// Whatever stops a partition, its lag grows, Health names it, its neighbour goes on, and all is well once it is over.
func TestHealth_NamesAStoppedPartition(t *testing.T) {
	for name, row := range map[string]struct {
		// stop makes the work of the group, and what stops partition 0 until heal is closed.
		stop func(s *stopped) func(context.Context, *stream.Claim) error
		// waits and incident are what Health reports, "" for nothing.
		waits, incident string
		// stays where it is not healed.
		stays bool
	}{
		"a fetch that fails": {waits: "fetch", stop: func(s *stopped) func(context.Context, *stream.Claim) error {
			s.fault(kmsg.Fetch)
			return work(nil)
		}},
		"a commit that fails": {waits: "commit", stop: func(s *stopped) func(context.Context, *stream.Claim) error {
			s.fault(kmsg.OffsetCommit)
			return work(nil)
		}},
		"work that fails on a record": {waits: "work", stop: func(s *stopped) func(context.Context, *stream.Claim) error {
			return work(func(_ context.Context, _ *stream.Claim, b stream.Batch) error {
				select {
				case <-s.heal:
				default:
					if len(b.Records) > 0 {
						return errors.New("redis is away")
					}
				}
				return nil
			})
		}},
		"work that fails before it reads": {waits: "work", stop: func(s *stopped) func(context.Context, *stream.Claim) error {
			then := work(nil)
			return func(ctx context.Context, cl *stream.Claim) error {
				select {
				case <-s.heal:
				default:
					if cl.Partition == 0 {
						return errors.New("redis is away")
					}
				}
				return then(ctx, cl)
			}
		}},
		"a handler of Each that fails": {waits: "work", stop: func(s *stopped) func(context.Context, *stream.Claim) error {
			return func(ctx context.Context, cl *stream.Claim) error {
				return cl.Each(ctx, stream.FetchOptions{}, func(context.Context, stream.Batch) error {
					select {
					case <-s.heal:
					default:
						if cl.Partition == 0 {
							return errors.New("redis is away")
						}
					}
					return nil
				})
			}
		}},
		"work that does not come back": {stop: func(s *stopped) func(context.Context, *stream.Claim) error {
			return work(func(ctx context.Context, _ *stream.Claim, _ stream.Batch) error {
				select {
				case <-s.heal:
				case <-ctx.Done():
				}
				return nil
			})
		}},
		"a batch that can't be read": {waits: "work", incident: reason.BatchDamaged, stays: true, stop: func(s *stopped) func(context.Context, *stream.Claim) error {
			streamtest.AppendRaw(s, s.cluster.ListenAddrs(), s.topic, 0,
				streamtest.RawBatch([]byte("no records"), 0, 3))
			return work(nil)
		}},
		"a batch that is too large": {waits: "work", incident: reason.BatchTooLarge, stays: true, stop: func(s *stopped) func(context.Context, *stream.Claim) error {
			recs := make([]stream.Record, 40)
			for i := range recs {
				recs[i] = stream.Record{Topic: s.topic, Partition: 0, Value: make([]byte, 1_000_000)}
			}
			if err := s.client.NewProducer(stream.MaxBatch(64<<20)).Produce(s.ctx, recs...); err != nil {
				s.Fatal(err)
			}
			return work(nil)
		}},
		"an offset that the log does not hold": {waits: "work", incident: stream.IncidentOutOfRange, stays: true, stop: func(s *stopped) func(context.Context, *stream.Claim) error {
			then := work(nil)
			return func(ctx context.Context, cl *stream.Claim) error {
				if cl.Partition == 1 {
					return then(ctx, cl)
				}
				r := cl.Reader(ctx, 1000, stream.FetchOptions{})
				defer r.Close()
				_, err := r.Next(ctx)
				return err
			}
		}},
		"a transaction that stays open": {stop: func(s *stopped) func(context.Context, *stream.Claim) error {
			c, err := kgo.NewClient(kgo.SeedBrokers(s.cluster.ListenAddrs()...), kgo.TransactionalID("open"),
				kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err == nil {
				err = c.BeginTransaction()
			}
			if err == nil {
				err = c.ProduceSync(s.ctx, &kgo.Record{Topic: s.topic, Partition: 0, Value: []byte("open")}).FirstErr()
			}
			if err != nil {
				s.Fatal(err)
			}
			over := make(chan struct{})
			var ending sync.WaitGroup
			ending.Go(func() {
				defer c.Close()
				select {
				case <-s.heal:
				case <-over:
					return
				}
				if err := c.EndTransaction(s.ctx, kgo.TryAbort); err != nil {
					s.Error(err)
				}
			})
			s.Cleanup(func() { close(over); ending.Wait() })
			return work(nil)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := streamtest.EmbeddedCluster(t)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			t.Cleanup(cancel)
			s := &stopped{T: t, ctx: ctx, cluster: cluster, reg: prometheus.NewRegistry(), heal: make(chan struct{})}
			var err error
			if s.client, err = stream.Open(stream.Config{Brokers: cluster.ListenAddrs(), Prefix: "stop"}, zap.NewNop(),
				s.reg); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.client.Close() })
			if err := s.client.CreateTopics(ctx, []stream.TopicSpec{{Name: "t", Partitions: 2, Replication: 1}},
				true); err != nil {
				t.Fatal(err)
			}
			s.topic = s.client.Topic("t")
			for i := range 6 {
				if err := s.client.NewProducer().Produce(ctx,
					stream.Record{Topic: s.topic, Partition: int32(i % 2), Value: fmt.Append(nil, i)}); err != nil {
					t.Fatal(err)
				}
			}
			run := row.stop(s)
			groupCtx, stop := context.WithCancel(ctx)
			var ended sync.WaitGroup
			ended.Go(func() {
				if err := s.client.Consume(groupCtx, stream.GroupConfig{Name: "g", Topics: []string{"t"},
					Session: 500 * time.Millisecond, Heartbeat: 100 * time.Millisecond, Drain: 250 * time.Millisecond}, run); err != nil {
					t.Error(err)
				}
			})
			defer ended.Wait()
			defer stop()

			first := 0.0
			s.until("the stopped partition's lag shows",
				func() bool { first = s.gauge("tollgate_stream_lag_seconds", 0); return first > 0 })
			s.until("its neighbour is done", func() bool {
				return s.gauge("tollgate_stream_lag_records", 1) == 0 && s.gauge("tollgate_stream_lag_seconds", 1) == 0
			})
			s.until("Health names it", func() bool {
				h := s.client.Health()
				waits, incident := row.waits == "", row.incident == ""
				for _, w := range h.Waiting {
					waits = waits || w.For == row.waits && w.Topic == s.topic && w.Partition == 0
				}
				for _, in := range h.Incidents {
					incident = incident || in.Code == row.incident && in.Topic == s.topic && in.Partition == 0
				}
				return waits && incident
			})
			s.until("the lag grows", func() bool { return s.gauge("tollgate_stream_lag_seconds", 0) > first+0.05 })
			if n := s.gauge("tollgate_stream_lag_records", 0); n == 0 {
				t.Errorf("%v records wait by the metric", n)
			}
			if row.stays {
				return
			}
			close(s.heal)
			s.until("all is well", func() bool {
				h := s.client.Health()
				return s.gauge("tollgate_stream_lag_records", 0) == 0 &&
					s.gauge("tollgate_stream_lag_seconds", 0) == 0 && len(h.Waiting) == 0 && len(h.Incidents) == 0
			})
		})
	}
}
