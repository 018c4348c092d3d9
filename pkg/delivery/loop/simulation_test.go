package loop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/schedule"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
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
	// Snapshots is the topic of snapshots; group the group's offset.
	snapshots snapshottest.Memory
	group     atomic.Int64

	mu      sync.Mutex
	targets *delivery.Targets
	stale   bool // the targets may not be the newest
	changed chan struct{}
	answer  func(d *delivery.Delivery, n int) (delivery.Result, time.Duration)
	// reply, where set, is called instead of answer.
	reply    func(d *delivery.Delivery, n int) reply
	receipts []receipt
	begun    []begun
	reports  []delivery.EndpointHealth
	owners   []opening
	// reportsFail: no report arrives.
	reportsFail bool
	inFlight    map[string]int // by endpoint
	busiest     map[string]int
	health      map[string]error
	runs        sync.WaitGroup
	// beforeCommit and afterCommit, where set, are called for each commit; true kills the replica.
	beforeCommit, afterCommit func(to state.Watermark) bool
	opens                     atomic.Int32
	idle                      atomic.Int64 // how often an owner with nothing to do turns
	// fetching, where set, is called for fetches of bodies; true makes the batch empty.
	fetching func(offset int64) bool
}

// reply is how a receiver answers one request; status 0 is none in time, or a connection that broke.
type reply struct {
	status     int
	takes      time.Duration
	retryAfter time.Duration
	broke      bool
	// as changes the outcome to what a channel of another kind sees.
	as func(*delivery.Outcome)
}

// outcome is the reply as a channel sees it.
func (r reply) outcome(out *delivery.Outcome) {
	out.Status, out.RetryAfter = r.status, r.retryAfter
	out.Busy = r.status == 429 || r.status >= 500
	switch {
	case r.status/100 == 2:
		out.Result = delivery.Accepted
	case r.broke:
		out.Fault, out.ErrorClass = delivery.FaultReceiver, "connect"
	case r.status == 0:
		out.Fault, out.ErrorClass = delivery.FaultSlow, "timeout"
	case r.status == 410:
		out.Fault = delivery.FaultGone
	case r.status == 429 || r.retryAfter > 0:
		out.Fault = delivery.FaultThrottled
	default:
		out.Fault = delivery.FaultReceiver
	}
	if r.as != nil {
		r.as(out)
	}
}

// opening is when an owner opened the partition.
type opening struct {
	token state.Token
	at    time.Time
}

// begun is a request as it begins.
type begun struct {
	endpoint, name string
	n              int
	at             time.Time
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
		answer: func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Accepted, time.Millisecond
		},
	}
	sim.idle.Store(int64(idleEvery))
	sim.configure(1, 64, endpoints...)
	return sim
}

// rarely is how often an owner with nothing to do turns in tests of days.
const rarely = 30 * time.Second

// pass lets hours pass: an owner with nothing to do turns rarely, and as often as ever in the last minute.
func (sim *simulation) pass(d time.Duration) {
	if d < 4*rarely {
		time.Sleep(d)
		return
	}
	sim.idle.Store(int64(rarely))
	time.Sleep(d - 2*rarely)
	sim.idle.Store(int64(idleEvery))
	time.Sleep(2 * rarely)
}

// Target is an endpoint as these tests configure it.
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
	sim.targets = &delivery.Targets{Revision: revision, ByName: map[string]delivery.Target{}}
	for _, e := range endpoints {
		sim.targets.ByName[e] = target{concurrency: concurrency, print: uint64(revision)}
	}
	close(sim.changed)
	sim.changed = make(chan struct{})
}

func (sim *simulation) Newest() (*delivery.Targets, <-chan struct{}) {
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
func (sim *simulation) Send(ctx context.Context, d *delivery.Delivery, _ delivery.Target, n int) delivery.Outcome {
	out := delivery.Outcome{Started: time.Now()}
	sim.mu.Lock()
	var (
		result delivery.Result
		takes  time.Duration
		re     reply
	)
	if sim.reply != nil {
		if re = sim.reply(d, n); re.status/100 == 2 {
			result = delivery.Accepted
		}
		takes = re.takes
	} else {
		result, takes = sim.answer(d, n)
	}
	sim.begun = append(sim.begun, begun{d.Endpoint, d.Event.ID, n, out.Started})
	sim.inFlight[d.Endpoint]++
	sim.busiest[d.Endpoint] = max(sim.busiest[d.Endpoint], sim.inFlight[d.Endpoint])
	sim.mu.Unlock()
	defer func() {
		sim.mu.Lock()
		defer sim.mu.Unlock()
		sim.inFlight[d.Endpoint]--
	}()
	if !pause.For(ctx, takes/3) {
		out.Unfinished = true
		return out
	}
	r := receipt{id: d.ID, offset: d.Offset, n: n, at: time.Now(), accepted: result == delivery.Accepted}
	if d.Ordered {
		r.orderingKey = d.Endpoint + "|" + d.Event.Topic + "|" + d.Event.Subject
	}
	sim.mu.Lock()
	sim.receipts = append(sim.receipts, r)
	sim.mu.Unlock()
	if !pause.For(ctx, takes-takes/3) {
		out.Unfinished = true
		return out
	}
	out.Finished, out.Result, out.Status = time.Now(), result, 500
	out.Phases.Total = out.Finished.Sub(out.Started)
	if sim.reply != nil {
		re.outcome(&out)
		return out
	}
	if result == delivery.LocalFailure {
		out.Status, out.ErrorClass, out.Error = 0, "local", "too many open files"
	}
	if result == delivery.Accepted {
		out.Status = 204
	}
	return out
}

// onFetch sets the function that is called for fetches of bodies.
func (sim *simulation) onFetch(fetching func(offset int64) bool) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.fetching = fetching
}

// answers sets how receivers answer from now on.
func (sim *simulation) answers(answer func(d *delivery.Delivery, n int) (delivery.Result, time.Duration)) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.answer = answer
}

// replies sets how receivers answer from now on.
func (sim *simulation) replies(reply func(d *delivery.Delivery, n int) reply) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.reply = reply
}

// change changes the configuration of an endpoint, in a new revision.
func (sim *simulation) change(name string, edit func(*target)) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	next := &delivery.Targets{Revision: sim.targets.Revision + 1, ByName: maps.Clone(sim.targets.ByName)}
	t := next.ByName[name].(target)
	edit(&t)
	next.ByName[name] = t
	sim.targets = next
	close(sim.changed)
	sim.changed = make(chan struct{})
}

// requests are the requests to an endpoint, to any where it is empty, that began after a time.
func (sim *simulation) requests(endpoint string, after time.Time) (all []begun) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	for _, b := range sim.begun {
		if (b.endpoint == endpoint || endpoint == "") && b.at.After(after) {
			all = append(all, b)
		}
	}
	return all
}

// Report implements Reporter.
func (sim *simulation) Report(_ context.Context, all []delivery.EndpointHealth) error {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	if sim.reportsFail {
		return errors.New("configuration service is away")
	}
	sim.reports = append(sim.reports, all...)
	return nil
}

// events are the events that were published about endpoints.
func (sim *simulation) events() (all []*event.Event) {
	for _, r := range sim.broker.all(topicEvents) {
		e, err := event.Decode(r.Value)
		if err != nil {
			sim.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
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
func (sim *simulation) plan(d *delivery.Delivery) *delivery.Delivery {
	if d.PlannedAt.IsZero() {
		d.PlannedAt = time.Now()
	}
	if d.Tenant == "" {
		d.Tenant = "acme"
	}
	rec, err := d.Record(topicDeliveries)
	if err != nil {
		sim.t.Fatal(err)
	}
	sim.broker.add(rec)
	return d
}

// newDelivery is an ordered delivery.
func newDelivery(endpoint, subject, name string) *delivery.Delivery {
	return &delivery.Delivery{
		ID: delivery.NewID(time.Now(), "acme", "test", name, name, "n", "a", "", endpoint), Endpoint: endpoint, Ordered: true, Revision: 1,
		Event: delivery.EventReference{Topic: "events.ordered", Subject: subject, ID: name}, Body: []byte(name),
	}
}

// Attempts are the decoded records of attempts.
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
