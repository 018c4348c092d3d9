package safeguard

import (
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Config is the file safeguard.yaml.
type Config struct {
	frame.Config `yaml:",inline"`
	// Peers are the other replicas, to which requests about their subscribers are forwarded.
	Peers Peers `yaml:"peers"`
	// State bounds what is held of subscribers' records.
	State fold.Limits `yaml:"state"`
}

// Peers is how other replicas are asked. They are found by the addresses they advertise, and have the certificate,
// or none, that this one has.
type Peers struct {
	// CAFile is PEM: the only roots trusted for a peer's certificate; empty for the system's.
	CAFile string `yaml:"ca_file" env:"TOLLGATE_PEERS_CA_FILE"`
}

// DefaultConfig listens on loopback, with Kafka, Redis and the configuration service beside it.
func DefaultConfig() Config {
	return Config{
		Config: frame.DefaultConfig("127.0.0.1:7930", "127.0.0.1:7030"),
		State:  fold.DefaultLimits(),
	}
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var f fault.Violations
	c.Check(&f)
	f.AddErr("", c.State.Validate())
	if c.Peers.CAFile != "" && c.GRPC.CertificateFile == "" {
		f.Add("peers.ca_file", "means nothing without grpc.certificate_file: peers have none either")
	}
	return f.Err(reason.ConfigInvalid)
}
