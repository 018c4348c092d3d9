package safeguard

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

// Config is the file safeguard.yaml.
type Config struct {
	daemon.Config `yaml:",inline"`
	Kafka         stream.Config     `yaml:"kafka"`
	Redis         redisstate.Config `yaml:"redis"`
	GRPC          rpc.Config        `yaml:"grpc"`
	// Configuration says where the configuration service is.
	Configuration configclient.Config `yaml:"config"`
	// Peers are the other replicas, to which calls about their subscribers are forwarded.
	Peers Peers `yaml:"peers"`
	// State bounds what is held of subscribers' records.
	State fold.Limits `yaml:"state"`
}

// Peers says how other replicas are called. They are found by the addresses they advertise, and have the certificate,
// or none, that this one has.
type Peers struct {
	// CAFile is PEM: the only roots trusted for a peer's certificate; empty for the system's.
	CAFile string `yaml:"ca_file" env:"TOLLGATE_PEERS_CA_FILE"`
}

// DefaultConfig listens on loopback, with Kafka, Redis and the configuration service beside it.
func DefaultConfig() Config {
	return Config{
		Config:        daemon.DefaultConfig("127.0.0.1:7930"),
		Kafka:         stream.DefaultConfig(),
		Redis:         redisstate.DefaultConfig(),
		GRPC:          rpc.DefaultConfig("127.0.0.1:7030"),
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
	if c.Peers.CAFile != "" && c.GRPC.CertificateFile == "" {
		f.Add("peers.ca_file", "means nothing without grpc.certificate_file: peers have none either")
	}
	return f.Err("CONFIG_INVALID")
}
