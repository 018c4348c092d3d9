package provision

import (
	"context"
	"fmt"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/hook"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/receiver"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/stream"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/provision/chain"
)

// Run decides until ctx ends; then it answers the calls that are under way and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) error {
	asking := &chain.Chain{}
	metrics, err := newMetrics(env.Metrics, asking.OpenCircuits)
	if err != nil {
		return err
	}
	needs := service.Needs(hook.Kind, "event_types")
	if needs.Keyset, err = secret.Open(cfg.Secrets.KeysetFile); err != nil {
		return err
	}
	return frame.Run(ctx, cfg.Config, env, needs, func(ctx context.Context, f *frame.Frame) error { return serve(ctx, cfg, f, asking, metrics) })
}

// maxGrants is how many handlers' access tokens are kept.
const maxGrants = 10_000

func serve(ctx context.Context, cfg Config, f *frame.Frame, asking *chain.Chain, metrics *metrics) error {
	denied, err := cfg.Outbound.DeniedNetworks()
	if err != nil {
		return err
	}
	proxy, err := cfg.Outbound.OpenProxy()
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
	hooks := &directory{source: f.Source, denied: denied, keep: pool.Keep, chain: asking, metrics: metrics, health: f.Health, log: f.Log, read: make(chan struct{})}
	marks := newMarker(f.Store.MarkPublished, f.Log)
	ask := &asker{Client: receiver.Client{Pool: pool, Tokens: tokens}, scripts: cfg.Scripts, clock: f.Clock, tracer: f.Trace}
	log := &executionLog{
		topic: f.Client.Topic(stream.ProvisionExecutions), produce: f.Producer.Produce, results: f.Producer.ProduceResults, log: f.Log, metrics: metrics,
	}
	failures := &failing{add: f.Store.Tally, produce: f.Producer.Produce, topic: f.Client.Topic(stream.EventsUnordered), clock: f.Clock, log: f.Log}
	provisionv1.RegisterProvisioningServiceServer(f.Server, &deciding{
		tests: service.NewTests(func() *configclient.Snapshot {
			if b := hooks.newest.Load(); b != nil {
				return b.snapshot
			}
			return nil
		}),
		newest: hooks.newest.Load, chain: asking, keys: f.Store, marks: marks, clock: f.Clock, logger: f.Log, metrics: metrics,
		asker: ask, log: log, failing: failures,
		ordered: f.Client.Topic(stream.EventsOrdered), unordered: f.Client.Topic(stream.EventsUnordered),
	})
	after := &afterwards{newest: hooks.newest.Load, chain: asking, about: ask.about, log: log, logger: f.Log, metrics: metrics, failing: failures, clock: f.Clock}
	arrivals := after.arrivals(f.Client)
	if err := observeArrivals(f.Metrics, arrivals.Behind); err != nil {
		return err
	}
	return daemon.RunAll(ctx, hooks.Run, marks.Run, failures.Run, f.Server.Serve, func(ctx context.Context) error {
		select {
		case <-hooks.read: // nobody is asked before it is known who
		case <-ctx.Done():
			return nil
		}
		return f.Client.Consume(ctx, stream.GroupConfig{Name: f.Name, Topics: []string{stream.EventsOrdered, stream.EventsUnordered}}, arrivals.Work)
	})
}
