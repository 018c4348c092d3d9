package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
)

// followKeys gives the authorizer the tenants' keys until stop is called. Neither the configuration service nor Redis has
// to be there: events are taken without both, from operators at least.
func followKeys(ctx context.Context, cfg Config, env daemon.Env, authorizer *rpc.Authorizer) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	env.Health = daemon.NewHealth() // whether configuration is known decides nothing about readiness here
	source, err := configclient.Open(ctx, cfg.Configuration, env, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	kept := &keptKeys{cfg: cfg.Redis}
	stop = func() error {
		cancel()
		return errors.Join(source.Close(), kept.close())
	}
	authorizer.Expect()
	if err := source.FollowKeys(ctx, env.Name, kept, authorizer.Replace); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// keptKeys opens Redis when it is first there.
type keptKeys struct {
	cfg   redisstate.Config
	mu    sync.Mutex
	store *redisstate.Store
}

func (k *keptKeys) open(ctx context.Context) (*redisstate.Store, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.store != nil {
		return k.store, nil
	}
	store, err := redisstate.Open(ctx, k.cfg)
	if err != nil {
		return nil, fmt.Errorf("open what keeps the keys of tenants: %w", err)
	}
	k.store = store
	return store, nil
}

func (k *keptKeys) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.store == nil {
		return nil
	}
	return k.store.Close()
}

// GetAccess implements configclient.AccessStore.
func (k *keptKeys) GetAccess(ctx context.Context, service string) ([]byte, error) {
	store, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	return store.GetAccess(ctx, service)
}

// PutAccess implements configclient.AccessStore.
func (k *keptKeys) PutAccess(ctx context.Context, service string, revision int64, body []byte) (bool, error) {
	store, err := k.open(ctx)
	if err != nil {
		return false, err
	}
	return store.PutAccess(ctx, service, revision, body)
}
