package trigger

import (
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Config is the file trigger.yaml.
type Config struct {
	frame.Config `yaml:",inline"`
	// State bounds each of the engines that keep records.
	State fold.Limits `yaml:"state"`
}

// DefaultConfig listens on loopback, with Kafka, Redis and the configuration service beside it.
func DefaultConfig() Config {
	return Config{
		Config: frame.DefaultConfig("127.0.0.1:7940", "127.0.0.1:7040"),
		State:  fold.DefaultLimits(),
	}
}

// Validate reports every violation at once.
func (c Config) Validate() error {
	var f fault.Violations
	c.Check(&f)
	f.AddErr("", c.State.Validate())
	return f.Err(reason.ConfigInvalid)
}
