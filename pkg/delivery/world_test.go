package delivery

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

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

const (
	topicDeliveries = "t.deliveries.test"
	topicAttempts   = "t.deliveries.attempts"
	topicDead       = "t.deliveries.dead"
	topicRejected   = "t.events.rejected"
)

// world is one partition with its broker, store, configuration and receivers,
// all in memory and in the bubble's time.
type world struct {
	t      testing.TB
	rand   *rand.Rand
	broker *broker
	store  *memstate.Store

	mu       sync.Mutex
	targets  *Targets
	stale    bool // whether the targets are the newest is not known
	changed  chan struct{}
	answer   func(d *Delivery, n int) (Result, time.Duration)
	receipts []receipt
	inFlight map[string]int // by endpoint
	busiest  map[string]int
	health   map[string]error
	runs     sync.WaitGroup
	// beforeCommit and afterCommit, where set, see each commit; true kills the replica.
	beforeCommit, afterCommit func(to state.Watermark) bool
	opens                     atomic.Int32
	// fetching, where set, sees fetches of bodies; true has the batch be empty.
	fetching func(offset int64) bool
}

// receipt is one request that reached a receiver.
type receipt struct {
	id       string
	lane     string
	offset   int64
	n        int
	at       time.Time
	accepted bool
}

func newWorld(t testing.TB, seed uint64, endpoints ...string) *world {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), store: memstate.New(),
		broker: &broker{logs: map[string]*brokerLog{}, grew: make(chan struct{})}, changed: make(chan struct{}),
		inFlight: map[string]int{}, busiest: map[string]int{}, health: map[string]error{},
		answer: func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond },
	}
	w.configure(1, 64, endpoints...)
	return w
}

// target is an endpoint as these tests configure it.
type target struct {
	concurrency int
	print       uint64
}

func (t target) Concurrency() int    { return t.concurrency }
func (t target) Fingerprint() uint64 { return t.print }

func (w *world) configure(revision int64, concurrency int, endpoints ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.targets = &Targets{Revision: revision, ByName: map[string]Target{}}
	for _, e := range endpoints {
		w.targets.ByName[e] = target{concurrency, uint64(revision)}
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) Newest() (*Targets, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.targets, w.changed
}

func (w *world) Current(revision int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.stale && w.targets.Revision == revision
}

// setStale tells whether the newest revision is known.
func (w *world) setStale(stale bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stale = stale
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) Set(name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.health[name] = err
}

func (w *world) Remove(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.health, name)
}

func (w *world) ill() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprint(w.health["test/0"])
}

// Send is the receivers': the request takes a part of its time to arrive.
func (w *world) Send(ctx context.Context, d *Delivery, _ Target, n int) Outcome {
	out := Outcome{Started: time.Now()}
	w.mu.Lock()
	result, takes := w.answer(d, n)
	w.inFlight[d.Endpoint]++
	w.busiest[d.Endpoint] = max(w.busiest[d.Endpoint], w.inFlight[d.Endpoint])
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.inFlight[d.Endpoint]--
	}()
	if !pauseFor(ctx, takes/3) {
		out.Unfinished = true
		return out
	}
	r := receipt{id: d.ID, offset: d.Offset, n: n, at: time.Now(), accepted: result == Accepted}
	if d.Ordered {
		r.lane = d.Endpoint + "|" + d.Event.Topic + "|" + d.Event.Subject
	}
	w.mu.Lock()
	w.receipts = append(w.receipts, r)
	w.mu.Unlock()
	if !pauseFor(ctx, takes-takes/3) {
		out.Unfinished = true
		return out
	}
	out.Finished, out.Result, out.Status = time.Now(), result, 500
	if result == Ours {
		out.Status, out.ErrorClass, out.Error = 0, "ours", "too many open files"
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

// onFetch sets what sees fetches of bodies from now on.
func (w *world) onFetch(fetching func(offset int64) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetching = fetching
}

// replica is one process working the partition.
type replica struct {
	w        *world
	cancel   context.CancelFunc
	draining chan struct{}
	over     chan struct{}
	err      error
	// killed: nothing it does has any effect. lossy: answers of the store get
	// lost. away: the store takes no commit.
	mu                  sync.Mutex
	killed, lossy, away bool
	rand                *rand.Rand
	reads               atomic.Int32
}

func (w *world) start(change ...func(*Channel)) *replica {
	m, err := NewMetrics(prometheus.NewRegistry(), "test")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{w: w, cancel: cancel, draining: make(chan struct{}), over: make(chan struct{}), rand: rand.New(rand.NewPCG(w.rand.Uint64(), 2))}
	c := &Channel{
		Name: "test", Topic: topicDeliveries, Attempts: topicAttempts, Dead: topicDead, Rejected: topicRejected, Partitions: 1,
		Store: &storeOf{r}, Directory: w, Sender: w, Slots: NewSlots(2048, 1000), Metrics: m, Health: w, Log: zap.NewNop(), Clock: time.Now,
		MaxAge: 6 * 24 * time.Hour, WaitingMax: 100_000,
	}
	for _, f := range change {
		f(c)
	}
	w.runs.Go(func() {
		defer close(r.over)
		for {
			r.err = c.work(ctx, r, 0, r.draining)
			select {
			case <-r.draining:
				return
			case <-ctx.Done():
				return
			default: // as the group does: again, after a while
			}
			pauseFor(ctx, 50*time.Millisecond)
		}
	})
	return r
}

// kill ends a replica at once: nothing of what it is about to do happens.
func (r *replica) kill() {
	r.mu.Lock()
	r.killed = true
	r.mu.Unlock()
	r.cancel()
	<-r.over
}

// drain ends a replica as a revoke does.
func (r *replica) drain() {
	close(r.draining)
	<-r.over
	r.cancel()
}

var errKilled = errors.New("killed")

func (r *replica) dead() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.killed
}

func (r *replica) loses() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lossy && r.rand.IntN(2) == 0
}

var errAway = errors.New("store is away")

func (r *replica) setAway(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

func (r *replica) isAway() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.away
}

func (r *replica) setLossy(lossy bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lossy = lossy
}

// answers sets how receivers answer from now on.
func (w *world) answers(answer func(d *Delivery, n int) (Result, time.Duration)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

// onCommit sets what sees each commit from now on.
func (w *world) onCommit(before, after func(to state.Watermark) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beforeCommit, w.afterCommit = before, after
}

func (w *world) hooks() (before, after func(to state.Watermark) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.beforeCommit, w.afterCommit
}

// storeOf is the store as a replica reaches it.
type storeOf struct{ r *replica }

func (s *storeOf) Open(ctx context.Context, p state.Partition, address string) (state.Watermark, error) {
	if s.r.dead() {
		return state.Watermark{}, errKilled
	}
	s.r.w.opens.Add(1)
	return s.r.w.store.Open(ctx, p, address)
}

func (s *storeOf) Load(ctx context.Context, p state.Partition, mark state.Watermark, keys []string) ([][]byte, error) {
	if s.r.dead() || s.r.loses() {
		return nil, errKilled
	}
	return s.r.w.store.Load(ctx, p, mark, keys)
}

func (s *storeOf) Peek(ctx context.Context, p state.Partition, keys []string) (state.Watermark, [][]byte, error) {
	return s.r.w.store.Peek(ctx, p, keys)
}

func (s *storeOf) Commit(ctx context.Context, p state.Partition, from, to state.Watermark, c state.Commit) error {
	if s.r.dead() || s.r.loses() {
		return errKilled
	}
	if s.r.isAway() {
		return errAway
	}
	kill := func() error {
		s.r.mu.Lock()
		s.r.killed = true
		s.r.mu.Unlock()
		s.r.cancel()
		return errKilled
	}
	before, after := s.r.w.hooks()
	if before != nil && before(to) {
		return kill()
	}
	err := s.r.w.store.Commit(ctx, p, from, to, c)
	if err == nil && after != nil && after(to) {
		return kill()
	}
	if s.r.loses() {
		return errors.New("answer lost")
	}
	return err
}

func (s *storeOf) Scan(ctx context.Context, p state.Partition, prefix, cursor string, count int) ([]string, string, error) {
	return s.r.w.store.Scan(ctx, p, prefix, cursor, count)
}

// broker keeps logs.
type broker struct {
	mu   sync.Mutex
	logs map[string]*brokerLog
	grew chan struct{} // closed when a log grows, or the broker comes back
	down bool
	full bool          // takes nothing in
	slow time.Duration // each batch read forward takes
	// refuses are topics whose records are refused at once, and why.
	refuses map[string]error
}

type brokerLog struct {
	start   int64
	records []stream.Record // of all offsets, those below start included
}

func (b *broker) log(topic string) *brokerLog {
	l, ok := b.logs[topic]
	if !ok {
		l = &brokerLog{}
		b.logs[topic] = l
	}
	return l
}

func (b *broker) append(recs ...stream.Record) []stream.ProduceResult {
	b.mu.Lock()
	defer b.mu.Unlock()
	placed := make([]stream.ProduceResult, 0, len(recs))
	for _, r := range recs {
		l := b.log(r.Topic)
		r.Offset, r.Partition = int64(len(l.records)), 0
		l.records = append(l.records, r)
		placed = append(placed, stream.ProduceResult{Offset: r.Offset})
	}
	b.tell()
	return placed
}

// accept appends what is not refused, as a producer does.
func (b *broker) accept(recs []stream.Record) ([]stream.ProduceResult, error) {
	b.mu.Lock()
	refuses := maps.Clone(b.refuses)
	b.mu.Unlock()
	var faults []error
	placed := make([]stream.ProduceResult, len(recs))
	for i, r := range recs {
		err := refuses[r.Topic]
		if errors.Is(err, stream.ErrTimestampAhead) && time.Since(r.Time) > 0 {
			err = nil
		}
		if err != nil {
			placed[i].Err = err
			faults = append(faults, &stream.ProduceError{Index: i, Err: err})
			continue
		}
		placed[i] = b.append(r)[0]
	}
	return placed, errors.Join(faults...)
}

// refuse lets records of a topic be refused from now on; nil ends it.
func (b *broker) refuse(topic string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuses = map[string]error{topic: err}
}

func (b *broker) tell() {
	close(b.grew)
	b.grew = make(chan struct{})
}

func (b *broker) setDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
	b.tell()
}

// trim removes what lies below an offset, as retention does.
func (b *broker) trim(topic string, start int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log(topic).start = start
}

func (b *broker) all(topic string) []stream.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.log(topic).records)
}

// replace makes a topic anew with some records.
func (b *broker) replace(topic string, recs ...stream.Record) {
	b.mu.Lock()
	b.logs[topic] = &brokerLog{}
	b.mu.Unlock()
	b.append(recs...)
}

// ready waits until the broker is there.
func (b *broker) ready(ctx context.Context) error {
	return b.wait(ctx, func() bool { return !b.down })
}

// takes waits until the broker takes records.
func (b *broker) takes(ctx context.Context) error {
	return b.wait(ctx, func() bool { return !b.down && !b.full })
}

func (b *broker) setFull(full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = full
	b.tell()
}

func (b *broker) wait(ctx context.Context, is func() bool) error {
	for {
		b.mu.Lock()
		there, grew := is(), b.grew
		b.mu.Unlock()
		if there {
			return ctx.Err()
		}
		select {
		case <-grew:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *replica) Append(ctx context.Context, recs ...stream.Record) ([]stream.ProduceResult, error) {
	for range recs { // a killed process may have sent a part
		if err := r.w.broker.takes(ctx); err != nil {
			return nil, err
		}
		if r.dead() {
			return nil, errKilled
		}
	}
	if len(recs) == 0 {
		return nil, nil
	}
	pauseFor(ctx, time.Millisecond)
	if r.dead() {
		r.mu.Lock()
		n := r.rand.IntN(len(recs) + 1)
		r.mu.Unlock()
		r.w.broker.append(recs[:n]...)
		return nil, errKilled
	}
	return r.w.broker.accept(recs)
}

func (r *replica) Offsets(ctx context.Context, topic string, _ int32) (int64, int64, error) {
	if err := r.w.broker.ready(ctx); err != nil {
		return 0, 0, err
	}
	b := r.w.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.log(topic)
	return l.start, int64(len(l.records)), nil
}

func (r *replica) OffsetAt(ctx context.Context, topic string, _ int32, at time.Time) (int64, error) {
	if err := r.w.broker.ready(ctx); err != nil {
		return 0, err
	}
	all := r.w.broker.all(topic)
	if i := slices.IndexFunc(all, func(rec stream.Record) bool { return !rec.Time.Before(at) }); i >= 0 {
		return int64(i), nil
	}
	return int64(len(all)), nil
}

func (r *replica) FetchFrom(ctx context.Context, topic string, partition int32, offset int64, maxBytes int) (stream.Batch, error) {
	if err := r.w.broker.ready(ctx); err != nil {
		return stream.Batch{}, err
	}
	b := r.w.broker
	if topic == topicDeliveries {
		r.reads.Add(1)
	}
	if maxBytes == bodyBytes && topic == topicDeliveries {
		r.w.mu.Lock()
		fetching := r.w.fetching
		r.w.mu.Unlock()
		if fetching != nil && fetching(offset) {
			return stream.Batch{Next: offset}, nil
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.log(topic)
	if end := int64(len(l.records)); offset < l.start || offset > end {
		return stream.Batch{}, &stream.OutOfRangeError{Topic: topic, Partition: partition, From: offset, Start: l.start, End: end}
	}
	out := stream.Batch{Start: l.start, End: int64(len(l.records)), Next: offset}
	for _, rec := range l.records[offset:] {
		out.Records = append(out.Records, rec)
		out.Next++
		if maxBytes -= len(rec.Value); maxBytes <= 0 {
			break
		}
	}
	return out, nil
}

func (r *replica) Read(ctx context.Context, from int64) (<-chan stream.Fetched, func()) {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan stream.Fetched)
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			r.w.broker.mu.Lock()
			grew := r.w.broker.grew
			r.w.broker.mu.Unlock()
			r.w.broker.mu.Lock()
			slow := r.w.broker.slow
			r.w.broker.mu.Unlock()
			pauseFor(ctx, slow)
			batch, err := r.FetchFrom(ctx, topicDeliveries, 0, from, 4096)
			if ctx.Err() != nil {
				return
			}
			if err == nil && len(batch.Records) == 0 {
				select {
				case <-grew:
					continue
				case <-ctx.Done():
					return
				}
			}
			select {
			case out <- stream.Fetched{Batch: batch, Err: err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			from = batch.Next
		}
	})
	return out, func() { cancel(); reader.Wait() }
}

func (r *replica) Position(context.Context, int64) error { return nil }
func (r *replica) Alive()                                {}
func (r *replica) Worked(int64)                          {}
func (r *replica) Report(code string, offset int64, err error) {
	r.w.Set("reported", fmt.Errorf("%s at %d: %w", code, offset, err))
}
func (r *replica) Incident(code string, offset int64, err error) {
	r.w.Set("incident", fmt.Errorf("%s at %d: %w", code, offset, err))
}

// plan puts a delivery into the log.
func (w *world) plan(d *Delivery) *Delivery {
	if d.PlannedAt.IsZero() {
		d.PlannedAt = time.Now()
	}
	d.Tenant = "acme"
	rec, err := d.Record(topicDeliveries)
	if err != nil {
		w.t.Fatal(err)
	}
	w.broker.append(rec)
	return d
}

// order is a delivery of a lane.
func order(endpoint, subject, name string) *Delivery {
	return &Delivery{
		ID: NewID(time.Now(), "acme", "test", name, name, "n", "a", "", endpoint), Endpoint: endpoint, Ordered: true, Revision: 1,
		Event: EventReference{Topic: "events.ordered", Subject: subject, ID: name}, Body: []byte(name),
	}
}

// attempts are the records of attempts, decoded.
func (w *world) attempts() []*deliveryv1.Attempt {
	var out []*deliveryv1.Attempt
	for _, r := range w.broker.all(topicAttempts) {
		a := &deliveryv1.Attempt{}
		if err := proto.Unmarshal(r.Value, a); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

func (w *world) received() []receipt {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.receipts)
}
