package revision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"go.uber.org/zap"
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

// errMasked: what is sent unsigned, or with a mask for a credential, must not be sent.
var errMasked = errors.New("the configuration service masks secrets for this key: put its SHA-256 into grpc.service_key_hashes_file of config, " +
	"and see that config.api_key_file holds that key")

const (
	// remembered is how many snapshots stay in memory: the partitions of a service are at two or three revisions.
	remembered = 4
	// fetchTimeout bounds one Snapshot call; a hundred thousand resources take well under it.
	fetchTimeout = 15 * time.Second
	// silentTimeout bounds it while the watch is not connected: most likely nobody answers, and the store may.
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
	// wanted holds a signal when another revision is to lie in the store.
	wanted chan struct{}

	mu      sync.Mutex
	known   bool
	newest  *configv1.WatchResponse
	changed chan struct{}
	cache   []*Snapshot // the most recently asked for last
	loading map[reading]chan struct{}
	kept    kept
	served  bool  // some snapshot was read, so the service can work
	silent  error // why the watch is not connected, nil while it is
}

// reading is one that several callers share.
type reading struct {
	revision int64
	whole    bool
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
		wanted: make(chan struct{}, 1), changed: make(chan struct{}), loading: map[reading]chan struct{}{},
		silent: errors.New("not connected yet"),
	}
	s.health.Check("configuration", s.ready)
	s.health.Note("configuration", s.unreadable)
	s.running.Go(func() { s.follow(ctx) })
	if s.store != nil {
		s.running.Go(func() { s.keep(ctx) })
	}
	return s, nil
}

// Close waits for the end of following, after the context given to Open has ended, and gives the connection back.
func (s *Source) Close() error {
	s.running.Wait()
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

// Current says that a revision is the newest of all, as far as this process can know: the configuration service is
// heard, and named it last.
func (s *Source) Current(revision int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known && s.silent == nil && s.newest.GetRevision() == revision
}

// Changed is closed when Newest becomes another one, or Current for one; take it before reading them.
func (s *Source) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Source) hear(news *configv1.WatchResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.silent != nil
	if again {
		// What was read from the store meanwhile is read again, whole and of this service's history.
		s.cache = slices.DeleteFunc(s.cache, func(c *Snapshot) bool { return !c.whole })
		s.silent, s.kept.seen = nil, time.Time{}
	}
	if s.known && news.GetRevision() == s.newest.GetRevision() && !again {
		return
	}
	if s.known && news.GetRevision() < s.newest.GetRevision() {
		// The service was set back: what was heard is no longer so, and snapshots in memory may be of another history.
		s.log.Error("configuration went back", zap.Int64("revision", news.GetRevision()), zap.Int64("before", s.newest.GetRevision()))
		s.cache, s.kept = nil, kept{}
	}
	s.known, s.newest = true, news
	s.metrics.heard(news)
	close(s.changed)
	s.changed = make(chan struct{})
}

// At is the whole configuration as of a revision, 0 being the empty one, from memory or from the configuration service.
// Its errors are ours to fix: the caller waits and asks again. ErrNotReached where the service answered and has not got
// it. Several callers share one reading.
func (s *Source) At(ctx context.Context, revision int64) (*Snapshot, error) {
	return s.at(ctx, reading{revision, true})
}

func (s *Source) at(ctx context.Context, r reading) (*Snapshot, error) {
	if r.revision == 0 {
		return Decode(&configv1.Snapshot{}), nil
	}
	for {
		s.mu.Lock()
		if found := s.recall(r); found != nil {
			s.mu.Unlock()
			return found, nil
		}
		wait, busy := s.loading[r]
		if !busy {
			mine := make(chan struct{})
			s.loading[r] = mine
			s.mu.Unlock()
			found, err := s.load(ctx, r)
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
			return nil, fmt.Errorf("read revision %d: %w", r.revision, ctx.Err())
		}
	}
}

// recall and remember hold mu.

func (s *Source) recall(r reading) *Snapshot {
	for i, c := range s.cache {
		if c.Revision == r.revision && (c.whole && !c.masked || !r.whole) {
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

// load reads a revision that is not in memory. The service comes first: what the store has may be of another history,
// where the service's database was begun anew.
func (s *Source) load(ctx context.Context, r reading) (*Snapshot, error) {
	begin := time.Now()
	from := fromService
	message, err := s.fetch(ctx, r.revision)
	if err != nil {
		if r.whole {
			return nil, err
		}
		var storeErr error
		if message, storeErr = s.recover(ctx, r.revision); message == nil {
			return nil, errors.Join(err, storeErr)
		}
		from = fromStore
	}
	found := Decode(message)
	if r.whole && found.masked {
		return nil, errMasked
	}
	found.whole = from == fromService
	took := time.Since(begin)
	s.metrics.loaded(from, took)
	s.log.Info("configuration read", zap.Int64("revision", r.revision), zap.String("from", from), zap.Duration("duration", took),
		zap.Int("tenants", len(message.GetTenants())), zap.Int("classes_of_service", len(message.GetClassesOfService())),
		zap.Int("notifications", len(message.GetNotifications())), zap.Int("endpoints", len(message.GetEndpoints())))
	return found, nil
}

// Where a revision was read from: values of a label.
const (
	fromStore   = "store"
	fromService = "service"
)

// recover answers nil where the store has not got the revision, or something else under its name.
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
	s.mu.Lock()
	patience := fetchTimeout
	if s.silent != nil {
		patience = silentTimeout
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
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

// Applied is a Source as the state engine asks it: by the revisions that counting and planning go by. Its snapshots may
// come from the store, and their endpoints then hold only what planning reads: see Stripped.
type Applied struct{ *Source }

// Newest is the newest revision that changed what counting or planning reads, 0 while none is known.
func (a Applied) Newest() int64 {
	apply, _, _ := a.Source.Newest()
	return apply
}

// At is Source.At, and while the configuration service does not answer, or has not got the revision, what the store has.
// The store is meant to have it from here on: somebody's log is at it.
func (a Applied) At(ctx context.Context, revision int64) (*Snapshot, error) {
	found, err := a.at(ctx, reading{revision, false})
	if err == nil {
		a.want(revision)
	}
	return found, err
}
