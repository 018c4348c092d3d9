package loop

import (
	"bytes"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery/internal/scan"
	"github.com/tollgate/tollgate/pkg/state"
)

// keepFor is how long a process keeps what it knows of a partition that it gave back.
const keepFor = 5 * time.Minute

// kept is what a process knows of partitions that it gave back, for the case that a rebalance returns them: the window, which
// costs an opening the reading of 65,536 deliveries. References, records and attempts are read from the store and the log
// as ever.
type kept struct {
	mu         sync.Mutex
	partitions map[int32]keptPartition
}

type keptPartition struct {
	mark  state.Watermark
	seen  *scan.Window
	until time.Time
}

// put keeps the window of a partition whose position is that of the watermark.
func (k *kept) put(partition int32, mark state.Watermark, seen *scan.Window) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.partitions == nil {
		k.partitions = map[int32]keptPartition{}
	}
	k.partitions[partition] = keptPartition{mark, seen, time.Now().Add(keepFor)}
}

// take returns the window of a partition where nobody else wrote its watermark, or opened it, since it was kept; nil
// otherwise. It is kept no more.
func (k *kept) take(partition int32, mark state.Watermark) *scan.Window {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.partitions[partition]
	delete(k.partitions, partition)
	if !ok || mark.Before != p.mark.Token {
		return nil
	}
	mark.Token, mark.Address = p.mark.Token, p.mark.Address
	if !bytes.Equal(mark.Encode(), p.mark.Encode()) {
		return nil
	}
	return p.seen
}

// prune forgets what was kept for long.
func (k *kept) prune() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for number, p := range k.partitions {
		if time.Now().After(p.until) {
			delete(k.partitions, number)
		}
	}
}
