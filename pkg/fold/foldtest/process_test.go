package foldtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// amountHeavy makes a record that fits into no commit.
const amountHeavy = 1 << 30

// heavy is a counter whose record may become too large.
type heavy struct{ *counter }

func (h heavy) Append(dst []byte, n count) []byte {
	if n.spent >= amountHeavy {
		return append(dst, make([]byte, 2<<20)...)
	}
	return h.counter.Append(dst, n)
}

// settings are the configuration, whose newest revision may be unreadable.
type settings struct {
	mu      sync.Mutex
	newest  int64
	missing bool
	changed chan struct{}
}

func (s *settings) set(newest int64, missing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest, s.missing = newest, missing
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *settings) Newest() state.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return state.Revision{Number: s.newest}
}

func (s *settings) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *settings) InForce(state.Partition, state.Revision) {}

func (s *settings) At(r state.Revision) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.missing && r.Number == s.newest {
		return 0, fault.New(fault.NotFound, "REVISION_UNKNOWN", "it is not there")
	}
	return 1 << 40, nil
}

// process is an engine in the real frame, with servers of its own, as operators see it.
type process struct {
	*testing.T
	ctx      context.Context
	cluster  *kfake.Cluster
	redis    *miniredis.Miniredis
	store    *redisstate.Store
	settings *settings
	client   *stream.Client
	producer *stream.Producer
	// stopper is the offset of the record that stopped the partition.
	stopper int64
	admin   string
	health  grpc_health_v1.HealthClient
}

// servers are what a process keeps its state in.
func startServers(t *testing.T) *process {
	p := &process{T: t, ctx: t.Context(), cluster: streamtest.EmbeddedCluster(t), redis: miniredis.RunT(t)}
	p.store, _ = statetest.Redis{Name: "miniredis", Address: p.redis.Addr()}.Open(t)
	return p
}

// start runs the engine on topics of its own.
func (p *process) start() (stop func()) { return p.startOn(streamtest.NewPrefix(p.T)) }

// startOn runs the engine on the topics of a prefix.
func (p *process) startOn(prefix string) (stop func()) {
	p.Helper()
	env := daemon.NewEnv("simulation", zap.NewNop())
	client, err := stream.Open(stream.Config{Brokers: p.cluster.ListenAddrs(), Prefix: prefix}, zap.NewNop(), env.Metrics)
	if err != nil {
		p.Fatal(err)
	}
	topics := []stream.TopicSpec{{Name: "log", Partitions: 1, Replication: 1}}
	for _, name := range []string{"safeguards", stream.EventsRejected, stream.StateSnapshots} {
		topics = append(topics, stream.TopicSpec{Name: name, Partitions: 1, Replication: 1})
	}
	if err := client.CreateTopics(p.ctx, topics, true); err != nil {
		p.Fatal(err)
	}
	p.settings = &settings{newest: 1, changed: make(chan struct{})}
	p.client, p.producer = client, client.NewProducer()
	env.Health.WatchKafka(client)
	cfg := rpc.DefaultConfig("127.0.0.1:0")
	server, err := rpc.NewServer(cfg, env)
	if err != nil {
		p.Fatal(err)
	}
	engine, err := fold.NewEngine(p.ctx, fold.EngineConfig[count, int64]{
		Service: "simulation", Domain: "simulation", Topic: "log", Address: "a:1",
		NewFold: func() fold.Fold[count, int64] { return heavy{&counter{topic: client.Topic("safeguards")}} },
		Options: counts,
		Client:  client, Producer: p.producer, Store: p.store, Revisions: p.settings, Clock: time.Now, Logger: zap.NewNop(), Metrics: env.Metrics,
		Limits: fold.DefaultLimits(),
	})
	if err != nil {
		p.Fatal(err)
	}
	env.Health.Check("simulation", engine.Ready)
	ctx, cancel := context.WithCancel(p.ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- daemon.Serve(ctx, daemon.DefaultConfig("127.0.0.1:0"), env, func(ctx context.Context, _ daemon.Env) error {
			return daemon.RunAll(ctx, server.Serve, engine.Run)
		})
	}()
	if p.admin, err = env.Listeners.Wait(ctx, "admin"); err != nil {
		p.Fatal(err)
	}
	conn, err := rpc.Dial(server.Advertised(), "", grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		p.Fatal(err)
	}
	p.health = grpc_health_v1.NewHealthClient(conn)
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			p.Errorf("serve: %v", err)
		}
		ctx := context.WithoutCancel(p.ctx)
		if err := errors.Join(conn.Close(), p.producer.Close(ctx), client.Close(), server.Close()); err != nil {
			p.Errorf("close: %v", err)
		}
	})
	p.Cleanup(stop)
	return stop
}

// page is one of the operators'.
func (p *process) page(path string) (int, string) {
	p.Helper()
	req, err := http.NewRequestWithContext(p.ctx, http.MethodGet, "http://"+p.admin+path, nil)
	if err != nil {
		p.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// until asks all three until they agree: /readyz by status and words, gRPC health, and the metric.
func (p *process) until(ready bool, words ...string) string {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 60*time.Second)
	defer cancel()
	code, status, metric := http.StatusServiceUnavailable, grpc_health_v1.HealthCheckResponse_NOT_SERVING, "\ntollgate_simulation_ready 0\n"
	if ready {
		code, status, metric = http.StatusOK, grpc_health_v1.HealthCheckResponse_SERVING, "\ntollgate_simulation_ready 1\n"
	}
	for {
		gotCode, body := p.page("/readyz")
		res, err := p.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			p.Fatal(err)
		}
		_, metrics := p.page("/metrics")
		agree := gotCode == code && res.GetStatus() == status && strings.Contains(metrics, metric)
		for _, w := range words {
			agree = agree && strings.Contains(body, w)
		}
		if agree {
			return body
		}
		select { // nothing signals when a check changes: so it is asked
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			p.Fatalf("want ready %v and %q; /readyz answers %d %s, gRPC %s", ready, words, gotCode, body, res.GetStatus())
		}
	}
}

// accept appends events to the log, received now where they do not show when, and gives the offset of the last.
func (p *process) accept(events ...*event.Event) (last int64) {
	p.Helper()
	for _, e := range events {
		if e.ReceivedAt.IsZero() {
			e.ReceivedAt = time.Now().Truncate(time.Millisecond)
		}
		r, err := e.Record(p.client.Topic("log"))
		if err != nil {
			p.Fatal(err)
		}
		results, err := p.producer.ProduceResults(p.ctx, r)
		if err != nil {
			p.Fatal(err)
		}
		last = results[0].Offset
	}
	return last
}

// leaveOut is a person's word that the partition goes on without the record at an offset.
func (p *process) leaveOut(offset int64) {
	p.accept(fold.NewGap(&controlv1.Gap{Domain: "simulation", FromOffset: offset, ToOffset: offset + 1}, time.Now()))
}

// appendRaw appends a batch to the log of a prefix as it is.
func (p *process) appendRaw(prefix string, batch []byte) {
	streamtest.AppendRaw(p.T, p.cluster.ListenAddrs(), prefix+".log", 0, batch)
}

// cut deletes the log of a prefix below an offset, as retention does.
func (p *process) cut(prefix string, offset int64) {
	streamtest.CutTopic(p.T, p.cluster.ListenAddrs(), prefix+".log", 0, offset)
}

// failFetches answers every fetch of the log with an error.
func (p *process) failFetches(why *kerr.Error) {
	log := p.client.Topic("log")
	p.cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		p.cluster.KeepControl()
		f := req.(*kmsg.FetchRequest)
		for _, topic := range f.Topics {
			if topic.Topic != log {
				continue
			}
			res := f.ResponseKind().(*kmsg.FetchResponse)
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic = log
			for _, part := range topic.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.ErrorCode = part.Partition, why.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			res.Topics = append(res.Topics, rt)
			return res, nil, true
		}
		return nil, nil, false
	})
}

// untilOffset waits until so much is committed.
func (p *process) untilOffset(offset int64) {
	p.Helper()
	for {
		w, _, err := p.store.Peek(p.ctx, state.Partition{Domain: "simulation", Number: 0, Count: 1}, nil)
		if err != nil {
			p.Fatal(err)
		}
		if w.Offset >= offset {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.ctx.Done():
			p.Fatal("not committed")
		}
	}
}

func (p *process) untilMetric(line string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 60*time.Second)
	defer cancel()
	for {
		_, metrics := p.page("/metrics")
		if strings.Contains(metrics, line) {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			p.Fatalf("no %s in\n%s", line, grep(metrics, "simulation"))
		}
	}
}

// untilLag reads the metric of the log's lag until it shows that something waits, or that nothing does.
func (p *process) untilLag(waits bool) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 60*time.Second)
	defer cancel()
	for {
		_, metrics := p.page("/metrics")
		lag := grep(metrics, "tollgate_stream_lag_seconds{")
		if lag != "" && waits == !strings.HasSuffix(lag, "} 0\n") {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			p.Fatalf("want a lag %v, have %q", waits, lag)
		}
	}
}

func grep(text, word string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			fmt.Fprint(&out, line)
		}
	}
	return out.String()
}
