package email

import (
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/secret"
)

// Config is the file email.yaml.
type Config struct {
	frame.Config `yaml:",inline"`
	// Secrets is what the secrets of the configuration are decrypted with.
	Secrets    secret.Config `yaml:"secrets"`
	Deliveries Deliveries    `yaml:"deliveries"`
	SMTP       SMTP          `yaml:"smtp"`
	// Outbound bounds where connections go, for all tenants.
	Outbound outbound.Config `yaml:"outbound"`
}

// Deliveries bounds messages under way and deliveries that wait.
type Deliveries struct {
	// InFlight is how many messages the process has under way at once, over all profiles: 1 to 65,536.
	InFlight int `yaml:"in_flight" env:"TOLLGATE_EMAIL_IN_FLIGHT"`
	// UnrecordedResultsMax is how many results may wait for Kafka or Redis before the process stops sending: 1 to
	// 100,000. When the process dies, messages whose results are not recorded are sent again.
	UnrecordedResultsMax int `yaml:"unrecorded_results_max" env:"TOLLGATE_EMAIL_UNRECORDED_RESULTS_MAX"`
	// WaitingMax is how many references to waiting deliveries a partition has at most: 1,000 to 1,000,000. Each costs about
	// 50 bytes of Redis. A profile has 10,000 at most. What exceeds that waits in Kafka alone, and is read again later.
	WaitingMax int `yaml:"waiting_max" env:"TOLLGATE_EMAIL_WAITING_MAX"`
	// MaxAge is how far back the process searches for e-mail when Redis was lost. Retention of deliveries and
	// attempts must be at least a day longer.
	MaxAge time.Duration `yaml:"max_age" env:"TOLLGATE_EMAIL_MAX_AGE"`
	// AcceptLostDeliveries settles as dead, at the start, e-mail that retention removed from Kafka before they were
	// sent, and reads on behind them; likewise deliveries of a topic that was created again. Without it such a delivery
	// and those after it in its order, or such a partition, wait for an operator. Set it for one start only.
	AcceptLostDeliveries bool `yaml:"accept_lost_deliveries" env:"TOLLGATE_EMAIL_ACCEPT_LOST_DELIVERIES"`
}

// SMTP is how mail servers are spoken to.
type SMTP struct {
	// Hello is the name that EHLO gives: the domain name of this machine as others see it. Many servers refuse a name that
	// has no address.
	Hello string `yaml:"hello" env:"TOLLGATE_SMTP_HELLO"`
	// Connections is how many connections to mail servers may be open at once, idle ones included: at least
	// deliveries.in_flight, at most 131,072. Each needs a file descriptor; of idle ones the one unused for longest closes first.
	Connections int `yaml:"connections" env:"TOLLGATE_SMTP_CONNECTIONS"`
}

// DefaultConfig listens on loopback and expects Kafka, Redis and the configuration service on the same machine.
func DefaultConfig() Config {
	return Config{
		Config:     frame.DefaultConfig("127.0.0.1:7960", "127.0.0.1:7060"),
		Secrets:    secret.DefaultConfig(),
		Deliveries: Deliveries(service.DefaultLimits()),
		SMTP:       SMTP{Hello: "localhost", Connections: 4096},
	}
}

// maxHello is the longest domain name.
const maxHello = 253

// Validate reports every violation at once.
func (c Config) Validate() error {
	var f fault.Violations
	c.Check(&f)
	f.AddErr("secrets", c.Secrets.Validate())
	service.Limits(c.Deliveries).Check(&f,
		service.Bound{Field: "smtp.connections", Value: c.SMTP.Connections, Low: c.Deliveries.InFlight, High: 131_072})
	if h := c.SMTP.Hello; h == "" || len(h) > maxHello || strings.ContainsFunc(h, func(r rune) bool { return r <= ' ' || r > '~' }) {
		f.Add("smtp.hello", "must be a domain name, or an address in brackets, of at most %d characters", maxHello)
	}
	c.Outbound.Check(&f)
	return f.Err(reason.ConfigInvalid)
}
