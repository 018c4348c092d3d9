package configclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// ErrNotReached: the configuration service answered and does not have the revision.
var ErrNotReached = errors.New("revision is not reached")

// errMasked: without secrets a request would be sent unsigned, or with a mask in place of a credential.
var errMasked = errors.New("the configuration service masks secrets for this key: put its SHA-256 into grpc.service_key_hashes_file of config, " +
	"and see that config.api_key_file holds that key")

// errEncrypted: the same of a service that has no keyset.
var errEncrypted = errors.New("secrets are encrypted, and this service has no keyset: set secrets.keyset_file")

const (
	// remembered is how many snapshots stay in memory: the partitions of a service use two or three revisions.
	remembered = 4
	// fetchTimeout bounds the wait for each part of a snapshot.
	fetchTimeout = 15 * time.Second
	// disconnectedTimeout bounds it while the watch is not connected, because most likely the service is down.
	disconnectedTimeout = 3 * time.Second
	// storeTimeout bounds one call of the KeyStore.
	storeTimeout = 3 * time.Second
)

// Source follows the configuration. Safe for many goroutines.
type Source struct {
	client     configv1.ConfigWatchServiceClient
	conn       io.Closer
	key        string // that is sent
	store      KeyStore
	needs      Needs
	form       form
	space      string      // in the store
	encryption *encryption // nil where it is not encrypted
	// storeFailed: the store did not answer the last time; keepKept alone uses it.
	storeFailed bool
	log         *zap.Logger
	health      *daemon.Health
	metrics     *metrics
	running     sync.WaitGroup

	mu       sync.Mutex
	newest   *configv1.WatchResponse // the last head that was followed; nil while there is none
	changed  chan struct{}
	sent     *Snapshot   // the newest that the service sent
	cache    []*Snapshot // complete snapshots, the most recently used last
	loading  map[state.Revision]chan struct{}
	served   bool  // a revision was read, so the service can work
	read     int64 // the highest revision that was read, and
	missing  []Unreadable
	watchErr error // why the watch is not connected, nil while it is connected
	// used is the newest that is worked by where the store is encrypted, and unsaved is whether the store lacks it.
	used       *Snapshot
	unsaved    bool
	keepFailed bool  // the last time that it was to be stored
	storeErr   error // why the store is refused
	known
}

// Needs are what a service reads of each revision.
type Needs struct {
	// Lists of a snapshot, by the names of their fields; all where it is empty. Other ones for a service are another
	// storedFormat: what the store has would be taken for whole.
	Lists []string
	// Planned: of targets no more than planning reads.
	Planned bool
	// Encrypted: whoever may read or write the store learns nothing and changes nothing. The newest revision is kept there for a
	// start without the configuration service. Without it a Source is for Compile.
	Encrypted bool
	// Keyset decrypts the secrets of targets as they are decoded; nil for a service that sends nothing.
	Keyset *secret.Keyset
}

// Open starts to follow the configuration service until ctx ends; Close waits for that. It does not wait for a
// connection: without one, At answers from memory and from the store. store may be nil.
func Open(ctx context.Context, cfg Config, env daemon.Env, store KeyStore, needs Needs) (*Source, error) {
	conn, err := cfg.Dial()
	if err != nil {
		return nil, fmt.Errorf("follow configuration: %w", err)
	}
	key, err := rpc.ReadKey(cfg.APIKeyFile)
	if err == nil {
		err = env.Health.WatchCertificates("config", cfg.files())
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s, err := open(ctx, configv1.NewConfigWatchServiceClient(conn), conn, key, env, store, needs)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

func open(
	ctx context.Context, client configv1.ConfigWatchServiceClient, conn io.Closer, key string, env daemon.Env, store KeyStore, needs Needs,
) (*Source, error) {
	m, err := newMetrics(env)
	if err != nil {
		return nil, fmt.Errorf("follow configuration: %w", err)
	}
	s := &Source{
		client: client, conn: conn, key: key, store: store, needs: needs, space: spaceOf(env.Name), form: form{planned: needs.Planned, keyset: needs.Keyset},
		log: env.Log, health: env.Health, metrics: m,
		changed: make(chan struct{}), loading: map[state.Revision]chan struct{}{},
		watchErr: errors.New("not connected yet"),
		known:    known{seen: map[uint64]int64{}},
	}
	if store != nil {
		s.form.address = plainAddress
	}
	if needs.Encrypted {
		if err := s.encryptStore(); err != nil {
			return nil, err
		}
	}
	s.health.Check("configuration", s.ready)
	s.health.Note("configuration", s.unreadable)
	s.health.Note("configuration store", s.storeRefused)
	s.running.Go(func() { s.follow(ctx) })
	if needs.Keyset != nil {
		s.health.Note("keyset", s.keysetUnreadable)
		s.running.Go(func() { s.followKeyset(ctx) })
	}
	if s.encryption != nil {
		s.running.Go(func() { s.keepKept(ctx) })
	}
	return s, nil
}

// Close waits until following ends, after the context given to Open has ended, and closes the connection.
func (s *Source) Close() error {
	s.running.Wait()
	return s.conn.Close()
}

// ready is an error while there is no configuration to work by, neither from the service nor from the store, and while
// the service's configuration does not continue the seen revisions.
func (s *Source) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refused != nil:
		return s.refused
	case s.newest != nil || s.served:
		return nil
	}
	return fmt.Errorf("no configuration yet: %w", s.watchErr)
}

// Newest returns the revision that counting and planning use, and the newest of all; ok is false while no head arrived
// since the start. Both are 0 while nothing is configured.
func (s *Source) Newest() (apply, all int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest.GetApplyRevision(), s.newest.GetRevision(), s.newest != nil
}

// newestApplied is the revision that counting and planning use, number 0 while there is none.
func (s *Source) newestApplied() state.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return state.Revision{History: s.newest.GetApplyHistory(), Number: s.newest.GetApplyRevision()}
}

// Current reports that a revision is the newest of all as far as this process knows: the configuration service is
// connected and named it last.
func (s *Source) Current(revision int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest != nil && s.watchErr == nil && s.refused == nil && s.newest.GetRevision() == revision
}

// Changed returns a channel that is closed when the result of Newest or Current changes; get it before calling them.
func (s *Source) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// At returns a revision of the followed history, 0 being the empty one, from memory or from the configuration service. What is kept
// encrypted is in the store by then, as far as that answers. On an error the caller waits and tries again; ErrNotReached where the service answered and
// does not have it. Concurrent callers share one reading.
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
			if err == nil && found.encrypted {
				err = errEncrypted
			}
			if err == nil {
				s.saveKept(ctx, found)
			}
			s.mu.Lock()
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

// recall and remember require mu.
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
	s.cache = slices.DeleteFunc(s.cache, func(c *Snapshot) bool { return c.Revision == found.Revision && c.History == found.History })
	s.cache = append(s.cache, found)
	if len(s.cache) > remembered {
		s.cache = append([]*Snapshot(nil), s.cache[1:]...)
	}
}
