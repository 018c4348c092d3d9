package ingest

import (
	"context"
	"errors"

	"github.com/tollgate/tollgate/pkg/audit"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/ingest/queue"
)

// Run takes events in until ctx ends; then it closes its transports, answers what is under way and returns nil.
func Run(ctx context.Context, cfg Config, env daemon.Env) (err error) {
	client, err := stream.Open(cfg.Kafka, env.Log, env.Metrics)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	metrics := newMetrics(env.Metrics)
	configuration, err := follow(context.WithoutCancel(ctx), cfg, env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, configuration.stop()) }()
	tenants := newTenants(func(ctx context.Context, before *directory) (*directory, error) {
		return readDirectory(ctx, configuration.source, before)
	}, env.Log)
	metrics.watchTenants(tenants.age)
	publisher := newPublisher(client, tenants, env.Clock, metrics, env.Trace)
	env.Health.WatchKafka(client)
	env.Health.Check("publish", publisher.obstacle)

	grpc, err := rpc.NewServer(cfg.GRPC, env)
	if err != nil {
		return err
	}
	defer func(stop func() error) { err = errors.Join(err, stop()) }(audit.PublishRefusals(ctx, client, grpc.Authorizer().Refusals(), env))
	if err := configuration.keys(env.Name, grpc.Authorizer()); err != nil {
		return errors.Join(err, grpc.Close())
	}
	limits, err := newLimiter(cfg.Limits, max(cfg.GRPC.MaxMessageBytes, int(cfg.HTTP.MaxBodyBytes)), env.Clock, env.Metrics)
	if err != nil {
		return errors.Join(err, grpc.Close())
	}
	grpc.RegisterService(bounded(), &grpcAPI{publisher: publisher, limits: limits, log: newRejections(env.Log, "grpc"),
		metrics: metrics.transport("grpc"), budget: grpc.Budget(), stopping: grpc.Stopping()})
	events, err := queue.New(ctx, cfg.Queue, env, client, tenants, tenants.exists, grpc)
	if err != nil {
		return errors.Join(err, grpc.Close())
	}
	http, err := newHTTPAPI(cfg.HTTP, env, grpc, publisher, limits, metrics.transport("http"))
	if err != nil {
		return errors.Join(err, grpc.Close())
	}
	kafka := &kafkaSource{client: client, publisher: publisher, clock: env.Clock, log: newRejections(env.Log, "kafka"),
		metrics: metrics.transport("kafka"), rejected: client.Topic(stream.EventsRejected), health: env.Health}

	err = daemon.RunAll(ctx, tenants.run, grpc.Serve, http.serve, kafka.serve)

	// The transports have answered all they took; this only names what would be left.
	finishing, cancel := env.Finishing(ctx)
	defer cancel()
	defer env.InFlight.Add("records on their way to Kafka")()
	return errors.Join(err, events.Close(finishing), publisher.producer.Close(finishing))
}
