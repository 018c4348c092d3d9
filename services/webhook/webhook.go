package webhook

import (
	"context"
	"fmt"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/delivery/loop"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/receiver"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/trace"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// Run delivers until ctx ends; then it gives attempts in flight one second, records their results, and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) error {
	metrics, err := loop.NewMetrics(env.Metrics, env.Name)
	if err != nil {
		return err
	}
	needs := service.Needs(webhook.Channel.Target)
	if needs.Keyset, err = secret.Open(cfg.Secrets.KeysetFile); err != nil {
		return err
	}
	return frame.Run(ctx, cfg.Config, env, needs, func(ctx context.Context, f *frame.Frame) error { return deliver(ctx, cfg, f, metrics) })
}

func deliver(ctx context.Context, cfg Config, f *frame.Frame, metrics *loop.Metrics) error {
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

	configuration, err := cfg.Configuration.Dial()
	if err != nil {
		return fmt.Errorf("report health of endpoints: %w", err)
	}
	defer configuration.Close() //nolint:errcheck // nothing is sent on it any more

	endpoints := newDirectory(f.Source, denied, pool.Keep, f.Health, f.Log)
	send := &sender{Client: receiver.Client{Pool: pool, Tokens: tokens}, clock: f.Clock, newest: endpoints.Target}
	deliveryv1.RegisterTestServiceServer(f.Server, &tests{
		send: send, requests: service.NewTests(endpoints.Snapshot), denied: denied, clock: f.Clock,
	})
	s := &service.Service{
		Channel: webhook.Channel, Limits: service.Limits(cfg.Deliveries), Directory: endpoints, Sender: send,
		Report: configv1.NewEndpointServiceClient(configuration).ReportHealth, Metrics: metrics, Reply: trace.HTTPStatus,
	}
	return s.Deliver(ctx, f)
}

// maxGrants is how many endpoints' access tokens are kept.
const maxGrants = 10_000
