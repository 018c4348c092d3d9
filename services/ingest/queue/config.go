package queue

import "github.com/tollgate/tollgate/pkg/fault"

// Config bounds the event queue of a process.
type Config struct {
	// MaxStreams is how many streams the process serves at once; the next is refused with RESOURCE_EXHAUSTED. Each holds
	// 512 KiB of grpc.max_held_bytes, and up to 16 MiB more of it where there is room.
	MaxStreams int `yaml:"max_streams" env:"TOLLGATE_QUEUE_MAX_STREAMS"`
	// CacheBytes bounds the records that are kept for streams which are not at the same place. Streams that are further
	// behind read from Kafka, each for itself.
	CacheBytes int64 `yaml:"cache_bytes" env:"TOLLGATE_QUEUE_CACHE_BYTES"`
}

// DefaultConfig serves 200 streams.
func DefaultConfig() Config { return Config{MaxStreams: 200, CacheBytes: 64 << 20} }

// Validate adds what is wrong.
func (c Config) Validate(f *fault.Violations) {
	if c.MaxStreams < 1 || c.MaxStreams > 2000 {
		f.Add("queue.max_streams", "must be between 1 and 2000, not %d", c.MaxStreams)
	}
	if c.CacheBytes < 1<<20 {
		f.Add("queue.cache_bytes", "must be at least 1048576, not %d", c.CacheBytes)
	}
}
