package safeguard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/revision"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state"
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
	client, err := stream.Open(cfg.Kafka, env.Log, env.Metrics)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // gives connections back, which cannot fail
	watchKafka(env.Health, client)
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

	store, ok := await(ctx, env, "redis", func() (*redisstate.Store, error) { return redisstate.Open(ctx, cfg.Redis) })
	if !ok {
		return nil
	}
	defer func() { _ = store.Close() }() // every write was answered

	// The configuration is followed for as long as the engine may ask for a revision.
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	source, err := revision.Open(following, cfg.Configuration, env, store)
	if err != nil {
		unfollow()
		return err
	}
	defer func() { unfollow(); _ = source.Close() }()
	configuration := &catalogs{source: revision.Applied{Source: source}}

	announcer := &announcer{log: env.Log, metrics: metrics, clock: env.Clock}
	engine, ok := await(ctx, env, "topics", func() (*state.Engine[subscriber, *catalog], error) {
		return state.NewEngine(ctx, state.EngineConfig[subscriber, *catalog]{
			Service: env.Name, Domain: Domain, Topic: stream.EventsOrdered, Address: server.Advertised(),
			NewFold: func() state.Fold[subscriber, *catalog] {
				return &fold{safeguards: client.Topic(stream.Safeguards), metrics: metrics}
			},
			Client: client, Producer: producer, Store: store, Revisions: configuration, Published: announcer.published,
			Clock: env.Clock, Logger: env.Log, Metrics: env.Metrics, Limits: cfg.State,
		})
	})
	if !ok {
		return nil
	}
	env.Health.Check(Domain, engine.Ready)
	optionsv1.RegisterOptionInventoryServiceServer(server, &inventory{records: engine, catalogs: configuration, peers: peers, clock: env.Clock})

	err = together(ctx, server.Serve, engine.Run)

	finishing, cancel := env.Finishing(ctx)
	defer cancel()
	defer env.Open.Add("records on their way to Kafka")()
	return errors.Join(err, producer.Close(finishing))
}

// await opens what needs another server, again each second until that answers; health says meanwhile what is missing.
// Not ok when ctx ended before.
func await[T any](ctx context.Context, env daemon.Env, check string, open func() (T, error)) (opened T, ok bool) {
	said := ""
	for {
		opened, err := open()
		env.Health.Set(check, err)
		if err == nil {
			return opened, true
		}
		if err.Error() != said {
			said = err.Error()
			env.Log.Warn("waiting", zap.String("for", check), zap.Error(err))
		}
		t := time.NewTimer(time.Second)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return opened, false
		}
	}
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
