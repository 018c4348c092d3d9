package stream

import (
	"context"
	"fmt"

	"golang.org/x/sync/semaphore"
)

// memory is what batches that unpack to more than smallBatch may take at once.
type memory struct {
	max  int
	room *semaphore.Weighted
}

func newMemory(bytes int) *memory { return &memory{bytes, semaphore.NewWeighted(int64(bytes))} }

func (m *memory) give(bytes int) {
	if bytes > 0 {
		m.room.Release(int64(bytes))
	}
}

// admit waits until n bytes are free; Health says so while none are.
func (c *Client) admit(ctx context.Context, m *memory, n int, topic string, partition int32) error {
	if m.room.TryAcquire(int64(n)) {
		return nil
	}
	key := waitKey{"memory", topic, partition}
	c.health.waits(key, fmt.Errorf("all of max_unpacked_bytes, %d, is taken by large batches that are worked", m.max))
	defer c.health.done(key)
	return m.room.Acquire(ctx, int64(n))
}

// unpacker begins at an offset. Who makes it says how it gets memory.
func (c *Client) unpacker(topic string, partition int32, from int64, limit int, m *memory) *unpacker {
	u := &unpacker{topic: topic, partition: partition, limit: limit, maxBatch: c.cfg.MaxUnpackedBatch, next: from}
	u.admit = func(ctx context.Context) error { return c.admit(ctx, m, u.maxBatch, topic, partition) }
	u.release = m.give
	return u
}
