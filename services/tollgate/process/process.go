// Package process is the table of the services that an installation runs. The single process, the fleet of the tests and
// the reference of the configuration are made from it.
package process

import (
	"context"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/config"
	"github.com/tollgate/tollgate/services/config/store"
	"github.com/tollgate/tollgate/services/email"
	"github.com/tollgate/tollgate/services/ingest"
	"github.com/tollgate/tollgate/services/provision"
	"github.com/tollgate/tollgate/services/safeguard"
	"github.com/tollgate/tollgate/services/trigger"
	"github.com/tollgate/tollgate/services/webhook"
)

// Table are all services, in the order of an event's journey.
var Table = []Process{
	of("config", config.DefaultConfig, config.Run, func(c *config.Config) Parts {
		return Parts{
			Frame: &c.Config, GRPC: &c.GRPC, Kafka: &c.Kafka, Database: &c.Database, Provision: &c.Provision.Address, Secrets: &c.Secrets,
		}
	}),
	of("ingest", ingest.DefaultConfig, ingest.Run, func(c *ingest.Config) Parts {
		return Parts{Frame: &c.Config, GRPC: &c.GRPC, Kafka: &c.Kafka, Redis: &c.Redis, Configuration: &c.Configuration, HTTP: &c.HTTP.Listen}
	}),
	of("provision", provision.DefaultConfig, provision.Run, func(c *provision.Config) Parts { return sending(&c.Config, &c.Secrets) }),
	of("safeguard", safeguard.DefaultConfig, safeguard.Run, func(c *safeguard.Config) Parts { return framed(&c.Config) }),
	of("trigger", trigger.DefaultConfig, trigger.Run, func(c *trigger.Config) Parts { return framed(&c.Config) }),
	// The channels, one line each.
	of("webhook", webhook.DefaultConfig, webhook.Run, func(c *webhook.Config) Parts { return sending(&c.Config, &c.Secrets) }),
	of("email", email.DefaultConfig, email.Run, func(c *email.Config) Parts { return sending(&c.Config, &c.Secrets) }),
}

// Process is a service that an installation runs.
type Process struct {
	Name string
	// Default is a new default configuration.
	Default func() Configuration
	// Values is the default configuration as the struct that a file is read into.
	Values func() any
	// Load reads a configuration file over the defaults, and variables such as "TOLLGATE_LOG_LEVEL=warn" over that.
	Load func(path string, environ ...string) (Configuration, error)
}

// Find is the service of a name.
func Find(name string) (Process, bool) {
	for _, p := range Table {
		if p.Name == name {
			return p, true
		}
	}
	return Process{}, false
}

// Parts are the parts of a service's configuration that an installation sets. Those that a service lacks are nil.
type Parts struct {
	Frame         *daemon.Config
	GRPC          *rpc.Config
	Kafka         *stream.Config
	Redis         *redisstate.Config
	Configuration *configclient.Config
	Database      *store.Config
	Secrets       *secret.Config
	// Provision is the address at which config tests hooks.
	Provision *string
	// HTTP is the address at which events are taken by HTTP.
	HTTP *string
}

// framed are the parts of a service that runs in the frame of pkg/daemon.
func framed(c *frame.Config) Parts {
	return Parts{Frame: &c.Config, GRPC: &c.GRPC, Kafka: &c.Kafka, Redis: &c.Redis, Configuration: &c.Configuration}
}

// sending are those of one that sends, and decrypts secrets for it.
func sending(c *frame.Config, secrets *secret.Config) Parts {
	p := framed(c)
	p.Secrets = secrets
	return p
}

// Listeners are the names of what a service listens with.
func (p Parts) Listeners() []string {
	if p.HTTP != nil {
		return []string{"admin", "grpc", "http"}
	}
	return []string{"admin", "grpc"}
}

// Configuration is the configuration of one process, ready to run.
type Configuration struct {
	daemon.Configuration
	Parts Parts
	// Run serves until ctx ends.
	Run func(ctx context.Context, env daemon.Env) error
}

// Serve validates the configuration and serves as daemon.Main does, until ctx ends.
func (c Configuration) Serve(ctx context.Context, env daemon.Env) error {
	return daemon.Serve(ctx, c.Frame(), env, c.Run)
}

func of[C daemon.Configuration](name string, byDefault func() C, run func(context.Context, C, daemon.Env) error, parts func(*C) Parts) Process {
	made := func(cfg *C) Configuration {
		return Configuration{
			Configuration: pointed[C]{cfg}, Parts: parts(cfg),
			Run: func(ctx context.Context, env daemon.Env) error { return run(ctx, *cfg, env) },
		}
	}
	return Process{
		Name: name, Values: func() any { return byDefault() },
		Default: func() Configuration {
			cfg := byDefault()
			return made(&cfg)
		},
		Load: func(path string, environ ...string) (Configuration, error) {
			cfg := byDefault()
			err := daemon.Load(path, environ, &cfg)
			return made(&cfg), err
		},
	}
}

// pointed is a configuration whose parts may still change.
type pointed[C daemon.Configuration] struct{ cfg *C }

func (p pointed[C]) Validate() error      { return (*p.cfg).Validate() }
func (p pointed[C]) Frame() daemon.Config { return (*p.cfg).Frame() }
