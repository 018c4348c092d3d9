package ingest

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// BenchmarkPublishStream is one stream, its sender and its receiver in this process, by how many events a message has.
func BenchmarkPublishStream(b *testing.B) {
	for _, broker := range streamtest.Brokers(b) {
		for _, together := range []int{1, 256} {
			b.Run(fmt.Sprintf("%s/%d", broker.Name, together), func(b *testing.B) {
				f := newFixture(b, broker.Addrs)
				benchStream(b, f, f.start(nil), together)
			})
		}
	}
}

func benchStream(b *testing.B, f *fixture, r *replica, together int) {
	events := make([]*eventv1.Event, 1024)
	for i := range events {
		events[i] = usage(fmt.Sprintf("cdr-%010d", i), fmt.Sprintf("4477009%05d", i), 125).Proto()
	}
	s, err := r.ingest.PublishStream(f.ctx)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	began, used := time.Now(), processorTime(b)
	sent := make(chan error, 1)
	go func() {
		req := &ingestv1.PublishStreamRequest{}
		for i := 0; i < b.N; i += together {
			if from := i % len(events); together == 1 {
				req.Event = events[from]
			} else {
				req.Events = events[from : from+min(together, b.N-i)]
			}
			if err := s.Send(req); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseSend()
	}()
	for n := 0; ; {
		res, err := s.Recv()
		if errors.Is(err, io.EOF) {
			if n != b.N {
				b.Fatalf("%d of %d", n, b.N)
			}
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		n += len(res.GetResults())
	}
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "events/s")
	b.ReportMetric(float64((processorTime(b)-used).Nanoseconds())/1e3/float64(b.N), "cpu-µs/event")
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkKafkaSource works off the records of events.inbound.
func BenchmarkKafkaSource(b *testing.B) {
	for _, broker := range streamtest.Brokers(b) {
		b.Run(broker.Name, func(b *testing.B) {
			f := newFixture(b, broker.Addrs)
			records := make([]stream.Record, b.N)
			for i := range records {
				subject := fmt.Sprintf("4477009%05d", i%1000)
				records[i] = stream.Record{Topic: f.client.Topic(stream.EventsInbound), Partition: stream.AnyPartition,
					Key: []byte(subject), Value: bytesOf(b, usage(fmt.Sprintf("cdr-%010d", i), subject, 125))}
			}
			if err := f.client.NewProducer().Produce(f.ctx, records...); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			f.start(nil)
			var began time.Time
			first := 0
			f.until("all is there", func() bool {
				n := 0
				for p := range int32(3) {
					_, end, err := f.client.Offsets(f.ctx, f.client.Topic(stream.EventsOrdered), p)
					if err != nil {
						b.Fatal(err)
					}
					n += int(end)
				}
				if began.IsZero() && n > 0 {
					began, first = time.Now(), n // the group has been joined
				}
				return n >= b.N
			})
			b.ReportMetric(float64(b.N-first)/time.Since(began).Seconds(), "events/s")
		})
	}
}
