package config

import (
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Config is the service's configuration file.
type Config struct {
	daemon.Config `yaml:",inline"`
	GRPC          rpc.Config `yaml:"grpc"`
	Database      Database   `yaml:"database"`
	// Kafka is asked whether a topic exists when a notification is saved that publishes to it, and for nothing else.
	Kafka stream.Config `yaml:"kafka"`
}

// Database is where revisions are kept.
type Database struct {
	// Path of the SQLite file; it and its folder are made, for this user alone, where they are missing. Beside it lie
	// -wal and -shm. It holds the secrets of endpoints in clear.
	Path string `yaml:"path" env:"TOLLGATE_CONFIG_DATABASE"`
}

// DefaultConfig listens on loopback and keeps its file in the working directory.
func DefaultConfig() Config {
	return Config{
		Config:   daemon.DefaultConfig("127.0.0.1:7910"),
		GRPC:     rpc.DefaultConfig("127.0.0.1:7010"),
		Database: Database{Path: "tollgate-data/config.db"},
		Kafka:    stream.DefaultConfig(),
	}
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var f fault.Violations
	f.AddErr("grpc", c.GRPC.Validate())
	f.AddErr("kafka", c.Kafka.Validate())
	if c.Database.Path == "" {
		f.Add("database.path", "is required")
	}
	return f.Err(reason.ConfigInvalid)
}
