package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// dead is a network that dies with the first request of a kind, before that request leaves, as a process does that is
// killed at this moment.
type dead struct {
	key   int16
	mu    sync.Mutex
	died  chan struct{}
	conns []net.Conn
}

func (d *dead) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case <-d.died:
		return nil, errors.New("dead")
	default:
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.died:
		_ = c.Close()
		return nil, errors.New("dead")
	default:
	}
	d.conns = append(d.conns, c)
	return &deadConn{Conn: c, dead: d}, nil
}

type deadConn struct {
	net.Conn
	dead *dead
}

// Write sees whole requests: a size of four bytes, then the kind of request in two.
func (c *deadConn) Write(b []byte) (int, error) {
	if len(b) > 6 && int16(b[4])<<8|int16(b[5]) == c.dead.key {
		c.dead.mu.Lock()
		defer c.dead.mu.Unlock()
		select {
		case <-c.dead.died:
		default:
			close(c.dead.died)
		}
		for _, conn := range c.dead.conns {
			_ = conn.Close()
		}
		return 0, errors.New("dead")
	}
	return c.Conn.Write(b)
}

func TestKill_BeforePublishOrCommitOnlyRepeats(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]int16{"before publish": streamtest.KeyProduce,
		"between publish and commit": streamtest.KeyOffsetCommit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits until the broker has given the killed one up
			onBrokers(t, func(t *testing.T, f *fixture) { killAt(t, f, key) })
		})
	}
}

func killAt(t *testing.T, f *fixture, key int16) {
	const subjects, each = 20, 10
	var records []stream.Record
	for n := range each {
		for s := range subjects {
			subject := fmt.Sprintf("44770090%04d", s)
			records = append(records, stream.Record{Key: []byte(subject),
				Value: bytesOf(t, usage(fmt.Sprintf("%s-%d", subject, n), subject, 100))})
		}
	}
	records = append(records, stream.Record{Value: []byte("hello")})
	f.produce(records...)

	network := &dead{key: key, died: make(chan struct{})}
	killed := f.start(func(c *Config) { c.Kafka.Dial = network.Dial })
	select {
	case <-network.died:
	case <-f.ctx.Done():
		t.Fatal("it was not killed")
	}
	published := len(f.read(stream.EventsOrdered, 0))
	f.start(nil)
	if err := killed.stop(); err != nil {
		t.Logf("the killed one ended with %v", err)
	}

	// It has committed nothing, so the other does all of it, once more or for the first time.
	seen := map[string]*event.Event{}
	next := map[string]int{}
	for _, rec := range f.read(stream.EventsOrdered, published+subjects*each) {
		e, err := event.Decode(rec.Value)
		if err != nil {
			t.Fatal(err)
		}
		if first, repeated := seen[e.ID]; repeated {
			if first.Content() != e.Content() || first.Identity() != e.Identity() {
				t.Fatalf("%s came twice, with two contents", e.ID)
			}
			continue
		}
		seen[e.ID] = e
		if want := fmt.Sprintf("%s-%d", e.Subject, next[e.Subject]); e.ID != want {
			t.Fatalf("%s comes first where %s should", e.ID, want)
		}
		next[e.Subject]++
	}
	if len(seen) != subjects*each {
		t.Errorf("%d of %d events came through", len(seen), subjects*each)
	}
	ids := map[string]int{}
	for _, rec := range f.read(stream.EventsRejected, 1) {
		ids[headersOf(rec)[event.HeaderRejectedID]]++
	}
	if len(ids) != 1 {
		t.Errorf("one bad record has the rejections %v", ids)
	}
	if key == streamtest.KeyOffsetCommit && published == 0 {
		t.Error("nothing was published before the kill: it tests nothing")
	}
}

func TestStop_RepeatsNothing(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		const n = 50
		for round := range 2 {
			r := f.start(nil)
			for i := range n {
				subject := fmt.Sprintf("44770090%04d", i)
				f.produce(stream.Record{Key: []byte(subject),
					Value: bytesOf(t, usage(fmt.Sprintf("%d-%d", round, i), subject, 100))})
			}
			if got := len(f.read(stream.EventsOrdered, (round+1)*n)); got != (round+1)*n {
				t.Errorf("%d records after round %d", got, round)
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestPublishStream_AnswersInOrder(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(nil)
		s, err := r.ingest.PublishStream(f.ctx)
		if err != nil {
			t.Fatal(err)
		}
		const n = 3 * inboxEvents
		sent := make(chan error, 1)
		go func() {
			draw := func(i int) *eventv1.Event {
				return usage(fmt.Sprint(i), fmt.Sprintf("4477009%05d", i%7), 1).Proto()
			}
			for i := 0; i < n; {
				// One alone, one and others, others alone.
				req := &ingestv1.PublishStreamRequest{}
				if i%4 != 3 {
					req.Event = draw(i)
					i++
				}
				for range i % 5 {
					if i < n {
						req.Events = append(req.Events, draw(i))
						i++
					}
				}
				if req.Event == nil && len(req.Events) == 0 {
					req.Event = draw(i)
					i++
				}
				if err := s.Send(req); err != nil {
					sent <- err
					return
				}
			}
			sent <- s.CloseSend()
		}()
		answers, next := 0, 0
		for {
			res, err := s.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			answers++
			for _, result := range res.GetResults() {
				if result.GetReceipt().GetId() != fmt.Sprint(next) {
					t.Fatalf("answer %d is of %v", next, result)
				}
				next++
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if next != n || answers >= n/2 {
			t.Errorf("%d results in %d answers for %d events", next, answers, n)
		}
		last := map[string]int{}
		for _, rec := range f.read(stream.EventsOrdered, n) {
			e, err := event.Decode(rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			var id int
			if _, err := fmt.Sscan(e.ID, &id); err != nil {
				t.Fatal(err)
			}
			if before, ok := last[e.Subject]; ok && id != before+7 {
				t.Fatalf("%s: %d follows %d", e.Subject, id, before)
			}
			last[e.Subject] = id
		}
	})
}

func TestPublishStream_EndsWithTheProcessAndLosesNoAnsweredEvent(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(nil)
		s, err := r.ingest.PublishStream(f.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&ingestv1.PublishStreamRequest{Event: usage("1", "447700900001", 1).Proto()}); err != nil {
			t.Fatal(err)
		}
		if res, err := s.Recv(); err != nil || len(res.GetResults()) != 1 {
			t.Fatal(err)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if _, err := s.Recv(); fault.KindOf(err) != fault.Unavailable || fault.ReasonOf(err) != "STOPPING" {
			t.Errorf("the stream ended with %v", err)
		}
		if n := len(f.read(stream.EventsOrdered, 1)); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestPublish_UnacknowledgedIsNotAccepted(t *testing.T) {
	t.Parallel()
	own := streamtest.Brokers(t)[0].Own(t)
	f := newFixture(t, own.Addrs())
	r := f.start(func(c *Config) { c.HTTP.RequestTimeout = 300 * time.Millisecond })
	own.Kill9()
	res, err := r.ingest.PublishBatch(f.ctx, &ingestv1.PublishBatchRequest{})
	if err != nil || len(res.GetResults()) != 0 {
		t.Errorf("nothing to publish: %v %v", res, err)
	}
	a := r.post(structured(t, "1", nil), map[string]string{"Content-Type": "application/cloudevents+json"})
	if a.Status != 503 || a.Reason != "OUTCOME_UNKNOWN" || a.Header.Get("Retry-After") == "" {
		t.Errorf("answered without a broker: %+v", a)
	}
	own.Restart()
	f.until("it is accepted", func() bool {
		ctx, cancel := context.WithTimeout(f.ctx, 5*time.Second)
		defer cancel()
		_, err := r.ingest.Publish(ctx, &ingestv1.PublishRequest{Event: usage("1", "447700900001", 1).Proto()})
		return err == nil
	})
}

// A stamp ahead of the broker's clock is refused by it (error 32). That is ours to wait for, by every transport.
func TestPublish_WaitsForAClockThatIsAhead(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, f *fixture) {
		f.clock.Store(int64(time.Hour))
		r := f.start(nil)
		f.produce(stream.Record{Value: bytesOf(t, usage("kafka", "447700900001", 1))})
		f.until("it is not ready", func() bool {
			for _, failing := range r.env.Health.Failing() {
				if failing.Check == "publish" {
					return true
				}
			}
			return false
		})
		ctx, cancel := context.WithTimeout(f.ctx, 300*time.Millisecond)
		defer cancel()
		if _, err := r.ingest.Publish(ctx, &ingestv1.PublishRequest{Event: usage("early", "447700900001",
			1).Proto()}); err == nil {
			t.Error("accepted with a stamp that the broker refuses")
		}
		f.clock.Store(0)
		if _, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: usage("grpc", "447700900002",
			1).Proto()}); err != nil {
			t.Error(err)
		}
		for _, rec := range f.read(stream.EventsOrdered, 2) {
			e, err := event.Decode(rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			if e.ReceivedAt.After(time.Now()) || !rec.Time.Equal(e.ReceivedAt) {
				t.Errorf("%s is stamped %v, received %v", e.ID, rec.Time, e.ReceivedAt)
			}
		}
		f.until("it is ready", func() bool { return len(r.env.Health.Failing()) == 0 })
	}
	t.Run("embedded", func(t *testing.T) {
		// The embedded broker does not check stamps: here it does.
		cluster := streamtest.EmbeddedCluster(t)
		f := newFixture(t, cluster.ListenAddrs())
		cluster.ControlKey(int16(kmsg.Produce), refuseAhead(cluster, f.client.Topic(stream.EventsOrdered)))
		test(t, f)
	})
	if addrs, ok := streamtest.RealKafka(t); ok {
		t.Run("kafka", func(t *testing.T) { test(t, newFixture(t, addrs)) })
	}
}

func refuseAhead(cluster *kfake.Cluster, topic string) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := request.(*kmsg.ProduceRequest)
		ahead := false
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				var batch kmsg.RecordBatch
				if err := batch.ReadFrom(p.Records); err != nil {
					return nil, err, true
				}
				ahead = ahead || batch.MaxTimestamp > time.Now().Add(10*time.Second).UnixMilli()
			}
		}
		if !ahead || req.Topics[0].Topic != topic {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			refused := kmsg.NewProduceResponseTopic()
			refused.Topic = t.Topic
			for _, p := range t.Partitions {
				partition := kmsg.NewProduceResponseTopicPartition()
				partition.Partition, partition.ErrorCode = p.Partition, 32
				refused.Partitions = append(refused.Partitions, partition)
			}
			res.Topics = append(res.Topics, refused)
		}
		return res, nil, true
	}
}

func TestReady_NeedsTheTopics(t *testing.T) {
	t.Parallel()
	addrs := streamtest.Embedded(t)
	f := newFixture(t, addrs)
	r := f.start(func(c *Config) { c.Kafka.Prefix = streamtest.NewPrefix(t) })
	f.until("it names them", func() bool {
		for _, failing := range r.env.Health.Failing() {
			if failing.Check == "topics" {
				return true
			}
		}
		return false
	})
}
