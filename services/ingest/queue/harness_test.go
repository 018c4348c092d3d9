package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

func TestMain(m *testing.M) {
	streamtest.VerifyTestMain(m)
}

const (
	testKey    = "tg_0123456789abcdef"
	patience   = 2 * time.Minute // ends only tests that fail
	partitions = 8
)

// onBrokers runs a test on the embedded broker, and on Apache Kafka where one answers.
func onBrokers(t *testing.T, test func(t *testing.T, f *fixture)) {
	for _, b := range streamtest.Brokers(t) {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			test(t, newFixture(t, b.Addrs))
		})
	}
}

// onBrokersOwn is onBrokers with a broker that the test may kill.
func onBrokersOwn(t *testing.T, test func(t *testing.T, f *fixture, kill, restart func())) {
	for _, b := range streamtest.Brokers(t) {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			own := b.Own(t)
			test(t, newFixture(t, own.Addrs()), own.Kill9, own.Restart)
		})
	}
}

// onEmbedded is for what no broker has a part in.
func onEmbedded(t *testing.T) *fixture {
	t.Helper()
	t.Parallel()
	return newFixture(t, streamtest.Embedded(t))
}

type fixture struct {
	testing.TB
	ctx      context.Context
	cfg      stream.Config
	client   *stream.Client
	producer *stream.Producer
	// clock is how far the replicas' clocks are ahead.
	clock   atomic.Int64
	catalog catalog
}

// catalog is what tenants declare, and whether configuration answers.
type catalog struct {
	mu     sync.Mutex
	types  map[string]*event.Type
	hidden map[string]*event.Type // known once it is read anew
	away   bool
}

func (c *catalog) Declared(_, name string) *event.Type {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.types[name]
}

func (c *catalog) Types(string) (all []*event.Type) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.types {
		all = append(all, t)
	}
	return all
}

func (c *catalog) Refresh(context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.away {
		maps.Copy(c.types, c.hidden)
	}
	return !c.away
}

func newFixture(t testing.TB, brokers []string) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	cfg := stream.Config{Brokers: brokers, Prefix: streamtest.NewPrefix(t)}
	client, err := stream.Open(cfg, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	var topics []stream.TopicSpec
	for _, s := range stream.Topics(partitions) {
		switch s.Name {
		case stream.EventsOrdered, stream.EventsUnordered, stream.Safeguards, stream.EventsRejected:
			topics = append(topics, s)
		}
	}
	if err := client.CreateTopics(ctx, topics, true); err != nil {
		t.Fatal(err)
	}
	f := &fixture{TB: t, ctx: ctx, cfg: cfg, client: client, producer: client.NewProducer()}
	f.catalog.types, f.catalog.hidden = map[string]*event.Type{}, map[string]*event.Type{}
	return f
}

// replica is a process that serves the queue.
type replica struct {
	f       *fixture
	queue   *Queue
	server  *rpc.Server
	address string
	api     ingestv1.EventQueueServiceClient
	network *network
	end     func()
}

// network of a replica, which a kill takes away.
type network struct {
	dead  atomic.Bool
	conns chan net.Conn
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	if n.dead.Load() {
		return nil, net.ErrClosed
	}
	c, err := (&net.Dialer{}).DialContext(ctx, kind, address)
	if err == nil {
		n.conns <- c
	}
	return c, err
}

// kill takes Kafka away from the replica, so that it stores nothing more, and ends its calls.
func (r *replica) kill() {
	r.network.dead.Store(true)
	for {
		select {
		case c := <-r.network.conns:
			_ = c.Close()
			continue
		default:
		}
		break
	}
	r.end()
}

func (f *fixture) replica(change func(*Config)) *replica {
	f.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	n := &network{conns: make(chan net.Conn, 10_000)}
	kafka := f.cfg
	kafka.Dial = n.dial
	client, err := stream.Open(kafka, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		f.Fatal(err)
	}
	env := daemon.NewEnv("ingest", zaptest.NewLogger(f, zaptest.Level(zap.WarnLevel)))
	env.Clock = func() time.Time { return time.Now().Add(time.Duration(f.clock.Load())) }
	grpc := rpc.DefaultConfig("127.0.0.1:0")
	grpc.KeyHashes = []string{rpc.HashKey(testKey)}
	server, err := rpc.NewServer(grpc, env)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	exists := func(_ context.Context, tenant string) bool { return tenant != "nobody" }
	q, err := New(ctx, cfg, env, client, &f.catalog, exists, server)
	if err != nil {
		f.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	address, err := env.Listeners.Wait(ctx, "grpc")
	if err != nil {
		f.Fatal(err)
	}
	conn, err := rpc.Dial(address, testKey)
	if err != nil {
		f.Fatal(err)
	}
	r := &replica{f: f, queue: q, server: server, address: address, api: ingestv1.NewEventQueueServiceClient(conn), network: n}
	ended := false
	r.end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-served; err != nil {
			f.Errorf("the server ended with %v", err)
		}
		closing, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := q.Close(closing); err != nil && !n.dead.Load() {
			f.Errorf("the queue ended with %v", err)
		}
		_ = conn.Close()
		_ = client.Close()
	}
	f.Cleanup(r.end)
	return r
}

// consumer is a stream as its consumer sees it.
type consumer struct {
	f      *fixture
	stream ingestv1.EventQueueService_SubscribeClient
	cancel context.CancelFunc
	// waiting were received and not asked for yet.
	waiting []*ingestv1.QueuedEvent
	id      string
}

func earliest() *ingestv1.Start {
	return &ingestv1.Start{At: &ingestv1.Start_Earliest{Earliest: &emptypb.Empty{}}}
}

func latest() *ingestv1.Start {
	return &ingestv1.Start{At: &ingestv1.Start_Latest{Latest: &emptypb.Empty{}}}
}

// try begins a subscription and returns once it is open, or why it is not.
func (r *replica) try(want *ingestv1.Subscription) (*consumer, error) {
	ctx, cancel := context.WithCancel(r.f.ctx)
	r.f.Cleanup(cancel)
	s, err := r.api.Subscribe(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Send(&ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Subscription{Subscription: want}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err // with EOF, what is received has why
	}
	first, err := s.Recv()
	if err != nil {
		return nil, err
	}
	if first.GetStream() == "" || len(first.GetEvents()) > 0 {
		return nil, fmt.Errorf("the first response is %v", first)
	}
	return &consumer{f: r.f, stream: s, cancel: cancel, id: first.GetStream()}, nil
}

func (r *replica) subscribe(want *ingestv1.Subscription) *consumer {
	r.f.Helper()
	c, err := r.try(want)
	if err != nil {
		r.f.Fatal(err)
	}
	return c
}

// next waits for n events.
func (c *consumer) next(n int) []*ingestv1.QueuedEvent {
	c.f.Helper()
	for len(c.waiting) < n {
		res, err := c.stream.Recv()
		if err != nil {
			c.f.Fatalf("%d of %d events came: %v", len(c.waiting), n, err)
		}
		c.waiting = append(c.waiting, res.GetEvents()...)
	}
	out := c.waiting[:n]
	c.waiting = c.waiting[n:]
	return out
}

// ids waits for n events, and gives their ids, those of a later sending with its number and marked ones with ~.
func (c *consumer) ids(n int) string {
	c.f.Helper()
	return show(c.next(n))
}

func show(events []*ingestv1.QueuedEvent) string {
	var out []string
	for _, e := range events {
		text := e.GetEvent().GetId()
		if e.GetSending() > 1 {
			text += fmt.Sprint("#", e.GetSending())
		}
		if e.GetMayHaveBeenSeen() {
			text += "~"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func (c *consumer) send(a *ingestv1.Ack) {
	c.f.Helper()
	if err := c.stream.Send(&ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Ack{Ack: a}}); err != nil {
		c.f.Fatal(err)
	}
}

// upTo acknowledges by a cursor, one by single events.
func (c *consumer) upTo(e *ingestv1.QueuedEvent) { c.send(&ingestv1.Ack{Cursor: e.GetCursor()}) }

func (c *consumer) one(events ...*ingestv1.QueuedEvent) {
	a := &ingestv1.Ack{}
	for _, e := range events {
		a.Events = append(a.Events, &ingestv1.EventAck{Cursor: e.GetCursor()})
	}
	c.send(a)
}

// ends waits until the stream ends.
func (c *consumer) ends() error {
	for {
		if _, err := c.stream.Recv(); err != nil {
			return err
		}
	}
}

// client is an event about a client.
func clientUpdated(id, client string) *event.Event {
	return &event.Event{
		ID: id, Source: "crm", Type: "client.updated", Tenant: "sample", Subject: "client/" + client,
		Time: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC), ReceivedAt: time.Date(2026, 3, 1, 10, 0, 1, 0, time.UTC),
		Data: &eventv1.ClientChanged{
			Client:  &eventv1.Account{Id: client, DisplayName: "Nord"},
			Contact: &eventv1.Contact{Name: "Ada", Email: "ada@example.com"},
		},
	}
}

// publish puts events on their topics, as ingest does.
func (f *fixture) publish(events ...*event.Event) {
	f.Helper()
	records := make([]stream.Record, len(events))
	for i, e := range events {
		topic := stream.EventsOrdered
		if t, ok := event.Lookup(e.Type); ok {
			topic = topicNames[topicOf(t)]
		}
		r, err := e.Record(f.client.Topic(topic))
		if err != nil {
			f.Fatal(err)
		}
		r.Time = time.Now()
		records[i] = r
	}
	if err := f.producer.Produce(f.ctx, records...); err != nil {
		f.Fatal(err)
	}
}

// stored are the positions of a subscription in events.ordered.
func (f *fixture) stored(name string) []stream.Position {
	f.Helper()
	ask := make([]stream.Position, partitions)
	for i := range ask {
		ask[i] = stream.Position{Topic: f.client.Topic(stream.EventsOrdered), Partition: int32(i)}
	}
	all, err := f.client.Positions(f.ctx, "queue.sample."+name, ask)
	if err != nil {
		f.Fatal(err)
	}
	return all
}

// until waits for a condition that gives no signal.
func (f *fixture) until(what string, ok func() bool) {
	f.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			f.Fatalf("waited in vain until %s", what)
		}
	}
}

// deleteRecords has the log of a partition begin at an offset.
func (f *fixture) deleteRecords(topic string, partition int32, before int64) {
	f.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(f.cfg.Brokers...))
	if err != nil {
		f.Fatal(err)
	}
	defer c.Close()
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = f.client.Topic(topic)
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Partition, rp.Offset = partition, before
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	if _, err := req.RequestWith(f.ctx, c); err != nil {
		f.Fatal(err)
	}
}

// as is the replica's API for the caller with a secret.
func (r *replica) as(secret string) *replica {
	r.f.Helper()
	conn, err := rpc.Dial(r.address, secret)
	if err != nil {
		r.f.Fatal(err)
	}
	r.f.Cleanup(func() { _ = conn.Close() })
	other := *r
	other.api = ingestv1.NewEventQueueServiceClient(conn)
	return &other
}
