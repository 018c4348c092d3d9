package consume

import (
	"context"
	"fmt"

	"golang.org/x/sync/semaphore"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// memory is what batches that unpack to more than codec.SmallBatch may take at once.
type memory struct {
	max  int
	room *semaphore.Weighted
}

const (
	// pieceBytes is what a batch that a reader hands to its worker may take of
	// memory, beside its last record.
	pieceBytes = 2 << 20
	// directBytes is the same of a fetch outside any reader.
	directBytes = 8 << 20
)

func newMemory(bytes int) *memory { return &memory{bytes, semaphore.NewWeighted(int64(bytes))} }

func (m *memory) give(bytes int) {
	if bytes > 0 {
		m.room.Release(int64(bytes))
	}
}

// admit waits until n bytes are free; Health reports it while none are.
func (c *Consumer) admit(ctx context.Context, m *memory, n int, topic string, partition int32) error {
	if m.room.TryAcquire(int64(n)) {
		return nil
	}
	key := cluster.WaitKey{For: "memory", Topic: topic, Partition: partition}
	c.Waits(key, fmt.Errorf("all of max_unpacked_bytes, %d, is taken by large batches that are worked", m.max))
	defer c.Done(key)
	return m.room.Acquire(ctx, int64(n))
}

// unpacker begins at an offset. Its maker decides how it gets memory.
func (c *Consumer) unpacker(topic string, partition int32, from int64, limit int, m *memory) *codec.Unpacker {
	u := &codec.Unpacker{Topic: topic, Partition: partition, Limit: limit, MaxBatch: c.bounds.Batch, Next: from}
	u.Admit = func(ctx context.Context) error { return c.admit(ctx, m, u.MaxBatch, topic, partition) }
	u.Release = m.give
	return u
}
