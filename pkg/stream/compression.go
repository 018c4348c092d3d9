package stream

import (
	"errors"
	"fmt"
	"strings"

	"github.com/segmentio/kafka-go"
)

// Compression names the codecs of what is written: none, gzip, snappy, lz4, zstd.
type Compression struct {
	// Public is of topics that others read: events.*, safeguards, deliveries.attempts, deliveries.dead, and those that
	// notifications name. Some clients know none and gzip only, and fail on others. Default gzip.
	Public string `yaml:"public" env:"TOLLGATE_KAFKA_COMPRESSION_PUBLIC"`
	// Internal is of the topics that only Tollgate reads. Default lz4.
	Internal string `yaml:"internal" env:"TOLLGATE_KAFKA_COMPRESSION_INTERNAL"`
}

var codecs = map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}

func (c Compression) withDefaults() Compression {
	if c.Public == "" {
		c.Public = "gzip"
	}
	if c.Internal == "" {
		c.Internal = "lz4"
	}
	return c
}

func (c Compression) validate() error {
	check := func(name, codec string) error {
		if _, ok := codecs[codec]; codec == "" || ok {
			return nil
		}
		return fmt.Errorf("compression.%s: %q must be none, gzip, snappy, lz4 or zstd", name, codec)
	}
	return errors.Join(check("public", c.Public), check("internal", c.Internal))
}

// internal are the topics that only Tollgate reads, beside those of planned deliveries.
var internal = map[string]bool{
	StateSnapshots: true, TriggersDecisions: true, ProvisionExecutions: true, Audit: true,
}

// codecOf is what batches of a topic (full name) are compressed by.
func (c Config) codecOf(topic string) kafka.Compression {
	if name := strings.TrimPrefix(topic, c.Prefix+"."); internal[name] || isPlanned(name) {
		return codecs[c.Compression.Internal]
	}
	return codecs[c.Compression.Public]
}
