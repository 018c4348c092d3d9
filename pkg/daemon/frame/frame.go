// Package frame is the base of a service that keeps state in Redis and processes partitions of Kafka topics by the
// configuration: the connections to all three, its gRPC server, and their closing in reverse order.
package frame

import (
	"context"
	"errors"

	"github.com/tollgate/tollgate/pkg/audit"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Config is the part of a service's file that locates its servers.
type Config struct {
	daemon.Config `yaml:",inline"`
	Kafka         stream.Config     `yaml:"kafka"`
	Redis         redisstate.Config `yaml:"redis"`
	GRPC          rpc.Config        `yaml:"grpc"`
	// Configuration locates the configuration service.
	Configuration configclient.Config `yaml:"config"`
}

// DefaultConfig listens at two addresses, with Kafka, Redis and the configuration service on loopback.
func DefaultConfig(admin, grpc string) Config {
	return Config{
		Config:        daemon.DefaultConfig(admin),
		Kafka:         stream.DefaultConfig(),
		Redis:         redisstate.DefaultConfig(),
		GRPC:          rpc.DefaultConfig(grpc),
		Configuration: configclient.DefaultConfig(),
	}
}

// Check adds every violation to f.
func (c Config) Check(f *fault.Violations) {
	f.AddErr("kafka", c.Kafka.Validate())
	f.AddErr("grpc", c.GRPC.Validate())
	f.AddErr("config", c.Configuration.Validate())
	f.AddErr("", c.Redis.Validate())
}

// Frame is what is open while a service runs.
type Frame struct {
	daemon.Env
	Client   *stream.Client
	Producer *stream.Producer
	Store    *redisstate.Store
	// Server serves only once the service calls Serve: it registers its services first.
	Server *rpc.Server
	// Source follows the configuration until Following ends, which is after run returned.
	Source    *configclient.Source
	Following context.Context
}

// Run opens the frame, in order, and calls run. needs are what the service reads of the configuration. When run returns, everything is closed in reverse order: records that
// the producer holds reach Kafka first. It returns nil where ctx ends before Redis answers.
func Run(
	ctx context.Context, cfg Config, env daemon.Env, needs configclient.Needs, run func(ctx context.Context, f *Frame) error,
) (err error) {
	f := &Frame{Env: env}
	closing := func(end func() error) { err = errors.Join(err, end()) }
	if f.Client, err = stream.Open(cfg.Kafka, env.Log, env.Metrics); err != nil {
		return err
	}
	defer closing(f.Client.Close)
	env.Health.WatchKafka(f.Client)
	if f.Server, err = rpc.NewServer(cfg.GRPC, env); err != nil {
		return err
	}
	defer closing(f.Server.Close)
	defer closing(audit.PublishRefusals(ctx, f.Client, f.Server.Authorizer().Refusals(), env))
	store, ok := daemon.Await(ctx, env, "redis", func() (*redisstate.Store, error) { return redisstate.Open(ctx, cfg.Redis) })
	if !ok {
		return nil
	}
	f.Store = store
	defer closing(store.Close)

	// A partition may read a revision until it is released, after ctx has ended.
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	defer unfollow()
	if f.Source, err = configclient.Open(following, cfg.Configuration, env, store, needs); err != nil {
		return err
	}
	f.Following = following
	f.Server.Authorizer().Expect()
	if err := f.Source.FollowKeys(following, env.Name, store, f.Server.Authorizer().Replace); err != nil {
		unfollow()
		return errors.Join(err, f.Source.Close())
	}
	defer closing(func() error { unfollow(); return f.Source.Close() })

	f.Producer = f.Client.NewProducer()
	defer closing(func() error {
		finishing, cancel := env.Finishing(ctx)
		defer cancel()
		defer env.InFlight.Add("records on their way to Kafka")()
		return f.Producer.Close(finishing)
	})
	return run(ctx, f)
}
