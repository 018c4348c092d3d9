package config

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// service is what the gRPC services share.
type service struct {
	store    *store
	notifier *notifier
	metrics  *metrics
	log      *zap.Logger
	clock    func() time.Time
	// holdings belong to the transaction that writes.
	holdings holdings
	unknown  *unknown
	// suppressed wakes those that follow suppressions.
	suppressed signal
	// cluster is where the topics of tenants are; those that begin with prefix and a dot are our own.
	cluster cluster
	prefix  string
	// history of what this run changes.
	history atomic.Uint64
}

// Run serves until ctx ends, then lets calls finish and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) (err error) {
	server, err := rpc.NewServer(cfg.GRPC, env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	db, err := openStore(ctx, cfg.Database.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	last, err := head(ctx, db.reader)
	if err != nil {
		return err
	}
	metrics, err := newMetrics(env.Metrics)
	if err != nil {
		return err
	}
	if _, err := validator(); err != nil {
		return err
	}
	kafka, err := stream.Open(cfg.Kafka, env.Log, env.Metrics)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kafka.Close()) }()
	metrics.revisions(revisions{revision: last.GetRevision(), apply: last.GetApplyRevision()})
	s := &service{
		store: db, notifier: newNotifier(last), metrics: metrics, log: env.Log, clock: env.Clock,
		unknown: &unknown{log: env.Log, clock: env.Clock, metrics: metrics},
		cluster: kafka, prefix: cfg.Kafka.Prefix,
	}
	s.history.Store(newHistory())
	if err := s.readKeys(ctx, server.Authorizer()); err != nil {
		return err
	}
	go s.followKeys(ctx, server.Authorizer())
	register(server, s)
	env.Health.Set("database", nil)
	if server.ServiceKeys() == 0 {
		env.Log.Warn("no key of a service is accepted, secrets are masked for every caller and no channel can send: see grpc.service_key_hashes_file")
	}
	go s.watchDatabase(ctx, env.Health)
	env.Log.Info("configuration opened", zap.String("database", cfg.Database.Path),
		zap.Int64("revision", last.GetRevision()), zap.Int64("apply_revision", last.GetApplyRevision()))
	return server.Serve(ctx)
}

// databaseInterval is how often the database is asked whether it still answers.
const databaseInterval = 5 * time.Second

func (s *service) watchDatabase(ctx context.Context, health *daemon.Health) {
	ticker := time.NewTicker(databaseInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		asking, cancel := context.WithTimeout(ctx, databaseInterval)
		_, err := newestRevisions(asking, s.store.reader)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			err = fmt.Errorf("ask the database: %w", err)
		}
		health.Set("database", err)
	}
}

func register(server *rpc.Server, s *service) {
	for _, k := range kinds {
		server.RegisterService(s.resourceService(k), s)
	}
	configv1.RegisterHistoryServiceServer(server, &historyService{service: s})
	configv1.RegisterConfigWatchServiceServer(server, &watchService{service: s, stopping: server.Stopping()})
}
