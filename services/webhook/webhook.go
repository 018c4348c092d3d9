package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/revision"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Run delivers until ctx ends; then it gives what is in flight a second, records
// what came of it, and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) error {
	denied, err := cfg.Outbound.denied()
	if err != nil {
		return err
	}
	metrics, err := delivery.NewMetrics(env.Metrics, env.Name)
	if err != nil {
		return err
	}
	client, err := stream.Open(cfg.Kafka, env.Log, env.Metrics)
	if err != nil {
		return err
	}
	defer client.Close()
	watchKafka(env.Health, client)
	producer := client.NewProducer()
	store, err := redisstate.Open(ctx, cfg.Redis)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	defer store.Close()
	pool, err := outbound.NewPool(cfg.Outbound.Clients, outbound.Options{})
	if err != nil {
		return fmt.Errorf("open outbound connections: %w", err)
	}
	defer pool.Close()
	server, err := rpc.NewServer(cfg.GRPC, env)
	if err != nil {
		return err
	}
	defer server.Close()

	// The configuration is followed until the last delivery has ended.
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	source, err := revision.Open(following, cfg.Configuration, env, store)
	if err != nil {
		unfollow()
		return err
	}
	endpoints := newDirectory(source, denied, env.Log)
	var follower sync.WaitGroup
	follower.Go(func() { endpoints.follow(following) })
	defer func() { unfollow(); follower.Wait(); _ = source.Close() }()

	channel := &delivery.Channel{
		Name:  "webhook",
		Topic: client.Topic(stream.DeliveriesWebhook), Attempts: client.Topic(stream.DeliveriesAttempts),
		Dead: client.Topic(stream.DeliveriesDead), Rejected: client.Topic(stream.EventsRejected),
		Address: server.Advertised(),
		Store:   store, Directory: endpoints, Sender: &sender{pool: pool, clock: env.Clock},
		Slots:   delivery.NewSlots(cfg.Deliveries.InFlight, cfg.Deliveries.Unrecorded),
		Metrics: metrics, Health: env.Health, Log: env.Log, Clock: env.Clock,
		MaxAge: cfg.Deliveries.MaxAge, MaxReferences: cfg.Deliveries.References, AcceptGone: cfg.Deliveries.AcceptGone,
	}
	err = together(ctx, server.Serve, func(ctx context.Context) error {
		n, err := partitions(ctx, client, env)
		if err != nil {
			return err
		}
		channel.Partitions = n
		return client.Consume(ctx, stream.GroupConfig{Name: env.Name, Topics: []string{stream.DeliveriesWebhook}},
			func(ctx context.Context, claim *stream.Claim) error {
				defer env.Open.Add(fmt.Sprintf("deliveries of partition %d", claim.Partition))()
				return channel.Work(ctx, client, producer, claim)
			})
	})
	finishing, cancel := env.Finishing(ctx)
	defer cancel()
	defer env.Open.Add("attempts on their way to Kafka")()
	return errors.Join(err, producer.Close(finishing))
}

// partitions waits for the topics and checks that an attempt has a partition
// where its delivery has one.
func partitions(ctx context.Context, client *stream.Client, env daemon.Env) (int32, error) {
	for {
		deliveries, err := client.Partitions(ctx, client.Topic(stream.DeliveriesWebhook))
		attempts, err2 := client.Partitions(ctx, client.Topic(stream.DeliveriesAttempts))
		if err = errors.Join(err, err2); err == nil {
			env.Health.Set("topics", nil)
			if deliveries != attempts {
				return 0, fmt.Errorf("%s has %d partitions and %s %d: they must have the same",
					client.Topic(stream.DeliveriesWebhook), deliveries, client.Topic(stream.DeliveriesAttempts), attempts)
			}
			return int32(deliveries), nil
		}
		env.Health.Set("topics", err)
		env.Log.Warn("topics are not there yet", zap.Error(err))
		timer := time.NewTimer(time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, nil
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

// patience is how long Kafka may stay away before the service calls itself not ready: a moved leader is no news.
const patience = 5 * time.Second

// watchKafka tells what needs a person, and what waits.
func watchKafka(health *daemon.Health, client *stream.Client) {
	health.Check("kafka", func() error {
		h := client.Health()
		var faults []error
		for _, in := range h.Incidents {
			faults = append(faults, &daemon.Incident{Code: in.Code, Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Detail: in.Detail})
		}
		for _, w := range h.Waiting {
			if time.Since(w.Since) >= patience {
				faults = append(faults, fmt.Errorf("%s of %s/%d waits since %s: %s", w.For, w.Topic, w.Partition, w.Since.UTC().Format(time.RFC3339), w.Reason))
			}
		}
		return errors.Join(faults...)
	})
}
