package safeguard

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// fixture is everything the service needs, on one pair of servers.
type fixture struct {
	*testing.T
	ctx      context.Context
	cfg      Config
	client   *stream.Client
	producer *stream.Producer
	store    state.Store
	last     map[string]int64 // sequence of the last outcome, by subscriber
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

// activated starts two replicas with a class of service, which share the partitions, and activates every subscriber.
func (f *fixture) activated(class *configv1.ClassOfService) (first, second *replica) {
	f.Helper()
	f.createTopics()
	f.configure(class)
	first, second = f.start(), f.start()
	f.shared(first, second)
	f.configured()
	f.publish(activations()...)
	return first, second
}

// shared waits until both replicas own partitions: a call behind whose append one moves may be answered OUTCOME_UNKNOWN.
func (f *fixture) shared(first, second *replica) {
	f.Helper()
	f.until("partitions at both replicas", func() bool {
		return first.logged("partition opened") > 0 && second.logged("partition opened") > 0
	})
}

// await reads a topic until what it holds is enough.
func (f *fixture) await(name string, enough func([]stream.Record) bool) []stream.Record {
	f.Helper()
	return streamtest.Await(f.ctx, f, f.client, name, enough)
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

// outcomes waits for n outcomes, without repeats, and gives those of each subscriber in their order. One id has one content.
func (f *fixture) outcomes(n int) map[string][]string {
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
