package produce

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// anyBroker asks the leader of a request's first partition.
const anyBroker int32 = -1

const (
	// inFlight is how many requests one producer has on their way to a broker:
	// what is handed in meanwhile goes together.
	inFlight = 2
	// requestBytes bounds what goes together.
	requestBytes = 4 << 20
	// sharedFor is how long a broker may hold a request of several partitions
	// for the slowest one's replicas; that one is then asked for alone.
	sharedFor = 2 * time.Second
)

// partitionBatch is one partition's batch in a request, and the broker's answer.
type partitionBatch struct {
	topic     string
	partition int32
	set       []byte

	done    chan struct{}
	base    int64
	refused []int32 // indexes of records that the broker refuses by name
	err     error
}

// sender takes what the queues of one broker have ready in as few requests as
// there can be without waiting.
type sender struct {
	p      *Producer
	broker int32

	mu      sync.Mutex
	waiting []*partitionBatch
	flights int
}

// send returns once the broker has answered, or can't.
func (s *sender) send(ctx context.Context, x *partitionBatch) {
	s.mu.Lock()
	s.waiting = append(s.waiting, x)
	idle := s.flights < inFlight
	if idle {
		s.flights++
	}
	s.mu.Unlock()
	if idle {
		go s.run(ctx)
	}
	<-x.done
}

func (s *sender) run(ctx context.Context) {
	for {
		runtime.Gosched() // queues that were just woken may have something, too
		s.mu.Lock()
		n, bytes := 0, 0
		for n < len(s.waiting) && (n == 0 || bytes+len(s.waiting[n].set) <= requestBytes) {
			bytes += len(s.waiting[n].set)
			n++
		}
		if n == 0 {
			s.flights--
			s.mu.Unlock()
			return
		}
		load := s.waiting[:n:n]
		s.waiting = s.waiting[n:]
		if len(s.waiting) == 0 {
			s.waiting = nil
		}
		s.mu.Unlock()
		slices.SortFunc(load, func(a, b *partitionBatch) int { return cmp.Compare(a.topic, b.topic) })
		err := request(ctx, s.p.c, s.broker, load)
		for _, x := range load {
			if err != nil {
				x.err = err
			}
			close(x.done)
		}
	}
}
