package delivery

import "sync"

// Slots bound what a process has on its way, over all partitions of a channel.
type Slots struct {
	// MaxInFlight is how many deliveries are sent at once; MaxUnrecorded how
	// many results may wait for Kafka or Redis before nothing new is sent.
	maxInFlight, unrecordedResultsMax int

	mu         sync.Mutex
	inFlight   int
	unrecorded int
	refused    map[chan<- struct{}]struct{} // those to wake when there is room
}

// NewSlots are as many as given; by the guarantees of a channel 2,048 and 1,000.
func NewSlots(maxInFlight, unrecordedResultsMax int) *Slots {
	return &Slots{maxInFlight: maxInFlight, unrecordedResultsMax: unrecordedResultsMax, refused: map[chan<- struct{}]struct{}{}}
}

// take takes a slot; refused, room is told on wake once there may be one.
func (s *Slots) take(wake chan<- struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inFlight >= s.maxInFlight || s.unrecorded >= s.unrecordedResultsMax {
		s.refused[wake] = struct{}{}
		return false
	}
	s.inFlight++
	return true
}

// give gives a slot back; with a result that waits to be recorded when counts is set.
func (s *Slots) give(counts bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	if counts {
		s.unrecorded++
	}
	s.tell()
}

// forget gives back what an owner that ends still had.
func (s *Slots) forget(inFlight, unrecorded int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight -= inFlight
	s.unrecorded -= unrecorded
	s.tell()
}

// recorded tells that n results were recorded, or given up.
func (s *Slots) recorded(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unrecorded -= n
	s.tell()
}

func (s *Slots) tell() {
	if len(s.refused) == 0 || s.inFlight >= s.maxInFlight || s.unrecorded >= s.unrecordedResultsMax {
		return
	}
	for wake := range s.refused {
		select {
		case wake <- struct{}{}:
		default: // told already
		}
	}
	clear(s.refused)
}

// full tells whether results that wait to be recorded hold everything back.
func (s *Slots) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unrecorded >= s.unrecordedResultsMax
}
