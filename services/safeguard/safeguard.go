package safeguard

import (
	"context"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"

	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// Run counts until ctx ends; then it commits what it has counted, answers what is under way and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) error {
	metrics, err := newMetrics(env.Metrics)
	if err != nil {
		return err
	}
	answered, err := newAnswered(env.Metrics)
	if err != nil {
		return err
	}
	return frame.Run(ctx, cfg.Config, env, func(ctx context.Context, f *frame.Frame) error {
		return serve(ctx, cfg, f, metrics, answered)
	})
}

func serve(ctx context.Context, cfg Config, f *frame.Frame, metrics *metrics, answered *answered) error {
	peers, err := newPeers(cfg)
	if err != nil {
		return err
	}
	defer peers.close()
	configuration := compileCatalogs(f.Following, f.Source)
	f.Health.Note("scopes", configuration.unusable)

	announcer := &announcer{log: f.Log, metrics: metrics, clock: f.Clock}
	engine, ok := daemon.Await(ctx, f.Env, "topics", func() (*fold.Engine[subscriber, *catalog], error) {
		return fold.NewEngine(ctx, fold.EngineConfig[subscriber, *catalog]{
			Service: f.Name, Domain: Domain, Topic: stream.EventsOrdered, Address: f.Server.Advertised(),
			NewFold: func() fold.Fold[subscriber, *catalog] {
				return &rules{safeguards: f.Client.Topic(stream.Safeguards)}
			},
			Options: takes(),
			Client:  f.Client, Producer: f.Producer, Store: f.Store, Revisions: configuration, Published: announcer.published,
			Clock: f.Clock, Logger: f.Log, Metrics: f.Metrics, Limits: cfg.State,
		})
	})
	if !ok {
		return nil
	}
	f.Health.Check(Domain, engine.Ready)
	reached := &subscribers{
		records: engine, catalogs: configuration, peers: peers, clock: f.Clock, answered: answered,
		stopping: f.Server.Stopping(), timeout: cfg.GRPC.CallTimeout,
	}
	register(f.Server, reached)
	optionsv1.RegisterOptionAuditServiceServer(f.Server, newAudit(reached, engine))

	return daemon.Together(ctx, f.Server.Serve, engine.Run)
}

// register lets the services answer.
func register(server *rpc.Server, s *subscribers) {
	optionsv1.RegisterOptionCatalogServiceServer(server, &catalogService{catalogs: s.catalogs})
	optionsv1.RegisterOptionInventoryServiceServer(server, &inventory{subscribers: s})
	optionsv1.RegisterOptionSubscriptionServiceServer(server, &subscription{subscribers: s})
	optionsv1.RegisterEnforcementServiceServer(server, &enforcement{subscribers: s})
}
