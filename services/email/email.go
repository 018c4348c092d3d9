package email

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/delivery/loop"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/secret"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	"github.com/tollgate/tollgate/services/email/smtp"
)

// Run sends until ctx ends; then it gives attempts in flight one second, records their results, and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) error {
	metrics, err := loop.NewMetrics(env.Metrics, env.Name)
	if err != nil {
		return err
	}
	needs := service.Needs(email.Channel.Target)
	if needs.Keyset, err = secret.Open(cfg.Secrets.KeysetFile); err != nil {
		return err
	}
	return frame.Run(ctx, cfg.Config, env, needs, func(ctx context.Context, f *frame.Frame) error { return deliver(ctx, cfg, f, metrics) })
}

func deliver(ctx context.Context, cfg Config, f *frame.Frame, metrics *loop.Metrics) error {
	// Where that fails later because no file descriptor is free, the process has no roots until its end.
	if _, err := x509.SystemCertPool(); err != nil {
		return fmt.Errorf("load the system's roots: %w", err)
	}
	denied, err := cfg.Outbound.DeniedNetworks()
	if err != nil {
		return err
	}
	proxy, err := cfg.Outbound.OpenProxy()
	if err != nil {
		return err
	}
	pool := smtp.NewPool(cfg.SMTP.Connections)
	defer pool.Close()

	configuration, err := cfg.Configuration.Dial()
	if err != nil {
		return fmt.Errorf("report health of profiles: %w", err)
	}
	defer configuration.Close() //nolint:errcheck // nothing is sent on it any more

	suppressed := newSuppressions(f.Source.FollowSuppressions(f.Following), configv1.NewSuppressionServiceClient(configuration), f.Log)
	reporting, end := context.WithCancel(f.Following)
	var reporter sync.WaitGroup
	reporter.Go(func() { suppressed.report(reporting) })
	defer func() { end(); reporter.Wait() }()

	maker := &maker{denied: denied, proxy: proxy, hello: cfg.SMTP.Hello}
	profiles := newDirectory(f.Source, maker, pool.Keep, f.Health, f.Log)
	send := &sender{pool: pool, clock: f.Clock, newest: profiles.Target, suppressed: suppressed}
	deliveryv1.RegisterTestServiceServer(f.Server, &tests{
		send: send, requests: service.NewTests(profiles.Snapshot), maker: maker, clock: f.Clock, limit: testLimit,
	})
	s := &service.Service{
		Channel: email.Channel, Limits: service.Limits(cfg.Deliveries), Backoff: waits, Directory: profiles, Sender: send,
		Report: configv1.NewSmtpProfileServiceClient(configuration).ReportHealth, Metrics: metrics,
	}
	return s.Deliver(ctx, f)
}
