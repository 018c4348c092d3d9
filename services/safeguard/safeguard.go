package safeguard

import (
	"context"
	"errors"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
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
	client, err := stream.Open(cfg.Kafka, env.Log, env.Metrics)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // gives connections back, which cannot fail
	env.Health.WatchKafka(client)
	producer := client.NewProducer()
	server, err := rpc.NewServer(cfg.GRPC, env)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }() // closed already where it served
	peers, err := newPeers(cfg)
	if err != nil {
		return err
	}
	defer peers.close()

	store, ok := daemon.Await(ctx, env, "redis", func() (*redisstate.Store, error) { return redisstate.Open(ctx, cfg.Redis) })
	if !ok {
		return nil
	}
	defer func() { _ = store.Close() }() // every write was answered

	// The configuration is followed for as long as the engine may ask for a revision.
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	source, err := configclient.Open(following, cfg.Configuration, env, store)
	if err != nil {
		unfollow()
		return err
	}
	defer func() { unfollow(); _ = source.Close() }()
	configuration := compileCatalogs(following, source)
	env.Health.Note("scopes", configuration.unusable)

	announcer := &announcer{log: env.Log, metrics: metrics, clock: env.Clock}
	engine, ok := daemon.Await(ctx, env, "topics", func() (*fold.Engine[subscriber, *catalog], error) {
		return fold.NewEngine(ctx, fold.EngineConfig[subscriber, *catalog]{
			Service: env.Name, Domain: Domain, Topic: stream.EventsOrdered, Address: server.Advertised(),
			NewFold: func() fold.Fold[subscriber, *catalog] {
				return &rules{safeguards: client.Topic(stream.Safeguards)}
			},
			Options: takes(),
			Client:  client, Producer: producer, Store: store, Revisions: configuration, Published: announcer.published,
			Clock: env.Clock, Logger: env.Log, Metrics: env.Metrics, Limits: cfg.State,
		})
	})
	if !ok {
		return nil
	}
	env.Health.Check(Domain, engine.Ready)
	reached := &subscribers{
		records: engine, catalogs: configuration, peers: peers, clock: env.Clock, answered: answered,
		stopping: server.Stopping(), timeout: cfg.GRPC.CallTimeout,
	}
	register(server, reached)
	optionsv1.RegisterOptionAuditServiceServer(server, newAudit(reached, engine))

	err = daemon.Together(ctx, server.Serve, engine.Run)

	finishing, cancel := env.Finishing(ctx)
	defer cancel()
	defer env.Open.Add("records on their way to Kafka")()
	return errors.Join(err, producer.Close(finishing))
}

// register lets the services answer.
func register(server *rpc.Server, s *subscribers) {
	optionsv1.RegisterOptionCatalogServiceServer(server, &catalogService{catalogs: s.catalogs})
	optionsv1.RegisterOptionInventoryServiceServer(server, &inventory{subscribers: s})
	optionsv1.RegisterOptionSubscriptionServiceServer(server, &subscription{subscribers: s})
	optionsv1.RegisterEnforcementServiceServer(server, &enforcement{subscribers: s})
}
