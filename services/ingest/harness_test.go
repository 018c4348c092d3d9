package ingest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

func TestMain(m *testing.M) {
	readingPatience = time.Minute
	streamtest.VerifyTestMain(m)
}

const testKey = "tg_0123456789abcdef"

// patience of every wait: it only ends tests that fail.
const patienceOfTests = 3 * time.Minute

// onBrokers runs a test on the embedded broker, and on Apache Kafka where one answers.
func onBrokers(t *testing.T, test func(t *testing.T, f *fixture)) {
	for _, b := range streamtest.Brokers(t) {
		t.Run(b.Name, func(t *testing.T) { test(t, newFixture(t, b.Addrs)) })
	}
}

// fixture is a Kafka with our topics, and a client that looks at them.
type fixture struct {
	testing.TB
	ctx    context.Context
	cfg    Config
	client *stream.Client
	// clock is how far the replicas' clock is off; stopped is where it stands still, if it does.
	clock   atomic.Int64
	stopped time.Time
}

func newFixture(t testing.TB, brokers []string) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfTests) // t.Context() ends before the clean-up
	t.Cleanup(cancel)
	cfg := DefaultConfig()
	cfg.Kafka = stream.Config{Brokers: brokers, Prefix: streamtest.NewPrefix(t)}
	cfg.Admin.Listen, cfg.GRPC.Listen, cfg.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Configuration.Address = "127.0.0.1:1" // no service answers there
	cfg.GRPC.KeyHashes = []string{rpc.HashKey(testKey)}
	client, err := stream.Open(cfg.Kafka, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	var topics []stream.TopicSpec
	for _, s := range stream.Topics(3) {
		switch s.Name {
		case stream.EventsInbound, stream.EventsOrdered, stream.EventsUnordered, stream.EventsRejected:
			if s.Name == stream.EventsInbound {
				// A topic that lets more in than ingest takes.
				s.Config["max.message.bytes"] = "6291456"
			}
			topics = append(topics, s)
		}
	}
	if err := client.CreateTopics(ctx, topics, true); err != nil {
		t.Fatal(err)
	}
	return &fixture{TB: t, ctx: ctx, cfg: cfg, client: client}
}

// replica is one ingest that runs.
type replica struct {
	f       *fixture
	env     daemon.Env
	logs    *observer.ObservedLogs
	ingest  ingestv1.IngestServiceClient
	http    string
	browser *http.Client
	stop    func() error
}

// start runs ingest as it is deployed; change may alter its configuration.
func (f *fixture) start(change func(*Config)) *replica {
	f.Helper()
	cfg := f.cfg
	if change != nil {
		change(&cfg)
	}
	core, logs := observer.New(zapcore.InfoLevel)
	env := daemon.NewEnv("ingest", zap.New(core))
	env.Clock = func() time.Time {
		now := f.stopped
		if now.IsZero() {
			now = time.Now()
		}
		return now.Add(time.Duration(f.clock.Load()))
	}
	ctx, cancel := context.WithCancel(f.ctx)
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg, env) }()
	r := &replica{f: f, env: env, logs: logs}
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			return err
		case <-f.ctx.Done():
			f.Error("ingest did not stop")
			return nil
		}
	}
	f.Cleanup(func() {
		if err := r.stop(); err != nil {
			f.Errorf("ingest ended with %v", err)
		}
	})
	address, err := env.Listeners.Wait(f.ctx, "grpc")
	if err != nil {
		f.Fatal(err)
	}
	if r.http, err = env.Listeners.Wait(f.ctx, "http"); err != nil {
		f.Fatal(err)
	}
	conn, err := rpc.Dial(address, testKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })
	r.ingest = ingestv1.NewIngestServiceClient(conn)
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	f.Cleanup(transport.CloseIdleConnections)
	r.browser = &http.Client{Transport: transport}
	return r
}

// post sends a body to the HTTP API and reads its answer.
func (r *replica) post(body []byte, headers map[string]string) answered {
	r.f.Helper()
	req, err := http.NewRequestWithContext(r.f.ctx, http.MethodPost, "http://"+r.http+"/v1/events",
		bytes.NewReader(body))
	if err != nil {
		r.f.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	res, err := r.browser.Do(req)
	if err != nil {
		r.f.Fatal(err)
	}
	defer res.Body.Close()
	return readAnswer(r.f, res)
}

// produce appends records to events.inbound.
func (f *fixture) produce(records ...stream.Record) []stream.ProduceResult {
	f.Helper()
	p := f.client.NewProducer(stream.MaxBatch(6<<20), stream.MaxRecord(6<<20))
	for i := range records {
		records[i].Topic = f.client.Topic(stream.EventsInbound)
	}
	results, err := p.ProduceResults(f.ctx, records...)
	if err != nil {
		f.Fatal(err)
	}
	return results
}

// read waits until a topic holds n records, and gives them by partition, in order.
func (f *fixture) read(name string, n int) []stream.Record {
	f.Helper()
	topic := f.client.Topic(name)
	partitions, err := f.client.Partitions(f.ctx, topic)
	if err != nil {
		f.Fatal(err)
	}
	next := make([]int64, partitions)
	var all []stream.Record
	for {
		for p := range next {
			b, err := f.client.FetchFrom(f.ctx, topic, int32(p), next[p], 8<<20)
			if err != nil {
				f.Fatalf("%s holds %d of %d records: %v", name, len(all), n, err)
			}
			next[p] = b.Next
			all = append(all, b.Records...)
		}
		if len(all) >= n {
			return all
		}
		pause.For(f.ctx, 5*time.Millisecond)
	}
}

// until waits for a condition of a server that gives no signal for it.
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

func usage(id, subject string, cents int64) *event.Event {
	return &event.Event{
		ID: id, Source: "mediation", Type: "usage.charged", Tenant: "acme", Subject: subject,
		Time: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		Data: &eventv1.UsageCharged{
			Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true,
			Net: &money.Money{CurrencyCode: "EUR", Units: cents / 100, Nanos: int32(cents%100) * 1e7},
		},
	}
}

func bytesOf(t testing.TB, e *event.Event) []byte {
	t.Helper()
	b, err := e.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// structured is a CloudEvent in JSON; members replace those it has, nil takes one away.
func structured(t testing.TB, id string, members map[string]any) []byte {
	t.Helper()
	fields := map[string]any{
		"specversion": "1.0", "id": id, "source": "crm", "type": "usage.charged", "tenant": "acme", "subject": "447700900001",
		"time": "2026-03-01T10:00:00Z", "data": map[string]any{"net": map[string]any{"currencyCode": "EUR", "units": "1"}},
	}
	for name, value := range members {
		if fields[name] = value; value == nil {
			delete(fields, name)
		}
	}
	return marshal(t, fields)
}

func headersOf(r stream.Record) map[string]string {
	m := map[string]string{}
	for _, h := range r.Headers {
		if _, twice := m[h.Key]; twice {
			m[h.Key] = fmt.Sprintf("%s is there twice", h.Key)
			continue
		}
		m[h.Key] = string(h.Value)
	}
	return m
}

// anyTenant accepts events of every tenant, as while configuration does not answer.
func anyTenant() *tenants {
	t := newTenants(nil, zap.NewNop())
	t.ended()
	return t
}
