package safeguard

import (
	"context"
	"fmt"

	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/api"
)

// Run counts until ctx ends; then it commits what it has counted, answers what is under way and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) error {
	metrics, err := newMetrics(env.Metrics)
	if err != nil {
		return err
	}
	needs := configclient.Needs{Lists: []string{"tenants", "classes_of_service"}}
	return frame.Run(ctx, cfg.Config, env, needs, func(ctx context.Context, f *frame.Frame) error {
		return serve(ctx, cfg, f, metrics)
	})
}

func serve(ctx context.Context, cfg Config, f *frame.Frame, metrics *metrics) error {
	peers, err := newPeers(cfg, f.Health)
	if err != nil {
		return err
	}
	defer peers.Close()
	configuration := configclient.Compile(f.Following, f.Source, account.Compile)
	f.Health.Note("scopes", func() []*daemon.Incident { return unusable(configuration.Latest()) })

	announcer := &announcer{log: f.Log, metrics: metrics, clock: f.Clock}
	engine, ok := daemon.Await(ctx, f.Env, "topics", func() (*fold.Engine[account.Subscriber, *account.Catalog], error) {
		return fold.NewEngine(ctx, fold.EngineConfig[account.Subscriber, *account.Catalog]{
			Service: f.Name, Domain: account.Domain, Topic: stream.EventsOrdered, Address: f.Server.Advertised(),
			NewFold: func() fold.Fold[account.Subscriber, *account.Catalog] {
				return account.NewRules(f.Client.Topic(stream.Safeguards))
			},
			Options: account.Takes(),
			Client:  f.Client, Producer: f.Producer, Store: f.Store, Revisions: configuration, Published: announcer.published, Applied: counted(f.Trace),
			Clock: f.Clock, Logger: f.Log, Metrics: f.Metrics, Limits: cfg.State,
		})
	})
	if !ok {
		return nil
	}
	f.Health.Check(account.Domain, engine.Ready)
	err = api.Services{
		Engine: engine, Catalogs: configuration, Peers: peers, Clock: f.Clock, Timeout: cfg.GRPC.CallTimeout, Metrics: f.Metrics,
	}.Register(f.Server)
	if err != nil {
		return err
	}
	return daemon.RunAll(ctx, f.Server.Serve, engine.Run)
}

// IncidentScope is of a class whose scope this binary can't compile: usage of its subscribers is rejected until it is
// corrected, and can be sent again then.
const IncidentScope = reason.ScopeInvalid

// unusable are the classes with such a scope in the newest revision that was compiled.
func unusable(c *account.Catalog, ok bool) []*daemon.Incident {
	if !ok {
		return nil
	}
	return configclient.Incidents(IncidentScope, c.Unreadable)
}

// newPeers are asked with the certificate of this replica itself, or in plain text where it has none.
func newPeers(cfg Config, health *daemon.Health) (*api.Replicas, error) {
	if cfg.GRPC.CertificateFile == "" {
		return api.NewReplicas(), nil
	}
	files := certificate.Files{Certificate: cfg.GRPC.CertificateFile, Key: cfg.GRPC.CertificateKeyFile, CA: cfg.Peers.CAFile}
	option, err := rpc.TLS(files)
	if err == nil {
		err = health.WatchCertificates("peers", files)
	}
	if err != nil {
		return nil, fmt.Errorf("prepare requests to peers: %w", err)
	}
	return api.NewReplicas(option), nil
}
