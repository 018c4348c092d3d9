package safeguard

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"go.yaml.in/yaml/v4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// asReplica, set, makes of the test binary the service itself, so that it can be killed.
const asReplica = "TOLLGATE_TEST_SAFEGUARD_REPLICA"

func TestMain(m *testing.M) {
	if os.Getenv(asReplica) != "" {
		daemon.Main("safeguard", DefaultConfig(), Run)
	}
	code := m.Run()
	var leaked error
	for range 10 { // a fetch that was given up stays open at a real broker for half a second
		if leaked = goleak.Find(goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*Cluster).run")); leaked == nil {
			break
		}
	}
	if leaked != nil && code == 0 {
		fmt.Fprintln(os.Stderr, leaked)
		code = 1
	}
	os.Exit(code)
}

const (
	testKey = "tg_0123456789abcdef"
	// patience of every wait: it only ends tests that fail.
	patience = 120 * time.Second
)

// configuration stands for the configuration service.
type configuration struct {
	configv1.UnimplementedConfigWatchServiceServer
	stopping <-chan struct{}

	mu        sync.Mutex
	snapshots []*configv1.Snapshot // the newest last
	changed   chan struct{}
}

// becomes makes a revision.
func (c *configuration) becomes(revision int64, classes ...*configv1.ClassOfService) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshots = append(c.snapshots, &configv1.Snapshot{
		Revision: revision, ApplyRevision: revision, ClassesOfService: classes,
		Tenants: []*configv1.Tenant{
			{Name: "tenants/acme"},
			{Name: "tenants/lenient", Subscribers: &configv1.SubscriberPolicy{OnUnknown: configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW}},
		},
	})
	if c.changed != nil {
		close(c.changed)
	}
	c.changed = make(chan struct{})
}

func (c *configuration) newest() (int64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshots[len(c.snapshots)-1].GetRevision(), c.changed
}

func (c *configuration) Snapshot(r *configv1.SnapshotRequest, out configv1.ConfigWatchService_SnapshotServer) error {
	if s := c.at(r.GetRevision()); s != nil {
		return out.Send(&configv1.SnapshotResponse{Snapshot: s})
	}
	return status.Error(codes.NotFound, "no such revision")
}

// at is nil where there is none.
func (c *configuration) at(revision int64) *configv1.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.snapshots {
		if s.GetRevision() == revision {
			return s
		}
	}
	return nil
}

func (c *configuration) Watch(_ *configv1.WatchRequest, out configv1.ConfigWatchService_WatchServer) error {
	for {
		revision, changed := c.newest()
		if err := out.Send(&configv1.WatchResponse{Revision: revision, ApplyRevision: revision}); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-c.stopping:
			return nil
		case <-out.Context().Done():
			return nil
		}
	}
}

// fixture is everything the service needs, on one pair of servers.
type fixture struct {
	*testing.T
	ctx      context.Context
	cfg      Config
	client   *stream.Client
	producer *stream.Producer
	store    state.Store
	last     map[string]int64 // sequence told, by subscriber
}

// onServers runs a test on the embedded broker with the Redis in memory, and on real servers where they answer.
func onServers(t *testing.T, test func(f *fixture)) {
	brokers, redises := streamtest.Brokers(t), statetest.Redises(t)
	for i, b := range brokers {
		if i >= len(redises) {
			t.Fatalf("%s has no Redis beside it", b.Name)
		}
		t.Run(b.Name+", "+redises[i].Name, func(t *testing.T) { test(newFixture(t, b.Addrs, redises[i])) })
	}
}

func newFixture(t *testing.T, brokers []string, redis statetest.Redis) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // t.Context() ends before the clean-up
	t.Cleanup(cancel)
	store, prefix := redis.Open(t)
	cfg := DefaultConfig()
	cfg.Kafka = stream.Config{Brokers: brokers, Prefix: streamtest.NewPrefix(t)}
	cfg.Redis = redis.Config(prefix)
	cfg.Admin.Listen, cfg.GRPC.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.GRPC.KeyHashes = []string{rpc.HashKey(testKey)}
	cfg.Configuration.APIKeyFile = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(cfg.Configuration.APIKeyFile, []byte(testKey), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, ctx: ctx, cfg: cfg, store: store}
	var err error
	if f.client, err = stream.Open(cfg.Kafka, zap.NewNop(), prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.client.Close() })
	f.producer = f.client.NewProducer()
	t.Cleanup(func() { _ = f.producer.Close(ctx) })
	return f
}

func (f *fixture) createTopics() {
	f.Helper()
	if err := f.client.CreateTopics(f.ctx, stream.Topics(4), true); err != nil {
		f.Fatal(err)
	}
}

// configure serves a configuration for the rest of the test, at revision 7.
func (f *fixture) configure(classes ...*configv1.ClassOfService) *configuration {
	f.Helper()
	env := daemon.NewEnv("config", zap.NewNop())
	cfg := rpc.DefaultConfig("127.0.0.1:0")
	cfg.KeyHashes = f.cfg.GRPC.KeyHashes
	server, err := rpc.NewServer(cfg, env)
	if err != nil {
		f.Fatal(err)
	}
	c := &configuration{stopping: server.Stopping()}
	c.becomes(7, classes...)
	configv1.RegisterConfigWatchServiceServer(server, c)
	ctx, cancel := context.WithCancel(f.ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	f.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Error(err)
		}
	})
	f.cfg.Configuration.Address = server.Advertised()
	return c
}

// replica is one process of the service.
type replica struct {
	doors
	f     *fixture
	cmd   *exec.Cmd
	admin string
	ended chan error
	lines func() []string
}

// start runs the service as it is deployed, in a process of its own.
func (f *fixture) start() *replica {
	f.Helper()
	cfg, err := yaml.Dump(map[string]any{
		"admin": map[string]any{"listen": "127.0.0.1:0"},
		"kafka": map[string]any{"brokers": f.cfg.Kafka.Brokers, "prefix": f.cfg.Kafka.Prefix},
		"redis": map[string]any{"address": f.cfg.Redis.Address, "prefix": f.cfg.Redis.Prefix, "skip_durability_check": f.cfg.Redis.SkipDurabilityCheck},
		"state": f.cfg.State,
		"grpc":  map[string]any{"listen": "127.0.0.1:0", "api_key_hashes": f.cfg.GRPC.KeyHashes},
		"config": map[string]any{
			"address": f.cfg.Configuration.Address, "api_key_file": f.cfg.Configuration.APIKeyFile,
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "safeguard.yaml")
	if err := os.WriteFile(path, cfg, 0o600); err != nil {
		f.Fatal(err)
	}
	r := &replica{f: f, cmd: exec.Command(os.Args[0], "-config", path), ended: make(chan error, 1)}
	r.cmd.Env = append(os.Environ(), asReplica+"=1")
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		f.Fatal(err)
	}
	listening := make(chan [2]string, 8)
	var mu sync.Mutex
	var lines []string
	r.lines = func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(lines) }
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			mu.Lock()
			lines = append(lines, s.Text())
			mu.Unlock()
			var l struct{ Message, Listener, Address string }
			if json.Unmarshal(s.Bytes(), &l) == nil && l.Message == "listening" {
				listening <- [2]string{l.Listener, l.Address}
			}
		}
		r.ended <- r.cmd.Wait()
	}()
	f.Cleanup(func() {
		r.kill()
		if f.Failed() {
			f.Logf("replica %d:\n%s", r.cmd.Process.Pid, strings.Join(r.lines(), "\n"))
		}
	})
	for r.doors.inventory == nil {
		select {
		case l := <-listening:
			if l[0] == "admin" {
				r.admin = l[1]
				continue
			}
			conn, err := rpc.Dial(l[1], testKey)
			if err != nil {
				f.Fatal(err)
			}
			f.Cleanup(func() { _ = conn.Close() })
			r.doors = newDoors(conn)
		case err := <-r.ended:
			r.ended <- err
			f.Fatalf("the replica ended: %v\n%s", err, strings.Join(r.lines(), "\n"))
		case <-f.ctx.Done():
			f.Fatal("the replica does not listen")
		}
	}
	return r
}

// kill ends the process as kill -9 does.
func (r *replica) kill() {
	_ = r.cmd.Process.Kill() // it may have ended
	r.ended <- <-r.ended
}

// stop ends it as an operator does.
func (r *replica) stop() {
	r.f.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.f.Fatal(err)
	}
	err := <-r.ended
	r.ended <- err
	if err != nil {
		r.f.Errorf("after SIGTERM: %v", err)
	}
}

// shows waits for an answer that is one (REBUILDING says to ask again) and holds everything told of the subscriber:
// outcomes are published before the commit that an answer is read from.
func (r *replica) shows(subject string) *optionsv1.DataSafeguard {
	r.f.Helper()
	for {
		m, err := r.inventory.GetDataSafeguard(r.f.ctx, &optionsv1.GetDataSafeguardRequest{Name: nameOf(subject)})
		if err == nil && m.GetSequence() >= r.f.last[subject] {
			return m
		}
		// Answers are a batch behind what is told.
		if err != nil && fault.KindOf(err) != fault.Unavailable && fault.KindOf(err) != fault.NotFound || r.f.ctx.Err() != nil {
			r.f.Fatalf("%s: %v, %v", subject, m, err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.f.ctx.Done():
		}
	}
}

func nameOf(subject string) string {
	return "tenants/acme/subscribers/" + subject + "/options/dataSafeguard"
}

// publish puts events on the log, received now.
func (f *fixture) publish(events ...*event.Event) {
	f.Helper()
	var records []stream.Record
	for _, e := range events {
		e.ReceivedAt = time.Now().UTC().Truncate(time.Millisecond)
		if e.Time.IsZero() {
			e.Time = e.ReceivedAt
		}
		r, err := e.Record(f.client.Topic(stream.EventsOrdered))
		if err != nil {
			f.Fatal(err)
		}
		records = append(records, r)
	}
	if err := f.producer.Produce(f.ctx, records...); err != nil {
		f.Fatal(err)
	}
}

// await reads a topic until what it holds is enough.
func (f *fixture) await(name string, enough func([]stream.Record) bool) []stream.Record {
	f.Helper()
	n, err := f.client.Partitions(f.ctx, f.client.Topic(name))
	if err != nil {
		f.Fatal(err)
	}
	next := make([]int64, n)
	var all []stream.Record
	for {
		for p := range next {
			b, err := f.client.FetchFrom(f.ctx, f.client.Topic(name), int32(p), next[p], 8<<20)
			if err != nil {
				f.Fatalf("%s holds %d records, which is not enough: %v", name, len(all), err)
			}
			next[p] = b.Next
			all = append(all, b.Records...)
		}
		if enough(all) {
			return all
		}
	}
}

// configured waits until every partition has taken the configuration.
func (f *fixture) configured() {
	f.Helper()
	f.await(stream.EventsOrdered, func(records []stream.Record) bool {
		at := map[int32]bool{}
		for _, r := range records {
			if e, err := event.Decode(r.Value); err == nil && e.Type == event.TypeRevision {
				at[r.Partition] = true
			}
		}
		return len(at) == 4
	})
}

// told waits for n outcomes, repeats aside, and gives those of each subscriber in their order. One id has one content.
func (f *fixture) told(n int) map[string][]string {
	f.Helper()
	var firsts []stream.Record
	f.await(stream.Safeguards, func(records []stream.Record) bool {
		firsts = nil
		seen := map[string]string{}
		for _, r := range records {
			id, _ := r.Header(event.HeaderID)
			if before, ok := seen[string(id)]; ok {
				if before != string(r.Value) {
					f.Fatalf("outcome %s has two contents", id)
				}
				continue
			}
			seen[string(id)] = string(r.Value)
			firsts = append(firsts, r)
		}
		return len(firsts) >= n
	})
	out := map[string][]string{}
	last := map[string]int64{}
	f.last = last
	for _, r := range firsts {
		e, err := event.Decode(r.Value)
		if err != nil {
			f.Fatal(err)
		}
		d := e.Data.(*eventv1.Safeguard)
		if d.GetPreviousSequence() != last[e.Subject] {
			f.Errorf("%s of %s follows %d, after %d", e.Type, e.Subject, d.GetPreviousSequence(), last[e.Subject])
		}
		last[e.Subject] = d.GetSequence()
		out[e.Subject] = append(out[e.Subject], strings.TrimPrefix(safeguardtest.Line(f, r), e.Subject+" "))
	}
	return out
}

const crowd = 24

func subject(i int) string { return fmt.Sprintf("4477009%05d", i) }

// each makes an event of every subscriber.
func each(make func(i int) *event.Event) []*event.Event {
	var events []*event.Event
	for i := range crowd {
		e := make(i)
		e.Source, e.Tenant, e.Subject = "test", "acme", subject(i)
		events = append(events, e)
	}
	return events
}

func activations() []*event.Event {
	return each(func(i int) *event.Event {
		return &event.Event{ID: fmt.Sprintf("a-%d", i), Type: "subscriber.activated", Data: &eventv1.SubscriberActivated{ClassOfService: "gold"}}
	})
}

func charges(round, amount string) []*event.Event {
	return each(func(i int) *event.Event {
		return &event.Event{ID: fmt.Sprintf("%s-%d", round, i), Type: "usage.charged", Data: &eventv1.UsageCharged{
			Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: safeguardtest.Units(amount),
		}}
	})
}

func TestTwoReplicasCountOnceWhileOneIsKilled(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Gold())
		first, second := f.start(), f.start()
		f.configured()
		f.publish(activations()...)
		f.told(crowd)
		for i := range crowd {
			// Each replica knows every subscriber: its own, and through one hop those of the other.
			one, other := first.shows(subject(i)), second.shows(subject(i))
			if one.GetSequence() != other.GetSequence() || one.GetRevision() != 7 || safeguardtest.Amount(one.GetLimit()) != "50" {
				f.Errorf("one shows %v, the other %v", one, other)
			}
		}

		f.publish(charges("first", "45")...)
		first.kill()
		f.publish(charges("first", "45")...)
		f.publish(charges("second", "6")...)
		want := []string{
			"activated 0/50 ACTIVATION", "alert 80% at 40 45/50 USAGE", "reached 51/50 USAGE blocked", "overshoot by 1 51/50 USAGE blocked",
		}
		for s, got := range f.told(4 * crowd) {
			if diff := cmp.Diff(want, got); diff != "" {
				f.Errorf("%s: %s", s, diff)
			}
		}
		for i := range crowd {
			m := second.shows(subject(i))
			if safeguardtest.Amount(m.GetSpent()) != "51" || !m.GetReached() || len(m.GetEligibleStates()) != 2 {
				f.Errorf("%s shows %v", subject(i), m)
			}
		}
		second.stop()
		if n := strings.Count(strings.Join(second.lines(), "\n"), `"message":"limit reached"`); n == 0 {
			f.Error("no line says that a limit was reached")
		}
		for _, l := range second.lines() {
			if strings.Contains(l, "4477009") {
				f.Errorf("a line names a subscriber: %s", l)
			}
		}
	})
}

func TestTheInventoryNamesWhatIsWrong(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Gold(), &configv1.ClassOfService{Name: "tenants/acme/classesOfService/basic"})
		r := f.start()
		f.configured()
		basic := activations()[0]
		basic.Data = &eventv1.SubscriberActivated{ClassOfService: "basic"}
		others := activations()[1:]
		at := func(e *event.Event) int { return int(stream.PartitionOf([]byte(e.Key()), 4)) }
		// An activation without the option says nothing; one behind it in the same partition does.
		known := others[slices.IndexFunc(others, func(e *event.Event) bool { return at(e) == at(basic) })]
		gone := others[len(others)-1]
		f.publish(basic, known, gone, &event.Event{
			ID: "t", Source: "test", Tenant: "acme", Subject: gone.Subject, Type: "subscriber.terminated", Data: &eventv1.SubscriberTerminated{},
		})
		f.told(3)
		r.shows(known.Subject)
		if got := r.shows("+" + known.Subject); got.GetName() != nameOf(known.Subject) {
			f.Errorf("asked for by another spelling it is %s", got.GetName())
		}
		for _, test := range []struct {
			name, resource string
			kind           fault.Kind
			reason         string
		}{
			{"a name of something else", "tenants/acme/subscribers/1/options/overspendSafeguard", fault.Invalid, "NAME_INVALID"},
			{"a name without a subscriber", "tenants/acme/subscribers//options/dataSafeguard", fault.Invalid, "NAME_INVALID"},
			{"an MSISDN with two zeros", "tenants/acme/subscribers/00447700900123/options/dataSafeguard", fault.Invalid, "NAME_INVALID"},
			{"an MSISDN that is too short", "tenants/acme/subscribers/1234/options/dataSafeguard", fault.Invalid, "NAME_INVALID"},
			{"a subscriber that nobody activated", nameOf("449999999999"), fault.NotFound, "SUBSCRIBER_NOT_FOUND"},
			{"a subscriber that is gone", nameOf(gone.Subject), fault.NotFound, "SUBSCRIBER_NOT_FOUND"},
			{"a subscriber of another tenant", strings.Replace(nameOf(known.Subject), "acme", "other", 1), fault.NotFound, "SUBSCRIBER_NOT_FOUND"},
			{"a class without the option", nameOf(basic.Subject), fault.NotFound, "OPTION_NOT_OFFERED"},
		} {
			_, err := r.inventory.GetDataSafeguard(f.ctx, &optionsv1.GetDataSafeguardRequest{Name: test.resource})
			if fault.KindOf(err) != test.kind || fault.ReasonOf(err) != test.reason {
				f.Errorf("%s: %v", test.name, err)
			}
		}
	})
}

// A service that starts before its servers are ready says so, and goes on when they are.
func TestTopicsMayComeLater(t *testing.T) {
	f := newFixture(t, streamtest.Embedded(t), statetest.Redises(t)[0])
	f.configure(safeguardtest.Gold())
	core, logs := observer.New(zapcore.InfoLevel)
	waits := make(chan string, 100)
	env := daemon.NewEnv("safeguard", zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "waiting" {
			waits <- fmt.Sprint(logs.All()[logs.Len()-1].ContextMap()["for"])
		}
		return nil
	})))
	ctx, cancel := context.WithCancel(f.ctx)
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, f.cfg, env) }()
	select {
	case check := <-waits:
		if check != "topics" || !slices.ContainsFunc(env.Health.Failing(), func(x daemon.Failing) bool { return x.Check == check }) {
			t.Errorf("waits for %s, and health says %v", check, env.Health.Failing())
		}
	case err := <-ended:
		t.Fatal(err)
	case <-f.ctx.Done():
		t.Fatal("it does not say what it waits for")
	}
	f.createTopics()
	f.configured()
	f.publish(activations()...)
	f.told(crowd)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
