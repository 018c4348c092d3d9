package foldtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// fleet is a topic and a store, and engines that share its partitions.
type fleet struct {
	t        testing.TB
	client   *stream.Client
	producer *stream.Producer
	store    *redisstate.Store

	partitions int
}

func newFleet(t testing.TB, partitions int) *fleet {
	t.Helper()
	brokers, kafka := streamtest.RealKafka(t)
	address, real := statetest.RealRedis(t)
	if !kafka || !real {
		brokers, address = streamtest.Embedded(t), statetest.Redises(t)[0].Address
	}
	f := &fleet{t: t, partitions: partitions}
	f.store, _ = statetest.Redis{Name: "redis", Address: address, Real: kafka && real}.Open(t)
	var err error
	if f.client, err = stream.Open(stream.Config{Brokers: brokers, Prefix: streamtest.NewPrefix(t)}, zap.NewNop(), prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	f.producer = f.client.NewProducer()
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(f.producer.Close(ctx), f.client.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := f.client.CreateTopics(t.Context(), []stream.TopicSpec{
		{Name: "log", Partitions: partitions, Replication: 1}, {Name: "safeguards", Partitions: partitions, Replication: 1},
		{Name: stream.EventsRejected, Partitions: 1, Replication: 1}, {Name: stream.StateSnapshots, Partitions: 1, Replication: 1},
	}, true); err != nil {
		t.Fatal(err)
	}
	return f
}

// member is an engine at work.
type member struct {
	*fold.Engine[count, int64]
	metrics *prometheus.Registry
	stop    func()
}

func (f *fleet) join(address string, limits fold.Limits) *member {
	f.t.Helper()
	m := &member{metrics: prometheus.NewRegistry()}
	var err error
	m.Engine, err = fold.NewEngine(f.t.Context(), fold.EngineConfig[count, int64]{
		Service: "simulation", Domain: "simulation", Topic: "log", Address: address,
		NewFold: func() fold.Fold[count, int64] { return &counter{topic: f.client.Topic("safeguards")} },
		Options: counts,
		Client:  f.client, Producer: f.producer, Store: f.store, Revisions: fixed{}, Clock: time.Now, Logger: zap.NewNop(), Metrics: m.metrics,
		Limits: limits,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("engine at %s: %v", address, err)
		}
	})
	f.t.Cleanup(m.stop)
	return m
}

// fixed is the one revision there is.
type fixed struct{}

func (fixed) Newest() state.Revision                  { return state.Revision{Number: 1} }
func (fixed) Changed() <-chan struct{}                { return nil }
func (fixed) InForce(state.Partition, state.Revision) {}
func (fixed) At(state.Revision) (int64, error)        { return 1 << 40, nil }

func (f *fleet) accept(events ...*event.Event) {
	f.t.Helper()
	records := make([]stream.Record, len(events))
	for i, e := range events {
		stamped := *e
		stamped.ReceivedAt = time.Now().Truncate(time.Millisecond)
		r, err := stamped.Record(f.client.Topic("log"))
		if err != nil {
			f.t.Fatal(err)
		}
		records[i] = r
	}
	if err := f.producer.Produce(f.t.Context(), records...); err != nil {
		f.t.Fatal(err)
	}
}

// ready waits until members work all partitions, under the revision there is.
func (f *fleet) ready(members ...*member) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 60*time.Second)
	defer cancel()
	for {
		owned := 0
		var waits error
		for _, m := range members {
			owned += m.Owned()
			waits = errors.Join(waits, m.Ready())
		}
		if owned == f.partitions && waits == nil {
			return
		}
		select { // nothing signals when a partition is opened: so it is asked
		case <-ctx.Done():
			f.t.Fatalf("%d partitions of %d are worked: %v", owned, f.partitions, waits)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// call asks members in turn until one has the partition and answers, as a forwarder does.
func call(t testing.TB, e *event.Event, members ...*member) (fold.Answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for i := 0; ; i++ {
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		a, err := members[i%len(members)].Call(within, e)
		cancel()
		_, away := errors.AsType[*fold.NotOwnerError](err)
		if !away && !errors.Is(err, fold.ErrUnknown) && fault.ReasonOf(err) != "OUTCOME_UNKNOWN" || ctx.Err() != nil {
			return a, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestCall_GoesToTheOwnerAndIsReadEverywhere(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	one := f.join("one:1", fold.DefaultLimits())
	f.ready(one)
	f.accept(usage("1", "44", 10, time.Now()))
	a, err := call(t, charge("c1", "44", 5), one)
	if err != nil || a.Value != int64(15) || a.Repeated {
		t.Fatalf("answered %+v, %v", a, err)
	}
	two := f.join("two:1", fold.DefaultLimits())
	if _, err := two.Call(t.Context(), charge("c1", "44", 5)); err != nil { // where the partition went meanwhile is chance
		away, ok := errors.AsType[*fold.NotOwnerError](err)
		if ok && away.Address != "one:1" || !ok && !errors.Is(err, fold.ErrUnknown) {
			t.Fatalf("at the other replica: %v", err)
		}
	}
	if a, err = call(t, charge("c1", "44", 5), one, two); err != nil || a.Value != int64(15) || !a.Repeated {
		t.Fatalf("again: answered %+v, %v", a, err)
	}
	for _, m := range []*member{one, two} {
		if r, err := m.ReadStored(t.Context(), "acme/44"); err != nil || r.Body.spent != 15 || !r.Exists || r.Sequence == 0 {
			t.Errorf("stored: %+v, %v", r, err)
		}
	}
}

func TestWatch_SignalsChangesUntilPartitionIsLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	one := f.join("one:1", fold.DefaultLimits())
	f.ready(one)
	f.accept(usage("1", "44", 10, time.Now()), usage("2", "45", 10, time.Now()))
	if _, err := call(t, charge("c1", "44", 5), one); err != nil {
		t.Fatal(err)
	}
	changed, stop := one.Watch("acme/44")
	defer stop()
	other, stopOther := one.Watch("acme/45")
	if a, err := call(t, charge("c2", "44", 5), one); err != nil || a.Value != int64(20) {
		t.Fatalf("answered %+v, %v", a, err)
	}
	// Committed, and therefore signalled, before it was answered.
	select {
	case <-changed:
	default:
		t.Error("no signal")
	}
	if r, err := one.Read(t.Context(), "acme/44"); err != nil || r.Body.spent != 20 {
		t.Errorf("read %+v, %v", r, err)
	}
	select {
	case <-other:
		t.Error("another subject's change was signalled")
	default:
	}
	stopOther()
	one.stop()
	if _, open := <-changed; open {
		t.Error("the watch goes on without the partition")
	}
	select {
	case <-other:
		t.Error("a watch that was stopped ended")
	default:
	}
	if gone, _ := one.Watch("acme/44"); gone != nil {
		if _, open := <-gone; open {
			t.Error("a partition that is not worked here is watched")
		}
	}
}

func TestReadStored_TooOldIsUnknown(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	one := f.join("one:1", fold.DefaultLimits())
	if _, err := one.ReadStored(t.Context(), "acme/44"); !errors.Is(err, fold.ErrUnknown) && err != nil {
		t.Fatalf("before it was opened: %v", err)
	}
	f.ready(one)
	f.accept(usage("1", "44", 10, time.Now()))
	if _, err := call(t, charge("c1", "44", 5), one); err != nil {
		t.Fatal(err)
	}
	one.stop()
	later := func(by time.Duration) *fold.Engine[count, int64] {
		e, err := fold.NewEngine(t.Context(), fold.EngineConfig[count, int64]{
			Service: "simulation", Domain: "simulation", Topic: "log", NewFold: func() fold.Fold[count, int64] { return &counter{} }, Client: f.client, Store: f.store,
			Clock: func() time.Time { return time.Now().Add(by) }, Metrics: prometheus.NewRegistry(), Limits: fold.DefaultLimits(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if r, err := later(20*time.Second).ReadStored(t.Context(), "acme/44"); err != nil || r.Body.spent != 15 || r.Staleness < 20*time.Second {
		t.Errorf("after 20 s: %+v, %v", r, err)
	}
	if _, err := later(31*time.Second).ReadStored(t.Context(), "acme/44"); !errors.Is(err, fold.ErrUnknown) {
		t.Errorf("after 31 s: %v", err)
	}
	if _, err := later(0).Call(t.Context(), charge("c1", "44", 5)); err == nil {
		t.Error("called where nothing is worked")
	}
}

// TestCall_AnsweredWhilePartitionsMove lets replicas come and go among callers that repeat what is not known: each call is
// counted once.
func TestCall_AnsweredWhilePartitionsMove(t *testing.T) {
	t.Parallel()
	const partitions, callers, each = 4, 8, 30
	f := newFleet(t, partitions)
	members := []*member{f.join("one:1", fold.DefaultLimits()), f.join("two:1", fold.DefaultLimits())}
	f.ready(members...)
	for i := range callers {
		f.accept(usage(fmt.Sprint("u", i), fmt.Sprint("44", i), 1, time.Now()))
	}
	var wait sync.WaitGroup
	half := make(chan struct{}, callers)
	for i := range callers {
		wait.Go(func() {
			for j := range each {
				if j == each/2 {
					half <- struct{}{}
				}
				// Every other is called twice, as by someone who did not hear the answer.
				for range 1 + j%2 {
					if a, err := call(t, charge(fmt.Sprintf("c-%d-%d", i, j), fmt.Sprint("44", i), 1), members...); err != nil || a.Value != int64(2+j) {
						t.Errorf("call %d of %d: %+v, %v", j, i, a, err)
					}
				}
			}
		})
	}
	<-half
	members[0].stop()
	wait.Wait()
	for i := range callers {
		if r, err := members[1].Read(t.Context(), fmt.Sprint("acme/44", i)); err != nil || r.Body.spent != 1+each {
			t.Errorf("subject %d: spent %d, %v; want %d", i, r.Body.spent, err, 1+each)
		}
	}
	if n, err := testutil.GatherAndCount(members[1].metrics, "tollgate_simulation_calls_total"); err != nil || n == 0 {
		t.Errorf("%d results of calls are counted, %v", n, err)
	}
}
