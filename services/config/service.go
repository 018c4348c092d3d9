package config

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/audit"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/auditlog"
	"github.com/tollgate/tollgate/services/config/encrypt"
	"github.com/tollgate/tollgate/services/config/onward"
	"github.com/tollgate/tollgate/services/config/store"
)

// service is what the gRPC services share.
type service struct {
	store    *store.Store
	index    *index
	notifier *notifier
	metrics  *metrics
	log      *zap.Logger
	clock    func() time.Time
	// syncing is held while what is in memory is brought up to date, and passed to watchers.
	syncing sync.Mutex
	noted   noted
	// unwritable is why the last change could not be written; nil where it could.
	unwritable atomic.Pointer[daemon.Incident]
	// advanced wakes those that follow all revisions, suppressions included.
	advanced signal
	// cluster is where the topics of tenants are; those that begin with prefix and a dot are our own.
	cluster cluster
	prefix  string
	// provision is where hooks are tested.
	provision *onward.Service
	// keyset is what secrets are encrypted with; unread is why its file can't be read again.
	keyset *secret.Keyset
	unread atomic.Pointer[daemon.Incident]
}

// Run serves until ctx ends, then lets calls finish and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) (err error) {
	server, err := rpc.NewServer(cfg.GRPC, env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	keyset, err := secret.Open(cfg.Secrets.KeysetFile)
	if err != nil {
		return err
	}
	index := &index{log: env.Log}
	db, err := store.Open(ctx, cfg.Database, index, encrypt.Rows{Keyset: keyset})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	metrics, err := newMetrics(env.Metrics)
	if err != nil {
		return err
	}
	if _, err := lengths(); err != nil {
		return err
	}
	kafka, err := stream.Open(cfg.Kafka, env.Log, env.Metrics)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kafka.Close()) }()
	provision, err := onward.Dial(cfg.Provision, cfg.GRPC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, provision.Close()) }()
	if err := env.Health.WatchCertificates("provision", cfg.Provision.Files(cfg.GRPC)); err != nil {
		return err
	}
	s := &service{
		store: db, index: index, notifier: newNotifier(), metrics: metrics, log: env.Log, clock: env.Clock,
		cluster: kafka, prefix: cfg.Kafka.Prefix, provision: provision, keyset: keyset,
	}
	defer func(stop func() error) { err = errors.Join(err, stop()) }(audit.PublishRefusals(ctx, kafka, server.Authorizer().Refusals(), env))
	if err := s.sync(ctx); err != nil {
		return err
	}
	if err := s.readKeys(ctx, server.Authorizer()); err != nil {
		return err
	}
	go s.followKeys(ctx, server.Authorizer())
	register(server, s)
	env.Health.Set("database", nil)
	env.Health.Note("database", s.notes)
	if server.ServiceKeys() == 0 {
		env.Log.Warn("no key of a service is accepted, secrets are masked for every caller and no channel can send: see grpc.service_key_hashes_file")
	}
	last, _ := s.notifier.read()
	env.Log.Info("configuration opened", zap.String("database", db.Where()),
		zap.Int64("revision", last.GetRevision()), zap.Int64("apply_revision", last.GetApplyRevision()))
	stopAudit, err := s.publishChanges(ctx, kafka, env)
	if err != nil {
		return err
	}
	defer stopAudit()
	go s.follow(ctx, env.Health)
	go s.keepPruning(ctx)
	go s.keepEncrypting(ctx)
	return server.Serve(ctx)
}

// publishChanges writes the topic audit until stop. It needs no Kafka to begin.
func (s *service) publishChanges(ctx context.Context, kafka *stream.Client, env daemon.Env) (stop func(), err error) {
	producer := kafka.NewProducer()
	l := &auditlog.Log{
		Store: s.store, Show: (&changeService{service: s}).shown, Produce: producer.ProduceResults, Topic: kafka.Topic(stream.Audit),
		Log: env.Log, Clock: env.Clock,
	}
	if err := l.Register(env.Metrics); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	env.Health.Note("audit", l.Notes)
	publishing, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(publishing, s.advanced.wait)
	}()
	return func() {
		cancel()
		<-done
		_ = producer.Close(publishing) // what was not acknowledged is published again
	}, nil
}

// syncTimeout bounds the reading of what changed, or of everything where the database was set back.
const syncTimeout = 15 * time.Second

// follow reads what other replicas change, and whether the database answers, until ctx ends.
func (s *service) follow(ctx context.Context, health *daemon.Health) {
	ticker := time.NewTicker(s.store.Follow())
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		asking, cancel := context.WithTimeout(ctx, syncTimeout)
		err := s.sync(asking)
		cancel()
		if ctx.Err() != nil {
			return
		}
		health.Set("database", err)
	}
}

// noteWrite remembers that the database takes no changes, until it takes one again. It serves readers meanwhile, so the
// process stays ready.
func (s *service) noteWrite(err error) {
	switch why := fault.ReasonOf(err); {
	case err == nil:
		s.unwritable.Store(nil)
	case why == store.Full || why == store.ReadOnly:
		if s.unwritable.Swap(&daemon.Incident{Code: why, Detail: "the last change was refused"}) == nil {
			s.log.Error("the database takes no changes", zap.Error(err))
		}
	}
}

func (s *service) notes() []*daemon.Incident {
	var all []*daemon.Incident
	for _, one := range []*daemon.Incident{s.unwritable.Load(), s.unread.Load()} {
		if one != nil {
			all = append(all, one)
		}
	}
	return all
}

// sync brings what is in memory up to date, and announces it to those that watch.
func (s *service) sync(ctx context.Context) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	head, moved, err := s.store.Sync(ctx)
	if err != nil || !moved {
		return err
	}
	s.notifier.announce(head)
	s.advanced.notify()
	s.metrics.revisions(head)
	return nil
}

// announce announces a change that was committed. Where it can't be read now, follow does so later.
func (s *service) announce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), syncTimeout)
	defer cancel()
	if err := s.sync(ctx); err != nil {
		s.log.Error("head not read after a change", zap.Error(err))
	}
}

// read is what a change is validated against before its transaction.
func (s *service) read() queries { return queries{s.store.Reader, s.index} }

func register(server *rpc.Server, s *service) {
	for _, k := range kinds {
		server.RegisterService(s.resourceService(k), s)
	}
	configv1.RegisterChangeServiceServer(server, &changeService{service: s})
	configv1.RegisterHistoryServiceServer(server, &historyService{service: s})
	configv1.RegisterConfigWatchServiceServer(server, &watchService{service: s, stopping: server.Stopping()})
}
