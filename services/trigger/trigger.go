package trigger

import (
	"context"
	"errors"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Domains of the trigger's state, one for each log it reads.
const (
	DomainOrdered    = "trigger-ordered"
	DomainSafeguards = "trigger-safeguards"
	DomainUnordered  = "trigger-unordered"
)

// logs are what the trigger reads, and the domain of each.
var logs = []struct {
	domain, topic string
	records       bool
}{
	{DomainOrdered, stream.EventsOrdered, true},
	{DomainSafeguards, stream.Safeguards, true},
	{DomainUnordered, stream.EventsUnordered, false},
}

// Run plans deliveries until ctx ends; then it commits what it has planned and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) (err error) {
	metrics, err := newMetrics(env.Metrics)
	if err != nil {
		return err
	}
	client, err := stream.Open(cfg.Kafka, env.Log, env.Metrics)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	env.Health.WatchKafka(client)
	producer := client.NewProducer()
	defer func() { err = errors.Join(err, closeProducer(ctx, producer, env)) }()
	store, ok := daemon.Await(ctx, env, "redis", func() (*redisstate.Store, error) { return redisstate.Open(ctx, cfg.Redis) })
	if !ok {
		return nil
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	server, err := rpc.NewServer(cfg.GRPC, env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()

	// The configuration is followed for as long as an engine may ask for a revision.
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	source, err := configclient.Open(following, cfg.Configuration, env, store)
	if err != nil {
		unfollow()
		return err
	}
	defer func() { unfollow(); err = errors.Join(err, source.Close()) }()
	configuration := compileBooks(following, source, env.Clock, metrics)
	env.Health.Note("notifications", func() []*daemon.Incident { return inactive(configuration.Latest) })

	work := []func(context.Context) error{server.Serve}
	for _, l := range logs {
		limits := cfg.State
		limits.CacheRecords /= 2
		if !l.records {
			limits.CacheRecords = 1
		}
		engine, ok := daemon.Await(ctx, env, l.topic, func() (*fold.Engine[lanes, *Book], error) {
			return fold.NewEngine(ctx, fold.EngineConfig[lanes, *Book]{
				Service: env.Name, Domain: l.domain, Topic: l.topic, Address: server.Advertised(),
				NewFold: func() fold.Fold[lanes, *Book] {
					return &evaluation{deliveries: client.Topic(stream.DeliveriesWebhook), decisions: client.Topic(stream.TriggersDecisions), metrics: metrics}
				},
				Client: client, Producer: producer, Store: store, Revisions: configuration,
				Clock: env.Clock, Logger: env.Log, Metrics: env.Metrics, Limits: limits,
			})
		})
		if !ok {
			return nil
		}
		env.Health.Check(l.domain, engine.Ready)
		work = append(work, engine.Run)
	}
	return daemon.Together(ctx, work...)
}

// closeProducer waits for what is on its way. The engines have waited for theirs; this only names what would be left.
func closeProducer(ctx context.Context, producer *stream.Producer, env daemon.Env) error {
	finishing, cancel := env.Finishing(ctx)
	defer cancel()
	defer env.Open.Add("records on their way to Kafka")()
	return producer.Close(finishing)
}
