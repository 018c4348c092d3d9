package loop

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/state"
)

// replica is one process that works the partition.
type replica struct {
	sim      *simulation
	cancel   context.CancelFunc
	draining chan struct{}
	over     chan struct{}
	err      error
	// killed: nothing it does has any effect. lossy: answers of the store get
	// lost. away: the store takes no commit.
	mu sync.Mutex
	// killed: nothing it does has any effect. lossy: answers of the store are lost. away: the store accepts no commit.
	killed, lossy, away bool
	rand                *rand.Rand
	// reads are its fetches of deliveries, again those of the second reader.
	reads, again atomic.Int32
	// worked is the offset up to which work was last reported done.
	worked atomic.Int64
}

func (sim *simulation) start(change ...func(*Channel)) *replica {
	m, err := NewMetrics(prometheus.NewRegistry(), "test")
	if err != nil {
		sim.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{sim: sim, cancel: cancel, draining: make(chan struct{}), over: make(chan struct{}), rand: rand.New(rand.NewPCG(sim.rand.Uint64(), 2))}
	c := &Channel{
		Name: "test", Topic: topicDeliveries, Attempts: topicAttempts, Dead: topicDead, Rejected: topicRejected, Events: topicEvents, Partitions: 1,
		Store: &replicaStore{r}, Directory: sim, Sender: sim, Slots: slots.New(2048, 1000), Metrics: m, Health: sim, Reporter: sim, Log: zap.NewNop(), Clock: time.Now,
		MaxAge: 6 * 24 * time.Hour, WaitingMax: 100_000, EndpointWaitingMax: 10_000, SnapshotEvery: time.Minute, idles: func() time.Duration { return time.Duration(sim.idle.Load()) },
	}
	for _, f := range change {
		f(c)
	}
	sim.runs.Go(func() {
		defer close(r.over)
		for {
			r.err = c.work(ctx, r, 0, r.draining)
			select {
			case <-r.draining:
				return
			case <-ctx.Done():
				return
			default: // like a consumer group: again, after a while
			}
			pause.For(ctx, 50*time.Millisecond)
		}
	})
	return r
}

// kill ends a replica at once: pending steps do not happen.
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

func (r *replica) setStoreAway(away bool) {
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

// replicaStore is the store as a replica reaches it.
type replicaStore struct{ r *replica }

func (s *replicaStore) Open(ctx context.Context, p state.Partition, address string) (state.Watermark, error) {
	if s.r.dead() {
		return state.Watermark{}, errKilled
	}
	s.r.sim.opens.Add(1)
	w, err := s.r.sim.store.Open(ctx, p, address)
	s.r.sim.mu.Lock()
	defer s.r.sim.mu.Unlock()
	s.r.sim.owners = append(s.r.sim.owners, opening{w.Token, time.Now()})
	return w, err
}

func (s *replicaStore) Load(ctx context.Context, p state.Partition, mark state.Watermark, keys []string) ([][]byte, error) {
	if s.r.dead() || s.r.loses() {
		return nil, errKilled
	}
	return s.r.sim.store.Load(ctx, p, mark, keys)
}

func (s *replicaStore) Peek(ctx context.Context, p state.Partition, keys []string) (state.Watermark, [][]byte, error) {
	return s.r.sim.store.Peek(ctx, p, keys)
}

func (s *replicaStore) Commit(ctx context.Context, p state.Partition, from, to state.Watermark, c state.Commit) error {
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
	before, after := s.r.sim.hooks()
	if before != nil && before(to) {
		return kill()
	}
	err := s.r.sim.store.Commit(ctx, p, from, to, c)
	if err == nil && after != nil && after(to) {
		return kill()
	}
	if s.r.loses() {
		return errors.New("answer lost")
	}
	return err
}

func (s *replicaStore) Scan(ctx context.Context, p state.Partition, prefix, cursor string, count int) ([]string, string, error) {
	return s.r.sim.store.Scan(ctx, p, prefix, cursor, count)
}

func (s *replicaStore) Walk(ctx context.Context, p state.Partition, prefix, cursor string, count int) ([]string, string, error) {
	return s.r.sim.store.Walk(ctx, p, prefix, cursor, count)
}
