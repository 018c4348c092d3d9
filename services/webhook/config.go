package webhook

import (
	"errors"
	"net/netip"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/fault"
)

// Config is the file webhook.yaml.
type Config struct {
	frame.Config `yaml:",inline"`
	Deliveries   Deliveries `yaml:"deliveries"`
	Outbound     Outbound   `yaml:"outbound"`
}

// Deliveries bound what is under way and what waits.
type Deliveries struct {
	// InFlight is how many requests the process has under way at once, over all endpoints: 1 to 65,536.
	InFlight int `yaml:"in_flight" env:"TOLLGATE_WEBHOOK_IN_FLIGHT"`
	// Unrecorded is how many results may wait for Kafka or Redis before nothing more is sent. What is unrecorded when
	// the process dies is sent again.
	Unrecorded int `yaml:"unrecorded" env:"TOLLGATE_WEBHOOK_UNRECORDED"`
	// References is how many deliveries of a partition may wait; then it reads no further. Each costs some 39 bytes of
	// Redis and 200 of memory.
	References int `yaml:"references" env:"TOLLGATE_WEBHOOK_REFERENCES"`
	// MaxAge is how far back deliveries are searched for when Redis was lost. Retention of deliveries and attempts must
	// be at least a day longer.
	MaxAge time.Duration `yaml:"max_age" env:"TOLLGATE_WEBHOOK_MAX_AGE"`
	// AcceptGone settles as dead, at the start, what retention has removed from Kafka before it was delivered, and reads
	// on behind it; likewise what waited in a topic that was made anew. Without it such a delivery, with what follows it in
	// order, or such a partition, waits for a person. Set it for one start, not for good.
	AcceptGone bool `yaml:"accept_gone" env:"TOLLGATE_WEBHOOK_ACCEPT_GONE"`
}

// Outbound bounds where requests go, for all tenants.
type Outbound struct {
	// Denied are networks in CIDR notation that no tenant's endpoint may lie in, whatever its own policy allows.
	Denied []string `yaml:"denied" env:"TOLLGATE_OUTBOUND_DENIED"`
	// Clients is how many tenants (and sets of trusted certificates) keep connections open.
	Clients int `yaml:"clients" env:"TOLLGATE_OUTBOUND_CLIENTS"`
}

// DefaultConfig listens on loopback, with Kafka, Redis and the configuration service beside it.
func DefaultConfig() Config {
	return Config{
		Config:     frame.DefaultConfig("127.0.0.1:7950", "127.0.0.1:7050"),
		Deliveries: Deliveries{InFlight: 2048, Unrecorded: 1000, References: 100_000, MaxAge: 6 * 24 * time.Hour},
		Outbound:   Outbound{Clients: 1000},
	}
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var f fault.Faults
	c.Check(&f)
	for _, n := range []struct {
		field            string
		value, low, high int
	}{
		{"deliveries.in_flight", c.Deliveries.InFlight, 1, 65_536},
		{"deliveries.unrecorded", c.Deliveries.Unrecorded, 1, 100_000},
		{"deliveries.references", c.Deliveries.References, 1000, 10_000_000},
		{"outbound.clients", c.Outbound.Clients, 1, 1_000_000},
	} {
		if n.value < n.low || n.value > n.high {
			f.Add(n.field, "must be from %d to %d, not %d", n.low, n.high, n.value)
		}
	}
	// A delivery is tried for 28 hours: what is searched for must reach further back.
	if c.Deliveries.MaxAge < 36*time.Hour {
		f.Add("deliveries.max_age", "must be at least 36h, not %s", c.Deliveries.MaxAge)
	}
	if _, err := c.Outbound.denied(); err != nil {
		f.AddErr("outbound.denied", err)
	}
	return f.Err("CONFIG_INVALID")
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
