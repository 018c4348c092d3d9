package webhook

import (
	"github.com/tollgate/tollgate/pkg/channel/webhook"

	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/delivery/loop"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// Run delivers until ctx ends; then it gives attempts in flight one second, records their results, and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) error {
	denied, err := cfg.Outbound.denied()
	if err != nil {
		return err
	}
	metrics, err := loop.NewMetrics(env.Metrics, env.Name)
	if err != nil {
		return err
	}
	return frame.Run(ctx, cfg.Config, env, func(ctx context.Context, f *frame.Frame) error { return deliver(ctx, cfg, f, denied, metrics) })
}

// endpointWaitingMax is how many deliveries to one endpoint wait as references; those after them wait in the log alone.
const endpointWaitingMax = 10_000

func deliver(ctx context.Context, cfg Config, f *frame.Frame, denied []netip.Prefix, metrics *loop.Metrics) error {
	proxy, err := cfg.Outbound.proxy()
	if err != nil {
		return err
	}
	pool, err := outbound.NewPool(cfg.Outbound.Clients, outbound.Options{Connections: cfg.Outbound.Connections, Proxy: proxy})
	if err != nil {
		return fmt.Errorf("open outbound connections: %w", err)
	}
	defer pool.Close()
	tokens, err := outbound.NewTokens(maxGrants)
	if err != nil {
		return fmt.Errorf("open outbound connections: %w", err)
	}

	configuration, err := cfg.Configuration.Dial()
	if err != nil {
		return fmt.Errorf("report health of endpoints: %w", err)
	}
	defer configuration.Close() //nolint:errcheck // nothing is sent on it any more

	// Endpoints are followed until the last delivery has ended.
	following, unfollow := context.WithCancel(f.Following)
	endpoints := newDirectory(f.Source, denied, pool.Keep, f.Health, f.Log)
	var follower sync.WaitGroup
	follower.Go(func() { endpoints.follow(following) })
	defer func() { unfollow(); follower.Wait() }()

	send := &sender{pool: pool, tokens: tokens, clock: f.Clock, newest: endpoints.endpoint}
	deliveryv1.RegisterTestServiceServer(f.Server, &tests{
		send: send, snapshot: endpoints.snapshot.Load, denied: denied, clock: f.Clock, underWay: make(chan struct{}, maxTests),
	})
	channel := &loop.Channel{
		Name:  webhook.Channel.Name,
		Topic: f.Client.Topic(webhook.Channel.Topic), Attempts: f.Client.Topic(stream.DeliveriesAttempts),
		Dead: f.Client.Topic(stream.DeliveriesDead), Rejected: f.Client.Topic(stream.EventsRejected),
		Events:  f.Client.Topic(stream.EventsOrdered),
		Address: f.Server.Advertised(),
		Store:   f.Store, Directory: endpoints, Sender: send,
		Slots:    loop.NewSlots(cfg.Deliveries.InFlight, cfg.Deliveries.UnrecordedResultsMax),
		Reporter: &reporter{endpoints: configv1.NewEndpointServiceClient(configuration), log: f.Log},
		Metrics:  metrics, Health: f.Health, Log: f.Log, Clock: f.Clock,
		SnapshotEvery: time.Minute, MaxAge: cfg.Deliveries.MaxAge, WaitingMax: cfg.Deliveries.WaitingMax, EndpointWaitingMax: endpointWaitingMax,
		AcceptLostDeliveries: cfg.Deliveries.AcceptLostDeliveries,
	}
	return daemon.RunAll(ctx, f.Server.Serve, func(ctx context.Context) error {
		n, ok := partitions(ctx, f.Client, f.Env, cfg.Deliveries.MaxAge)
		if !ok {
			return nil
		}
		channel.Partitions = n
		return f.Client.Consume(ctx, stream.GroupConfig{Name: f.Name, Topics: []string{webhook.Channel.Topic}},
			func(ctx context.Context, claim *stream.Claim) error {
				defer f.InFlight.Add(fmt.Sprintf("deliveries of partition %d", claim.Partition))()
				return channel.Work(ctx, f.Client, f.Producer, claim)
			})
	})
}

// maxGrants is how many endpoints' access tokens are kept.
const maxGrants = 10_000

// partitions waits for the topics.
func partitions(ctx context.Context, client *stream.Client, env daemon.Env, maxAge time.Duration) (n int32, ok bool) {
	return daemon.Await(ctx, env, "topics", func() (int32, error) { return checkTopics(ctx, client, maxAge) })
}

// checkTopics checks that every topic that is written to exists, since nothing can be recorded otherwise, and that an
// attempt has a partition with the number of its delivery's. Deliveries and attempts must be kept for a day longer than a
// delivery may wait, whatever bytes that takes: most of what waits stands in the log alone.
func checkTopics(ctx context.Context, client *stream.Client, maxAge time.Duration) (int32, error) {
	var faults []error
	count := func(topic string) int {
		n, err := client.Partitions(ctx, client.Topic(topic))
		if err != nil {
			faults = append(faults, err)
		}
		return n
	}
	n, attempts := count(webhook.Channel.Topic), count(stream.DeliveriesAttempts)
	count(stream.DeliveriesDead)
	count(stream.EventsRejected)
	count(stream.EventsOrdered)
	count(stream.StateSnapshots)
	if faults == nil && attempts != n {
		faults = append(faults, fmt.Errorf("%s has %d partitions and %s %d: they must have the same",
			client.Topic(webhook.Channel.Topic), n, client.Topic(stream.DeliveriesAttempts), attempts))
	}
	if faults != nil {
		return 0, errors.Join(faults...)
	}
	kept := map[string]string{
		"retention.ms": strconv.FormatInt((maxAge + 24*time.Hour).Milliseconds(), 10), "retention.bytes": "-1",
	}
	return int32(n), client.VerifyTopics(ctx, []stream.TopicSpec{
		{Name: webhook.Channel.Topic, Partitions: n, Config: kept},
		{Name: stream.DeliveriesAttempts, Partitions: n, Config: kept},
	}, true)
}
