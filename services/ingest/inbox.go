package ingest

import (
	"context"
	"errors"
	"sync"
)

// What one stream may have received and not yet published before its sender is held back; a message more may lie there.
const (
	inboxEvents = 4096
	inboxBytes  = 8 << 20
)

// errStopping ends a stream because the process stops.
var errStopping = errors.New("the process stops")

// inbox is between the goroutine that receives a stream and the one that publishes it: everything put since the last
// take comes with the next.
type inbox struct {
	mu    sync.Mutex
	items [][]byte
	spare [][]byte
	bytes int
	// weight is what the items are held as.
	weight int64
	ended  error
	// filled and taken each hold a signal when there is something new for the other side.
	filled, taken chan struct{}
}

func newInbox() *inbox {
	return &inbox{filled: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put waits for room; false when ctx ended before. Events are received by one goroutine.
func (in *inbox) put(ctx context.Context, events [][]byte, weight int64) bool {
	size := sizeOf(events)
	for {
		in.mu.Lock()
		if room := len(in.items) < inboxEvents && in.bytes < inboxBytes; room {
			in.items = append(in.items, events...)
			in.bytes += size
			in.weight += weight
			in.mu.Unlock()
			signal(in.filled)
			return true
		}
		in.mu.Unlock()
		select {
		case <-in.taken:
		case <-ctx.Done():
			return false
		}
	}
}

// end closes the inbox: nothing more comes, for the reason err.
func (in *inbox) end(err error) {
	in.mu.Lock()
	in.ended = err
	in.mu.Unlock()
	signal(in.filled)
}

// take waits until there is something and returns all of it; the slice is valid until the next take. The error means
// that nothing follows: what ended the stream, or errStopping.
func (in *inbox) take(ctx context.Context, stopping <-chan struct{}) (items [][]byte, weight int64, err error) {
	for {
		in.mu.Lock()
		items, weight, ended := in.items, in.weight, in.ended
		clear(in.spare)
		in.items, in.spare, in.bytes, in.weight = in.spare[:0], items, 0, 0
		in.mu.Unlock()
		signal(in.taken)
		if ended == nil && isClosed(stopping) {
			ended = errStopping
		}
		if len(items) > 0 || ended != nil {
			return items, weight, ended
		}
		select {
		case <-in.filled:
		case <-stopping:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
