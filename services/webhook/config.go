package webhook

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Config is the file webhook.yaml.
type Config struct {
	frame.Config `yaml:",inline"`
	Deliveries   Deliveries `yaml:"deliveries"`
	Outbound     Outbound   `yaml:"outbound"`
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
	// Denied are networks in CIDR notation that no tenant's endpoint may lie in, whatever its own policy allows.
	Denied []string `yaml:"denied" env:"TOLLGATE_OUTBOUND_DENIED"`
	// Clients is how many tenants (and sets of trusted certificates) keep connections open.
	Clients int `yaml:"clients" env:"TOLLGATE_OUTBOUND_CLIENTS"`
	// Connections is how many connections to receivers may be open at once, idle ones included: at least
	// deliveries.in_flight, at most 131,072. Each needs a file descriptor; of idle ones those of the tenant that sent
	// nothing for longest close first.
	Connections int `yaml:"connections" env:"TOLLGATE_OUTBOUND_CONNECTIONS"`
	// Proxy is the HTTP proxy through which every request goes, http://host:port or https://host:port; empty: none. It gets
	// CONNECT with addresses that were resolved and checked here.
	Proxy string `yaml:"proxy" env:"TOLLGATE_OUTBOUND_PROXY"`
	// ProxyCredentialsFile holds user:password for the proxy; empty: none.
	ProxyCredentialsFile string `yaml:"proxy_credentials_file" env:"TOLLGATE_OUTBOUND_PROXY_CREDENTIALS_FILE"`
}

// DefaultConfig listens on loopback and expects Kafka, Redis and the configuration service on the same machine.
func DefaultConfig() Config {
	return Config{
		Config:     frame.DefaultConfig("127.0.0.1:7950", "127.0.0.1:7050"),
		Deliveries: Deliveries{InFlight: 2048, UnrecordedResultsMax: 1000, WaitingMax: 100_000, MaxAge: 6 * 24 * time.Hour},
		Outbound:   Outbound{Clients: 1000, Connections: 4096},
	}
}

// Validate reports every violation at once.
func (c Config) Validate() error {
	var f fault.Violations
	c.Check(&f)
	for _, n := range []struct {
		field            string
		value, low, high int
	}{
		{"deliveries.in_flight", c.Deliveries.InFlight, 1, 65_536},
		{"deliveries.unrecorded_results_max", c.Deliveries.UnrecordedResultsMax, 1, 100_000},
		{"deliveries.waiting_max", c.Deliveries.WaitingMax, 1000, 1_000_000},
		{"outbound.clients", c.Outbound.Clients, 1, 1_000_000},
		{"outbound.connections", c.Outbound.Connections, c.Deliveries.InFlight, 131_072},
	} {
		if n.value < n.low || n.value > n.high {
			f.Add(n.field, "must be from %d to %d, not %d", n.low, n.high, n.value)
		}
	}
	// A delivery is tried for 28 hours: the search must reach further back.
	if c.Deliveries.MaxAge < 36*time.Hour {
		f.Add("deliveries.max_age", "must be at least 36h, not %s", c.Deliveries.MaxAge)
	}
	if _, err := c.Outbound.denied(); err != nil {
		f.AddErr("outbound.denied", err)
	}
	if c.Outbound.Proxy != "" {
		if _, err := outbound.NewProxy(c.Outbound.Proxy, ""); err != nil {
			f.AddErr("outbound.proxy", err)
		}
	} else if c.Outbound.ProxyCredentialsFile != "" {
		f.Add("outbound.proxy_credentials_file", "is for outbound.proxy, which is empty")
	}
	return f.Err(reason.ConfigInvalid)
}

// proxy reads the proxy; nil where there is none.
func (o Outbound) proxy() (*outbound.Proxy, error) {
	if o.Proxy == "" {
		return nil, nil //nolint:nilnil // no proxy is what most installations have
	}
	var credentials []byte
	if o.ProxyCredentialsFile != "" {
		var err error
		if credentials, err = os.ReadFile(o.ProxyCredentialsFile); err != nil {
			return nil, fmt.Errorf("read the credentials of the outbound proxy: %w", err)
		}
	}
	return outbound.NewProxy(o.Proxy, string(credentials))
}

// denied reads the networks.
func (o Outbound) denied() ([]netip.Prefix, error) {
	var faults []error
	var out []netip.Prefix
	for _, text := range o.Denied {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		out = append(out, network.Masked())
	}
	return out, errors.Join(faults...)
}
