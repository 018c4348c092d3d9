package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
)

// following is what ingest follows of the configuration until stop is called. Neither the configuration service nor Redis has to be
// there: events are taken without both, from operators at least.
type following struct {
	source *configclient.Source
	ctx    context.Context
	kept   *kept
	stop   func() error
}

func follow(ctx context.Context, cfg Config, env daemon.Env) (*following, error) {
	ctx, cancel := context.WithCancel(ctx)
	noted := env.Health
	env.Health = daemon.NewHealth() // whether configuration is known decides nothing about readiness here
	noted.Note("configuration", env.Health.Noted)
	kept := &kept{cfg: cfg.Redis}
	source, err := configclient.Open(ctx, cfg.Configuration, env, kept, configclient.Needs{Lists: []string{"tenants", "event_types"}, Encrypted: true})
	if err != nil {
		cancel()
		return nil, err
	}
	return &following{source: source, ctx: ctx, kept: kept, stop: func() error {
		cancel()
		return errors.Join(source.Close(), kept.close())
	}}, nil
}

// keys gives the authorizer the tenants' keys.
func (f *following) keys(service string, authorizer *rpc.Authorizer) error {
	authorizer.Expect()
	return f.source.FollowKeys(f.ctx, service, f.kept, authorizer.Replace)
}

// kept opens Redis when it is first there.
type kept struct {
	cfg   redisstate.Config
	mu    sync.Mutex
	store *redisstate.Store
}

var (
	_ configclient.KeyStore    = (*kept)(nil)
	_ configclient.AccessStore = (*kept)(nil)
)

// openTimeout bounds one try: others wait for it.
const openTimeout = 700 * time.Millisecond

func (k *kept) open(ctx context.Context) (*redisstate.Store, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.store != nil {
		return k.store, nil
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	store, err := redisstate.Open(ctx, k.cfg)
	if err != nil {
		return nil, fmt.Errorf("open what keeps the configuration: %w", err)
	}
	k.store = store
	return store, nil
}

func (k *kept) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.store == nil {
		return nil
	}
	return k.store.Close()
}

// asked calls f with the store.
func asked[T any](ctx context.Context, k *kept, f func(*redisstate.Store) (T, error)) (T, error) {
	store, err := k.open(ctx)
	if err != nil {
		var none T
		return none, err
	}
	return f(store)
}

// done is asked without an answer.
func done(ctx context.Context, k *kept, f func(*redisstate.Store) error) error {
	_, err := asked(ctx, k, func(s *redisstate.Store) (struct{}, error) { return struct{}{}, f(s) })
	return err
}

// GetAccess implements configclient.AccessStore.
func (k *kept) GetAccess(ctx context.Context, service string) ([]byte, error) {
	return asked(ctx, k, func(s *redisstate.Store) ([]byte, error) { return s.GetAccess(ctx, service) })
}

// PutAccess implements configclient.AccessStore.
func (k *kept) PutAccess(ctx context.Context, service string, revision int64, body []byte) (bool, error) {
	return asked(ctx, k, func(s *redisstate.Store) (bool, error) { return s.PutAccess(ctx, service, revision, body) })
}

// GetRevision implements configclient.KeyStore.
func (k *kept) GetRevision(ctx context.Context, space string, r state.Revision) (head []byte, addresses []string, err error) {
	err = done(ctx, k, func(s *redisstate.Store) error {
		head, addresses, err = s.GetRevision(ctx, space, r)
		return err
	})
	return head, addresses, err
}

// NewestRevision implements configclient.KeyStore.
func (k *kept) NewestRevision(ctx context.Context, space string) (state.Revision, error) {
	return asked(ctx, k, func(s *redisstate.Store) (state.Revision, error) { return s.NewestRevision(ctx, space) })
}

// GetParts implements configclient.KeyStore.
func (k *kept) GetParts(ctx context.Context, space string, addresses []string) ([][]byte, error) {
	return asked(ctx, k, func(s *redisstate.Store) ([][]byte, error) { return s.GetParts(ctx, space, addresses) })
}

// PutParts implements configclient.KeyStore.
func (k *kept) PutParts(ctx context.Context, space string, addresses []string, bodies [][]byte) error {
	return done(ctx, k, func(s *redisstate.Store) error { return s.PutParts(ctx, space, addresses, bodies) })
}

// PutRevision implements configclient.KeyStore.
func (k *kept) PutRevision(ctx context.Context, space string, r state.Revision, head []byte, addresses []string) ([]int, error) {
	return asked(ctx, k, func(s *redisstate.Store) ([]int, error) { return s.PutRevision(ctx, space, r, head, addresses) })
}

// HoldRevision implements configclient.KeyStore.
func (k *kept) HoldRevision(ctx context.Context, space string, r state.Revision) (bool, error) {
	return asked(ctx, k, func(s *redisstate.Store) (bool, error) { return s.HoldRevision(ctx, space, r) })
}

// NameRevisions implements configclient.KeyStore.
func (k *kept) NameRevisions(ctx context.Context, space string, named map[state.Partition]state.Revision) error {
	return done(ctx, k, func(s *redisstate.Store) error { return s.NameRevisions(ctx, space, named) })
}

// SweepRevisions implements configclient.KeyStore.
func (k *kept) SweepRevisions(ctx context.Context, space string) error {
	return done(ctx, k, func(s *redisstate.Store) error { return s.SweepRevisions(ctx, space) })
}

// SeenRevisions implements configclient.KeyStore.
func (k *kept) SeenRevisions(ctx context.Context) ([]state.Revision, error) {
	return asked(ctx, k, func(s *redisstate.Store) ([]state.Revision, error) { return s.SeenRevisions(ctx) })
}

// SeeRevision implements configclient.KeyStore.
func (k *kept) SeeRevision(ctx context.Context, r state.Revision) error {
	return done(ctx, k, func(s *redisstate.Store) error { return s.SeeRevision(ctx, r) })
}
