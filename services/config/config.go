package config

import (
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/config/onward"
	"github.com/tollgate/tollgate/services/config/store"
)

// Config is the service's configuration file.
type Config struct {
	daemon.Config `yaml:",inline"`
	GRPC          rpc.Config   `yaml:"grpc"`
	Database      store.Config `yaml:"database"`
	// Kafka takes the topic audit, and is asked whether a topic exists when a notification is saved that publishes to it. Both
	// may wait: the service starts and serves without it.
	Kafka stream.Config `yaml:"kafka"`
	// Provision is called for test runs of hooks, and for nothing else.
	Provision onward.Config `yaml:"provision"`
	// Secrets is what secrets are encrypted with, wherever they lie.
	Secrets secret.Config `yaml:"secrets"`
}

// DefaultConfig listens on loopback and keeps its file in the working directory.
func DefaultConfig() Config {
	return Config{
		Config:    daemon.DefaultConfig("127.0.0.1:7910"),
		GRPC:      rpc.DefaultConfig("127.0.0.1:7010"),
		Database:  store.DefaultConfig(),
		Kafka:     stream.DefaultConfig(),
		Provision: onward.DefaultConfig(),
		Secrets:   secret.DefaultConfig(),
	}
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var f fault.Violations
	f.AddErr("grpc", c.GRPC.Validate())
	f.AddErr("kafka", c.Kafka.Validate())
	f.AddErr("database", c.Database.Validate())
	f.AddErr("provision", c.Provision.Validate())
	f.AddErr("secrets", c.Secrets.Validate())
	return f.Err(reason.ConfigInvalid)
}
