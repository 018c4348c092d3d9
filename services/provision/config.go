package provision

import (
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/services/provision/script"
)

// Config is the file provision.yaml.
type Config struct {
	frame.Config `yaml:",inline"`
	// Secrets is what the secrets of the configuration are decrypted with.
	Secrets secret.Config `yaml:"secrets"`
	// Scripts are what hooks of kind script may use.
	Scripts script.Config `yaml:"scripts"`
	// Outbound bounds where questions go, for all tenants.
	Outbound Outbound `yaml:"outbound"`
}

// Outbound bounds where questions go, for all tenants.
type Outbound struct {
	outbound.Config `yaml:",inline"`
	// Clients is how many tenants (and sets of trusted certificates) keep connections open.
	Clients int `yaml:"clients" env:"TOLLGATE_OUTBOUND_CLIENTS"`
	// Connections is how many connections to handlers may be open at once, idle ones included: 1 to 131,072. Each needs a
	// file descriptor; of idle ones those of the tenant that sent nothing for longest close first.
	Connections int `yaml:"connections" env:"TOLLGATE_OUTBOUND_CONNECTIONS"`
}

// DefaultConfig listens on loopback and expects Kafka, Redis and the configuration service on the same machine.
func DefaultConfig() Config {
	return Config{
		Config:   frame.DefaultConfig("127.0.0.1:7970", "127.0.0.1:7070"),
		Secrets:  secret.DefaultConfig(),
		Scripts:  script.DefaultConfig(),
		Outbound: Outbound{Clients: 1000, Connections: 4096},
	}
}

// Validate reports every violation at once.
func (c Config) Validate() error {
	var f fault.Violations
	c.Check(&f)
	f.AddErr("secrets", c.Secrets.Validate())
	f.AddErr("scripts", c.Scripts.Validate())
	if c.Outbound.Clients < 1 || c.Outbound.Clients > 1_000_000 {
		f.Add("outbound.clients", "must be from 1 to 1000000, not %d", c.Outbound.Clients)
	}
	if c.Outbound.Connections < 1 || c.Outbound.Connections > 131_072 {
		f.Add("outbound.connections", "must be from 1 to 131072, not %d", c.Outbound.Connections)
	}
	c.Outbound.Check(&f)
	return f.Err(reason.ConfigInvalid)
}
