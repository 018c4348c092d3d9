package trigger

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frametest"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestMain(m *testing.M) { streamtest.VerifyTestMain(m) }

// fixture is everything the trigger needs, on one pair of servers.
type fixture struct {
	*frametest.Bed
	ctx      context.Context
	cfg      Config
	client   *stream.Client
	producer *stream.Producer
}

func onServers(t *testing.T, test func(f *fixture)) {
	frametest.OnServers(t, 2, func(b *frametest.Bed) {
		cfg := DefaultConfig()
		cfg.Config = b.Config
		test(&fixture{Bed: b, ctx: b.Ctx, cfg: cfg, client: b.Client, producer: b.Producer})
	})
}

// start runs the trigger as it is deployed; the function it returns stops it.
func (f *fixture) start() (stop func()) {
	f.Helper()
	_, end := f.Run("trigger", func(ctx context.Context, env daemon.Env) error { return Run(ctx, f.cfg, env) })
	return func() {
		if err := end(); err != nil {
			f.Errorf("trigger ended with %v", err)
		}
	}
}

// configure saves a revision and waits until each partition of each log has taken it.
func (f *fixture) configure(s *configv1.Snapshot) {
	f.Helper()
	f.Configuration.Save(s)
	for _, l := range logs {
		f.await(l.topic, func(records []stream.Record) bool {
			at := map[int32]bool{}
			for _, r := range records {
				e, err := event.Decode(r.Value)
				if err != nil {
					f.Fatal(err)
				}
				if data, ok := e.Data.(*controlv1.Revision); ok && data.GetRevision() >= s.GetRevision() {
					at[r.Partition] = true
				}
			}
			return len(at) == f.partitions(l.topic)
		})
	}
}

func (f *fixture) partitions(name string) int {
	f.Helper()
	n, err := f.client.Partitions(f.ctx, f.client.Topic(name))
	if err != nil {
		f.Fatal(err)
	}
	return n
}

// await reads a topic until what it holds is enough.
func (f *fixture) await(name string, enough func([]stream.Record) bool) []stream.Record {
	f.Helper()
	return streamtest.Await(f.ctx, f, f.client, name, enough)
}

// publish puts events on a topic, received now.
func (f *fixture) publish(name string, events ...*event.Event) {
	f.Helper()
	var records []stream.Record
	for _, e := range events {
		e.ReceivedAt = time.Now().UTC().Truncate(time.Millisecond)
		r, err := e.Record(f.client.Topic(name))
		if err != nil {
			f.Fatal(err)
		}
		records = append(records, r)
	}
	if err := f.producer.Produce(f.ctx, records...); err != nil {
		f.Fatal(err)
	}
}

// deliveries waits for n of them, counted by id, and gives their places, sorted. One id has one content.
func (f *fixture) deliveries(n int) []string {
	f.Helper()
	var found map[string]*delivery.Delivery
	f.await(webhook.Channel.Topic, func(records []stream.Record) bool {
		found = map[string]*delivery.Delivery{}
		for _, r := range records {
			d, err := delivery.Decode(r)
			if err != nil {
				f.Fatal(err)
			}
			if before, ok := found[d.ID]; ok && string(before.Body) != string(d.Body) {
				f.Fatalf("%s has two bodies", d.ID)
			}
			found[d.ID] = d
		}
		return len(found) >= n
	})
	var ds []*delivery.Delivery
	for _, d := range found {
		ds = append(ds, d)
	}
	lines := places(ds)
	slices.Sort(lines)
	return lines
}

func journey(revision int64) *configv1.Snapshot {
	return snapshot(revision, func(s *configv1.Snapshot) {
		s.Notifications = []*configv1.Notification{
			rule("limits", []string{"safeguard.*"}, "data.blocked", action("notify", "crm")),
			rule("runs", []string{"billrun.failed"}, "", action("notify", "app")),
			rule("spent", []string{"usage.charged"}, fmt.Sprintf("data.net.units > %d", revision), action("notify", "crm")),
		}
	})
}

func reached(id, subject string) *event.Event {
	return &event.Event{
		ID: id, Source: "tollgate/safeguard", Type: "safeguard.reached", Tenant: "acme", Subject: subject, Time: epoch,
		Data: &eventv1.Safeguard{Blocked: true},
	}
}

func failed(id string) *event.Event {
	return &event.Event{
		ID: id, Source: "billing", Type: "billrun.failed", Tenant: "acme", Subject: "billrun/9", Time: epoch,
		Data: &eventv1.BillRunFailed{BillRun: &eventv1.BillRun{Id: "9"}},
	}
}

func TestService_PlansFromAllThreeLogs(t *testing.T) {
	onServers(t, func(f *fixture) {
		stop := f.start()
		f.configure(journey(1))
		f.publish(stream.EventsOrdered, usage("u-1", "44", 2, epoch), usage("u-2", "44", 1, epoch), usage("u-3", "44", 2, epoch), usage("u-1", "44", 2, epoch))
		f.publish(stream.Safeguards, reached("s-1", "44"), reached("s-2", "45"), reached("s-3", "44"))
		f.publish(stream.EventsUnordered, failed("b-1"))
		want := []string{
			"b-1 runs/notify app 0", "s-1 limits/notify crm 1", "s-2 limits/notify crm 1", "s-3 limits/notify crm 2",
			"u-1 spent/notify crm 1", "u-3 spent/notify crm 2",
		}
		if diff := cmp.Diff(want, f.deliveries(len(want))); diff != "" {
			f.Fatal(diff)
		}

		// Another revision, and another process: sequences go on.
		stop()
		f.start()
		f.configure(journey(2))
		f.publish(stream.EventsOrdered, usage("u-4", "44", 2, epoch), usage("u-5", "44", 3, epoch), usage("u-3", "44", 2, epoch))
		want = append(want, "u-5 spent/notify crm 3")
		if diff := cmp.Diff(want, f.deliveries(len(want))); diff != "" {
			f.Fatal(diff)
		}
	})
}

// What Redis held follows from the logs: without it the same is planned, and sequences go on.
func TestService_RebuildsAnEmptyStoreFromTheLogs(t *testing.T) {
	onServers(t, func(f *fixture) {
		stop := f.start()
		f.configure(journey(1))
		f.publish(stream.EventsOrdered, usage("u-1", "44", 2, epoch), usage("u-2", "44", 2, epoch))
		f.deliveries(2)
		stop()

		_, f.cfg.Redis.Prefix = f.Redis.Open(f.T)
		f.start()
		f.publish(stream.EventsOrdered, usage("u-2", "44", 2, epoch), usage("u-3", "44", 2, epoch))
		want := []string{"u-1 spent/notify crm 1", "u-2 spent/notify crm 2", "u-3 spent/notify crm 3"}
		if diff := cmp.Diff(want, f.deliveries(3)); diff != "" {
			f.Error(diff)
		}
	})
}

func TestService_StartWithoutRedisWaitsAndReportsWhy(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Kafka.Brokers = streamtest.Embedded(t)
	cfg.GRPC.Listen = "127.0.0.1:0"
	cfg.Redis.PasswordFile = "nowhere"
	waits := make(chan struct{}, 1)
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.WarnLevel)
	env := daemon.NewEnv("trigger", zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "waiting" {
			waits <- struct{}{}
		}
		return nil
	})))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg, env) }()
	<-waits
	if failing := fmt.Sprint(env.Health.Failing()); !strings.Contains(failing, "read redis password") {
		t.Errorf("health is %s", failing)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
}

// clientOf is another client of the broker.
func clientOf(f *fixture, cfg stream.Config) *stream.Client {
	f.Helper()
	client, err := stream.Open(cfg, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = client.Close() })
	return client
}
