package trigger

import (
	"errors"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Config is the file trigger.yaml.
type Config struct {
	daemon.Config `yaml:",inline"`
	Kafka         stream.Config     `yaml:"kafka"`
	Redis         redisstate.Config `yaml:"redis"`
	GRPC          rpc.Config        `yaml:"grpc"`
	// Configuration says where the configuration service is.
	Configuration configclient.Config `yaml:"config"`
	// State bounds each of the engines that keep records.
	State fold.Limits `yaml:"state"`
}

// DefaultConfig listens on loopback, with Kafka, Redis and the configuration service beside it.
func DefaultConfig() Config {
	return Config{
		Config:        daemon.DefaultConfig("127.0.0.1:7940"),
		Kafka:         stream.DefaultConfig(),
		Redis:         redisstate.DefaultConfig(),
		GRPC:          rpc.DefaultConfig("127.0.0.1:7040"),
		Configuration: configclient.DefaultConfig(),
		State:         fold.DefaultLimits(),
	}
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var f fault.Faults
	f.AddErr("kafka", c.Kafka.Validate())
	f.AddErr("grpc", c.GRPC.Validate())
	f.AddErr("config", c.Configuration.Validate())
	f.AddErr("", errors.Join(c.Redis.Validate(), c.State.Validate()))
	return f.Err("CONFIG_INVALID")
}
