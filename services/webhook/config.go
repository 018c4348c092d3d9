package webhook

import (
	"time"

	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/secret"
)

// Config is the file webhook.yaml.
type Config struct {
	frame.Config `yaml:",inline"`
	// Secrets is what the secrets of the configuration are decrypted with.
	Secrets    secret.Config `yaml:"secrets"`
	Deliveries Deliveries    `yaml:"deliveries"`
	Outbound   Outbound      `yaml:"outbound"`
}

// Deliveries bounds requests under way and deliveries that wait.
type Deliveries struct {
	// InFlight is how many requests the process has under way at once, over all endpoints: 1 to 65,536.
	InFlight int `yaml:"in_flight" env:"TOLLGATE_WEBHOOK_IN_FLIGHT"`
	// UnrecordedResultsMax is how many results may wait for Kafka or Redis before the process stops sending: 1 to
	// 100,000. When the process dies, deliveries whose results are not recorded are sent again.
	UnrecordedResultsMax int `yaml:"unrecorded_results_max" env:"TOLLGATE_WEBHOOK_UNRECORDED_RESULTS_MAX"`
	// WaitingMax is how many references to waiting deliveries a partition has at most: 1,000 to 1,000,000. Each costs about
	// 50 bytes of Redis. An endpoint has 10,000 at most. What exceeds that waits in Kafka alone, and is read again later.
	WaitingMax int `yaml:"waiting_max" env:"TOLLGATE_WEBHOOK_WAITING_MAX"`
	// MaxAge is how far back the process searches for deliveries when Redis was lost. Retention of deliveries and
	// attempts must be at least a day longer.
	MaxAge time.Duration `yaml:"max_age" env:"TOLLGATE_WEBHOOK_MAX_AGE"`
	// AcceptLostDeliveries settles as dead, at the start, deliveries that retention removed from Kafka before they were
	// sent, and reads on behind them; likewise deliveries of a topic that was created again. Without it such a delivery
	// and those after it in its order, or such a partition, wait for an operator. Set it for one start only.
	AcceptLostDeliveries bool `yaml:"accept_lost_deliveries" env:"TOLLGATE_WEBHOOK_ACCEPT_LOST_DELIVERIES"`
}

// Outbound bounds where requests go, for all tenants.
type Outbound struct {
	outbound.Config `yaml:",inline"`
	// Clients is how many tenants (and sets of trusted certificates) keep connections open.
	Clients int `yaml:"clients" env:"TOLLGATE_OUTBOUND_CLIENTS"`
	// Connections is how many connections to receivers may be open at once, idle ones included: at least
	// deliveries.in_flight, at most 131,072. Each needs a file descriptor; of idle ones those of the tenant that sent
	// nothing for longest close first.
	Connections int `yaml:"connections" env:"TOLLGATE_OUTBOUND_CONNECTIONS"`
}

// DefaultConfig listens on loopback and expects Kafka, Redis and the configuration service on the same machine.
func DefaultConfig() Config {
	return Config{
		Config:     frame.DefaultConfig("127.0.0.1:7950", "127.0.0.1:7050"),
		Secrets:    secret.DefaultConfig(),
		Deliveries: Deliveries(service.DefaultLimits()),
		Outbound:   Outbound{Clients: 1000, Connections: 4096},
	}
}

// Validate reports every violation at once.
func (c Config) Validate() error {
	var f fault.Violations
	c.Check(&f)
	f.AddErr("secrets", c.Secrets.Validate())
	service.Limits(c.Deliveries).Check(&f,
		service.Bound{Field: "outbound.clients", Value: c.Outbound.Clients, Low: 1, High: 1_000_000},
		service.Bound{Field: "outbound.connections", Value: c.Outbound.Connections, Low: c.Deliveries.InFlight, High: 131_072})
	c.Outbound.Check(&f)
	return f.Err(reason.ConfigInvalid)
}
