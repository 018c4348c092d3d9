package trigger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/revision"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state"
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
	watchKafka(env.Health, client)
	producer := client.NewProducer()
	defer func() { err = errors.Join(err, closeProducer(ctx, producer, env)) }()
	store, err := redisstate.Open(ctx, cfg.Redis)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	server, err := rpc.NewServer(cfg.GRPC, env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()

	// The configuration is followed for as long as an engine may ask for a revision.
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	source, err := revision.Open(following, cfg.Configuration, env, store)
	if err != nil {
		unfollow()
		return err
	}
	defer func() { unfollow(); err = errors.Join(err, source.Close()) }()
	configuration := &books{source: revision.Applied{Source: source}, clock: env.Clock, metrics: metrics}

	work := []func(context.Context) error{server.Serve}
	for _, l := range logs {
		limits := cfg.State
		limits.CacheRecords /= 2
		if !l.records {
			limits.CacheRecords = 1
		}
		engine, err := state.NewEngine(ctx, state.EngineConfig[lanes, *Book]{
			Service: env.Name, Domain: l.domain, Topic: l.topic, Address: server.Advertised(),
			NewFold: func() state.Fold[lanes, *Book] {
				return &fold{deliveries: client.Topic(stream.DeliveriesWebhook), decisions: client.Topic(stream.TriggersDecisions), metrics: metrics}
			},
			Client: client, Producer: producer, Store: store, Revisions: configuration,
			Clock: env.Clock, Logger: env.Log, Metrics: env.Metrics, Limits: limits,
		})
		if err != nil {
			return err
		}
		env.Health.Check(l.domain, engine.Ready)
		work = append(work, engine.Run)
	}
	return together(ctx, work...)
}

// closeProducer waits for what is on its way. The engines have waited for theirs; this only names what would be left.
func closeProducer(ctx context.Context, producer *stream.Producer, env daemon.Env) error {
	finishing, cancel := env.Finishing(ctx)
	defer cancel()
	defer env.Open.Add("records on their way to Kafka")()
	return producer.Close(finishing)
}

// together runs all until ctx ends; where one of them fails, the others end too.
func together(ctx context.Context, work ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(work))
	var wait sync.WaitGroup
	for i, run := range work {
		wait.Go(func() {
			defer cancel()
			errs[i] = run(ctx)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// grace is how long Kafka may stay away before the service calls itself not ready: a moved leader is no news.
const grace = 5 * time.Second

// watchKafka tells what needs a person, and what waits.
func watchKafka(health *daemon.Health, client *stream.Client) {
	health.Check("kafka", func() error {
		h := client.Health()
		var faults []error
		for _, in := range h.Incidents {
			faults = append(faults, &daemon.Incident{Code: in.Code, Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Detail: in.Detail})
		}
		for _, w := range h.Waiting {
			if time.Since(w.Since) >= grace {
				faults = append(faults, fmt.Errorf("%s of %s/%d waits since %s: %s", w.For, w.Topic, w.Partition, w.Since.UTC().Format(time.RFC3339), w.Reason))
			}
		}
		return errors.Join(faults...)
	})
}
