package trigger

import (
	"context"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/trigger/api"
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
func Run(ctx context.Context, cfg Config, env daemon.Env) error {
	metrics, err := newMetrics(env.Metrics)
	if err != nil {
		return err
	}
	return frame.Run(ctx, cfg.Config, env, needs(), func(ctx context.Context, f *frame.Frame) error { return plan(ctx, cfg, f, metrics) })
}

func plan(ctx context.Context, cfg Config, f *frame.Frame, metrics *metrics) error {
	configuration := compileBooks(f.Following, f.Source, f.Clock, metrics)
	f.Health.Note("notifications", func() []*daemon.Incident { return inactive(configuration.Latest) })

	tenants, closing := newForeign(f, metrics)
	defer closing(ctx)
	engines := map[string]*fold.Engine[body, *Book]{}
	failures := newFailing(f.Client.Topic, f.Producer.Produce, f.Clock, f.Log)
	work := []func(context.Context) error{f.Server.Serve, failures.Run}
	for _, l := range logs {
		limits := cfg.State
		limits.CacheRecords /= 2
		if !l.records {
			limits.CacheRecords = 1
		}
		engine, ok := daemon.Await(ctx, f.Env, l.topic, func() (*fold.Engine[body, *Book], error) {
			return fold.NewEngine(ctx, fold.EngineConfig[body, *Book]{
				Service: f.Name, Domain: l.domain, Topic: l.topic, Address: f.Server.Advertised(),
				NewFold: func() fold.Fold[body, *Book] {
					return &evaluation{topic: f.Client.Topic, prefix: cfg.Kafka.Prefix, metrics: metrics}
				},
				Client: f.Client, Producer: f.Producer, Foreign: tenants, Store: f.Store, Revisions: configuration,
				Clock: f.Clock, Logger: f.Log, Metrics: f.Metrics, Limits: limits, Published: failures.observe, Applied: evaluated(f.Trace),
			})
		})
		if !ok {
			return nil
		}
		f.Health.Check(l.domain, engine.Ready)
		engines[l.domain] = engine
		work = append(work, engine.Run)
	}
	answers := api.Services{Planner: &planner{configuration, f.Client, engines, cfg.Kafka.Prefix}, Client: f.Client, Clock: f.Clock, Metrics: f.Metrics}
	if err := answers.Register(f.Server); err != nil {
		return err
	}
	return daemon.RunAll(ctx, work...)
}
