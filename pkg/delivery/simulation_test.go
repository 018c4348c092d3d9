package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/delivery/schedule"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
	"github.com/tollgate/tollgate/pkg/state/snapshot/snapshottest"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

const (
	topicDeliveries = "t.deliveries.test"
	topicAttempts   = "t.deliveries.attempts"
	topicDead       = "t.deliveries.dead"
	topicRejected   = "t.events.rejected"
	topicEvents     = "t.events.ordered"
)

// simulation is one partition with its broker, store, configuration and receivers, all in memory and in the time of the
// synctest bubble.
type simulation struct {
	t      testing.TB
	rand   *rand.Rand
	broker *broker
	store  *memstate.Store
	// snapshots is the topic of snapshots; group the group's offset.
	snapshots snapshottest.Memory
	group     atomic.Int64

	mu       sync.Mutex
	targets  *Targets
	stale    bool // the targets may not be the newest
	changed  chan struct{}
	answer   func(d *Delivery, n int) (Result, time.Duration)
	receipts []receipt
	inFlight map[string]int // by endpoint
	busiest  map[string]int
	health   map[string]error
	runs     sync.WaitGroup
	// beforeCommit and afterCommit, where set, are called for each commit; true kills the replica.
	beforeCommit, afterCommit func(to state.Watermark) bool
	opens                     atomic.Int32
	// fetching, where set, is called for fetches of bodies; true makes the batch empty.
	fetching func(offset int64) bool
}

// receipt is one request that reached a receiver.
type receipt struct {
	id          string
	orderingKey string
	offset      int64
	n           int
	at          time.Time
	accepted    bool
}

func newSimulation(t testing.TB, seed uint64, endpoints ...string) *simulation {
	sim := &simulation{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), store: memstate.New(),
		broker: &broker{logs: map[string]*brokerLog{}, grew: make(chan struct{})}, changed: make(chan struct{}),
		inFlight: map[string]int{}, busiest: map[string]int{}, health: map[string]error{},
		answer: func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond },
	}
	sim.configure(1, 64, endpoints...)
	return sim
}

// target is an endpoint as these tests configure it.
type target struct {
	concurrency, rate int
	print             uint64
	schedule          *schedule.Schedule
	paused            bool
	activation        int64
}

func (t target) Concurrency() int             { return t.concurrency }
func (t target) Fingerprint() uint64          { return t.print }
func (t target) Rate() int                    { return t.rate }
func (t target) Schedule() *schedule.Schedule { return t.schedule }
func (t target) Paused() bool                 { return t.paused }
func (t target) Activation() int64            { return max(t.activation, 1) }

func (sim *simulation) configure(revision int64, concurrency int, endpoints ...string) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.targets = &Targets{Revision: revision, ByName: map[string]Target{}}
	for _, e := range endpoints {
		sim.targets.ByName[e] = target{concurrency: concurrency, print: uint64(revision)}
	}
	close(sim.changed)
	sim.changed = make(chan struct{})
}

func (sim *simulation) Newest() (*Targets, <-chan struct{}) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	return sim.targets, sim.changed
}

func (sim *simulation) Current(revision int64) bool {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	return !sim.stale && sim.targets.Revision == revision
}

// setStale sets whether the newest revision is known.
func (sim *simulation) setStale(stale bool) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.stale = stale
	close(sim.changed)
	sim.changed = make(chan struct{})
}

func (sim *simulation) Set(name string, err error) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.health[name] = err
}

func (sim *simulation) Remove(name string) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	delete(sim.health, name)
}

func (sim *simulation) healthText() string {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	return fmt.Sprint(sim.health["test/0"])
}

// Send is the receivers: the request needs a third of its time to arrive.
func (sim *simulation) Send(ctx context.Context, d *Delivery, _ Target, n int) Outcome {
	out := Outcome{Started: time.Now()}
	sim.mu.Lock()
	result, takes := sim.answer(d, n)
	sim.inFlight[d.Endpoint]++
	sim.busiest[d.Endpoint] = max(sim.busiest[d.Endpoint], sim.inFlight[d.Endpoint])
	sim.mu.Unlock()
	defer func() {
		sim.mu.Lock()
		defer sim.mu.Unlock()
		sim.inFlight[d.Endpoint]--
	}()
	if !pauseFor(ctx, takes/3) {
		out.Unfinished = true
		return out
	}
	r := receipt{id: d.ID, offset: d.Offset, n: n, at: time.Now(), accepted: result == Accepted}
	if d.Ordered {
		r.orderingKey = d.Endpoint + "|" + d.Event.Topic + "|" + d.Event.Subject
	}
	sim.mu.Lock()
	sim.receipts = append(sim.receipts, r)
	sim.mu.Unlock()
	if !pauseFor(ctx, takes-takes/3) {
		out.Unfinished = true
		return out
	}
	out.Finished, out.Result, out.Status = time.Now(), result, 500
	if result == LocalFailure {
		out.Status, out.ErrorClass, out.Error = 0, "local", "too many open files"
	}
	if result == Accepted {
		out.Status = 204
	}
	return out
}

func pauseFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// onFetch sets the function that is called for fetches of bodies.
func (sim *simulation) onFetch(fetching func(offset int64) bool) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.fetching = fetching
}

// answers sets how receivers answer from now on.
func (sim *simulation) answers(answer func(d *Delivery, n int) (Result, time.Duration)) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.answer = answer
}

// onCommit sets the functions that are called for each commit.
func (sim *simulation) onCommit(before, after func(to state.Watermark) bool) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.beforeCommit, sim.afterCommit = before, after
}

func (sim *simulation) hooks() (before, after func(to state.Watermark) bool) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	return sim.beforeCommit, sim.afterCommit
}

// plan adds a delivery to the log.
func (sim *simulation) plan(d *Delivery) *Delivery {
	if d.PlannedAt.IsZero() {
		d.PlannedAt = time.Now()
	}
	d.Tenant = "acme"
	rec, err := d.Record(topicDeliveries)
	if err != nil {
		sim.t.Fatal(err)
	}
	sim.broker.add(rec)
	return d
}

// newDelivery is an ordered delivery.
func newDelivery(endpoint, subject, name string) *Delivery {
	return &Delivery{
		ID: NewID(time.Now(), "acme", "test", name, name, "n", "a", "", endpoint), Endpoint: endpoint, Ordered: true, Revision: 1,
		Event: EventReference{Topic: "events.ordered", Subject: subject, ID: name}, Body: []byte(name),
	}
}

// attempts are the decoded records of attempts.
func (sim *simulation) attempts() []*deliveryv1.Attempt {
	var out []*deliveryv1.Attempt
	for _, r := range sim.broker.all(topicAttempts) {
		a := &deliveryv1.Attempt{}
		if err := proto.Unmarshal(r.Value, a); err != nil {
			sim.t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

func (sim *simulation) received() []receipt {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	return slices.Clone(sim.receipts)
}
