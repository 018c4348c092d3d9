package revision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// KeyStore is where a revision is kept for all services, under "<prefix>:revision:<n>".
type KeyStore interface {
	// GetRevision reads what PutRevision wrote; nil without an error where nothing is there.
	GetRevision(ctx context.Context, revision int64) ([]byte, error)
	// PutRevision keeps body until it is retired.
	PutRevision(ctx context.Context, revision int64, body []byte) error
	// RetireRevision drops it in 24 hours, by which nobody opens a partition at it any more.
	RetireRevision(ctx context.Context, revision int64) error
}

// ErrNotReached means that no source knows a revision, now: the caller waits and asks again.
var ErrNotReached = errors.New("revision is not reached")

const (
	// remembered is how many snapshots stay in memory: the partitions of a service are at two or three revisions.
	remembered = 4
	// fetchTimeout bounds one Snapshot call; a hundred thousand resources take well under it.
	fetchTimeout = 15 * time.Second
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
	done    chan struct{}

	mu       sync.Mutex
	known    bool
	newest   *configv1.WatchResponse
	changed  chan struct{}
	cache    []*Snapshot // the most recently asked for last
	loading  map[int64]chan struct{}
	prepared int64 // highest revision that is known to be in the store
	served   bool  // some snapshot was read, so the service can work
	silent   error // why the watch is not connected
}

// Open begins to follow the configuration service until ctx ends; Close waits for that. It does not wait for a
// connection: while there is none, At answers from memory and store. A nil store is none.
func Open(ctx context.Context, cfg Config, env daemon.Env, store KeyStore) (*Source, error) {
	key, err := rpc.ReadKey(cfg.APIKeyFile)
	if err != nil {
		return nil, fmt.Errorf("follow configuration: %w", err)
	}
	var options []grpc.DialOption
	if cfg.TLS {
		option, err := rpc.TLS(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("follow configuration: %w", err)
		}
		options = append(options, option)
	}
	conn, err := rpc.Dial(cfg.Address, key, options...)
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
		done: make(chan struct{}), changed: make(chan struct{}), loading: map[int64]chan struct{}{},
		silent: errors.New("not connected yet"),
	}
	s.health.Check("configuration", s.ready)
	go s.follow(ctx)
	return s, nil
}

// Close waits for the end of following, after the context given to Open has ended, and gives the connection back.
func (s *Source) Close() error {
	<-s.done
	return s.conn.Close()
}

// ready: with no word from the configuration service and no revision read from the store, there is nothing to work by.
func (s *Source) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known || s.served {
		return nil
	}
	return fmt.Errorf("no configuration yet: %w", s.silent)
}

// Newest is the newest standing heard of: the revision that counting and planning go by, and the newest of all; ok is
// false while nothing was heard since the start. Both are 0 while nothing is configured.
func (s *Source) Newest() (apply, all int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest.GetApplyRevision(), s.newest.GetRevision(), s.known
}

// Changed is closed when Newest becomes another one; take it before reading Newest.
func (s *Source) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Source) hear(news *configv1.WatchResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known && news.GetRevision() == s.newest.GetRevision() {
		return
	}
	if s.known && news.GetRevision() < s.newest.GetRevision() {
		// The service was set back: what was heard is no longer so, and snapshots in memory may be of another history.
		s.log.Error("configuration went back", zap.Int64("revision", news.GetRevision()), zap.Int64("before", s.newest.GetRevision()))
		s.cache = nil
	}
	s.known, s.newest, s.silent = true, news, nil
	s.metrics.heard(news)
	close(s.changed)
	s.changed = make(chan struct{})
}

// At is the configuration as of a revision, 0 being the empty one. Its errors are ours to fix: the caller waits and
// asks again. ErrNotReached where every source answered and none has it. Several callers share one reading.
func (s *Source) At(ctx context.Context, revision int64) (*Snapshot, error) {
	if revision == 0 {
		return Decode(&configv1.Snapshot{})
	}
	for {
		s.mu.Lock()
		if found := s.recall(revision); found != nil {
			s.mu.Unlock()
			return found, nil
		}
		wait, busy := s.loading[revision]
		if !busy {
			mine := make(chan struct{})
			s.loading[revision] = mine
			s.mu.Unlock()
			found, err := s.load(ctx, revision)
			s.mu.Lock()
			if err == nil {
				s.remember(found)
			}
			delete(s.loading, revision)
			close(mine)
			s.mu.Unlock()
			return found, err
		}
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, fmt.Errorf("read revision %d: %w", revision, ctx.Err())
		}
	}
}

// recall and remember hold mu.

func (s *Source) recall(revision int64) *Snapshot {
	for i, c := range s.cache {
		if c.Revision == revision {
			s.cache = append(append(s.cache[:i:i], s.cache[i+1:]...), c)
			return c
		}
	}
	return nil
}

func (s *Source) remember(found *Snapshot) {
	s.served = true
	s.cache = append(s.cache, found)
	if len(s.cache) > remembered {
		s.cache = append([]*Snapshot(nil), s.cache[1:]...)
	}
}

// load reads a revision that is not in memory.
func (s *Source) load(ctx context.Context, revision int64) (*Snapshot, error) {
	begin := time.Now()
	from := fromStore
	message, storeErr := s.recover(ctx, revision)
	if message == nil {
		var err error
		if message, err = s.fetch(ctx, revision); err != nil {
			return nil, errors.Join(err, storeErr)
		}
		from = fromService
	}
	found, err := Decode(message)
	if err != nil {
		return nil, err
	}
	if from == fromStore {
		// So that the next one prepared lets it go, also where a process before this one has put it.
		s.mu.Lock()
		s.prepared = max(s.prepared, revision)
		s.mu.Unlock()
	}
	took := time.Since(begin)
	s.metrics.loaded(from, took)
	s.log.Info("configuration read", zap.Int64("revision", revision), zap.String("from", from), zap.Duration("duration", took),
		zap.Int("tenants", len(message.GetTenants())), zap.Int("classes_of_service", len(message.GetClassesOfService())),
		zap.Int("notifications", len(message.GetNotifications())), zap.Int("endpoints", len(message.GetEndpoints())))
	return found, nil
}

// Where a revision was read from: values of a label.
const (
	fromStore   = "store"
	fromService = "service"
)

// recover answers nil where the store has not got the revision, or something else under its name; an error of the
// store is told only if the service can't answer either.
func (s *Source) recover(ctx context.Context, revision int64) (*configv1.Snapshot, error) {
	if s.store == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	body, err := s.store.GetRevision(ctx, revision)
	if err != nil {
		return nil, fmt.Errorf("read revision %d from the store: %w", revision, err)
	}
	if body == nil {
		return nil, nil
	}
	message := &configv1.Snapshot{}
	if err := proto.Unmarshal(body, message); err != nil || message.GetRevision() != revision {
		return nil, fmt.Errorf("read revision %d from the store: what lies there is not it", revision)
	}
	return message, nil
}

func (s *Source) fetch(ctx context.Context, revision int64) (*configv1.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	res, err := s.client.Snapshot(ctx, &configv1.SnapshotRequest{Revision: revision})
	if fault.KindOf(err) == fault.NotFound {
		return nil, fmt.Errorf("read revision %d: %w", revision, ErrNotReached)
	}
	if err != nil {
		return nil, fmt.Errorf("read revision %d: %w", revision, err)
	}
	return res.GetSnapshot(), nil
}

// Prepare puts a revision into the store, so that whoever opens a partition at it can read it while the configuration
// service is away, and lets the one prepared before go in time. Called before a record names the revision.
func (s *Source) Prepare(ctx context.Context, revision int64) error {
	s.mu.Lock()
	before := s.prepared
	s.mu.Unlock()
	if s.store == nil || revision <= before {
		return nil
	}
	found, err := s.At(ctx, revision)
	if err != nil {
		return err
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(found.raw)
	if err != nil {
		return fmt.Errorf("encode revision %d: %w", revision, err)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.store.PutRevision(ctx, revision, body); err != nil {
		return fmt.Errorf("keep revision %d: %w", revision, err)
	}
	s.mu.Lock()
	before, s.prepared = s.prepared, max(s.prepared, revision)
	s.mu.Unlock()
	if before > 0 && before < revision {
		if err := s.store.RetireRevision(ctx, before); err != nil {
			// It stays a while longer than it need.
			s.log.Warn("old revision not retired", zap.Int64("revision", before), zap.Error(err))
		}
	}
	return nil
}

// Applied is a Source as the state engine asks it: by the revisions that counting and planning go by.
type Applied struct{ *Source }

// Newest is the newest revision that changed what counting or planning reads, 0 while none is known.
func (a Applied) Newest() int64 {
	apply, _, _ := a.Source.Newest()
	return apply
}
