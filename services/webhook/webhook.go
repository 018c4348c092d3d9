package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
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
	defer client.Close() //nolint:errcheck // everything that mattered was acknowledged or not
	env.Health.WatchKafka(client)
	producer := client.NewProducer()
	store, ok := daemon.Await(ctx, env, "redis", func() (*redisstate.Store, error) { return redisstate.Open(ctx, cfg.Redis) })
	if !ok {
		return nil
	}
	defer store.Close() //nolint:errcheck // commits were answered or not
	pool, err := outbound.NewPool(cfg.Outbound.Clients, outbound.Options{})
	if err != nil {
		return fmt.Errorf("open outbound connections: %w", err)
	}
	defer pool.Close()
	server, err := rpc.NewServer(cfg.GRPC, env)
	if err != nil {
		return err
	}
	defer server.Close() //nolint:errcheck // Serve has told what went wrong

	// The configuration is followed until the last delivery has ended.
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	source, err := configclient.Open(following, cfg.Configuration, env, store)
	if err != nil {
		unfollow()
		return err
	}
	endpoints := newDirectory(source, denied, env.Health, env.Log)
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
	err = daemon.Together(ctx, server.Serve, func(ctx context.Context) error {
		n, ok := partitions(ctx, client, env)
		if !ok {
			return nil
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

// partitions waits for the topics.
func partitions(ctx context.Context, client *stream.Client, env daemon.Env) (n int32, ok bool) {
	return daemon.Await(ctx, env, "topics", func() (int32, error) { return checkTopics(ctx, client) })
}

// checkTopics checks that all that is written to is there, since nothing can be
// recorded otherwise, and that an attempt has a partition where its delivery has one.
func checkTopics(ctx context.Context, client *stream.Client) (int32, error) {
	var faults []error
	count := func(topic string) int {
		n, err := client.Partitions(ctx, client.Topic(topic))
		if err != nil {
			faults = append(faults, err)
		}
		return n
	}
	n, attempts := count(stream.DeliveriesWebhook), count(stream.DeliveriesAttempts)
	count(stream.DeliveriesDead)
	count(stream.EventsRejected)
	if faults == nil && attempts != n {
		faults = append(faults, fmt.Errorf("%s has %d partitions and %s %d: they must have the same",
			client.Topic(stream.DeliveriesWebhook), n, client.Topic(stream.DeliveriesAttempts), attempts))
	}
	return int32(n), errors.Join(faults...)
}
