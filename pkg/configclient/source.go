package configclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// ErrNotReached means that the configuration service answered, and has not got a revision.
var ErrNotReached = errors.New("revision is not reached")

// errMasked: what is sent unsigned, or with a mask for a credential, must not be sent.
var errMasked = errors.New("the configuration service masks secrets for this key: put its SHA-256 into grpc.service_key_hashes_file of config, " +
	"and see that config.api_key_file holds that key")

const (
	// remembered is how many snapshots stay in memory: the partitions of a service are at two or three revisions.
	remembered = 4
	// fetchTimeout bounds the wait for each part of a snapshot.
	fetchTimeout = 15 * time.Second
	// silentTimeout bounds it while the watch is not connected: most likely nobody answers.
	silentTimeout = 3 * time.Second
	// storeTimeout bounds one call of the KeyStore.
	storeTimeout = 3 * time.Second
)

// Source follows the configuration. Safe for many goroutines.
type Source struct {
	client  configv1.ConfigWatchServiceClient
	conn    io.Closer
	store   KeyStore
	log     *zap.Logger
	health  *daemon.Health
	metrics *metrics
	running sync.WaitGroup

	mu      sync.Mutex
	newest  *configv1.WatchResponse // what was heard last and followed; nil while nothing was
	changed chan struct{}
	cache   []*Snapshot // whole ones; the most recently asked for last
	loading map[state.Revision]chan struct{}
	served  bool  // some revision was read, so the service can work
	read    int64 // the highest revision that was read, and
	faults  []Fault
	silent  error // why the watch is not connected, nil while it is
	known
}

// Open begins to follow the configuration service until ctx ends; Close waits for that. It does not wait for a
// connection: while there is none, At answers from memory and store. A nil store is none.
func Open(ctx context.Context, cfg Config, env daemon.Env, store KeyStore) (*Source, error) {
	conn, err := cfg.Dial()
	if err != nil {
		return nil, fmt.Errorf("follow configuration: %w", err)
	}
	s, err := open(ctx, configv1.NewConfigWatchServiceClient(conn), conn, env, store)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

func open(ctx context.Context, client configv1.ConfigWatchServiceClient, conn io.Closer, env daemon.Env, store KeyStore) (*Source, error) {
	m, err := newMetrics(env)
	if err != nil {
		return nil, fmt.Errorf("follow configuration: %w", err)
	}
	s := &Source{
		client: client, conn: conn, store: store,
		log: env.Log, health: env.Health, metrics: m,
		changed: make(chan struct{}), loading: map[state.Revision]chan struct{}{},
		silent: errors.New("not connected yet"),
		known:  known{seen: map[uint64]int64{}},
	}
	s.health.Check("configuration", s.ready)
	s.health.Note("configuration", s.unreadable)
	s.running.Go(func() { s.follow(ctx) })
	return s, nil
}

// Close waits for the end of following, after the context given to Open has ended, and gives the connection back.
func (s *Source) Close() error {
	s.running.Wait()
	return s.conn.Close()
}

// ready: with no word from the configuration service and no revision read from the store, there is nothing to work by;
// and a configuration that does not go on from what is known here is not followed.
func (s *Source) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refused != nil:
		return s.refused
	case s.newest != nil || s.served:
		return nil
	}
	return fmt.Errorf("no configuration yet: %w", s.silent)
}

// Newest is the newest that is followed: the revision that counting and planning go by, and the newest of all; ok is
// false while nothing was heard since the start. Both are 0 while nothing is configured.
func (s *Source) Newest() (apply, all int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest.GetApplyRevision(), s.newest.GetRevision(), s.newest != nil
}

// newestApplied is the revision that counting and planning go by, number 0 while there is none.
func (s *Source) newestApplied() state.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return state.Revision{History: s.newest.GetApplyHistory(), Number: s.newest.GetApplyRevision()}
}

// Current says that a revision is the newest of all, as far as this process can know: the configuration service is
// heard, and named it last.
func (s *Source) Current(revision int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest != nil && s.silent == nil && s.refused == nil && s.newest.GetRevision() == revision
}

// Changed is closed when Newest becomes another one, or Current for one; take it before reading them.
func (s *Source) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// At is the whole configuration as of a revision of the history that is followed, 0 being the empty one, from memory or
// from the configuration service. Its errors are ours to fix: the caller waits and asks again. ErrNotReached where the
// service answered and has not got it. Several callers share one reading.
func (s *Source) At(ctx context.Context, revision int64) (*Snapshot, error) {
	if revision == 0 {
		return Decode(&configv1.Snapshot{}), nil
	}
	for {
		s.mu.Lock()
		r := state.Revision{History: s.newest.GetHistory(), Number: revision}
		if found := s.recall(r); found != nil {
			s.mu.Unlock()
			return found, nil
		}
		wait, busy := s.loading[r]
		if !busy {
			mine := make(chan struct{})
			s.loading[r] = mine
			s.mu.Unlock()
			found, err := s.fetch(ctx, r)
			if err == nil && found.masked {
				err = errMasked
			}
			s.mu.Lock()
			if err == nil {
				s.remember(found)
			}
			delete(s.loading, r)
			close(mine)
			s.mu.Unlock()
			return found, err
		}
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, fmt.Errorf("read revision %s: %w", r, ctx.Err())
		}
	}
}

// recall and remember hold mu.

func (s *Source) recall(r state.Revision) *Snapshot {
	for i, c := range s.cache {
		if c.Revision == r.Number && c.History == r.History {
			s.cache = append(append(s.cache[:i:i], s.cache[i+1:]...), c)
			return c
		}
	}
	return nil
}

func (s *Source) remember(found *Snapshot) {
	s.cache = append(s.cache, found)
	if len(s.cache) > remembered {
		s.cache = append([]*Snapshot(nil), s.cache[1:]...)
	}
}
