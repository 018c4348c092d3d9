package delivery

import "sync"

// Slots bounds what one process has in flight and unrecorded, over all partitions of a channel.
type Slots struct {
	// maxInFlight is how many deliveries are sent at once; unrecordedResultsMax is how many results may wait for Kafka
	// or Redis before sending stops.
	maxInFlight, unrecordedResultsMax int

	mu         sync.Mutex
	inFlight   int
	unrecorded int
	refused    map[chan<- struct{}]struct{} // owners to wake when there is room
}

// NewSlots bounds deliveries in flight and unrecorded results; channels use 2,048 and 1,000.
func NewSlots(maxInFlight, unrecordedResultsMax int) *Slots {
	return &Slots{maxInFlight: maxInFlight, unrecordedResultsMax: unrecordedResultsMax, refused: map[chan<- struct{}]struct{}{}}
}

// take takes a slot. Where it returns false, wake receives a value once a slot may be free.
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

// give returns a slot; where counts is set, with a result that waits to be recorded.
func (s *Slots) give(counts bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	if counts {
		s.unrecorded++
	}
	s.wakeRefused()
}

// forget returns what an owner that ends still holds.
func (s *Slots) forget(inFlight, unrecorded int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight -= inFlight
	s.unrecorded -= unrecorded
	s.wakeRefused()
}

// recorded subtracts n results that were recorded or dropped.
func (s *Slots) recorded(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unrecorded -= n
	s.wakeRefused()
}

// wakeRefused wakes the owners whose take failed, once there is room.
func (s *Slots) wakeRefused() {
	if len(s.refused) == 0 || s.inFlight >= s.maxInFlight || s.unrecorded >= s.unrecordedResultsMax {
		return
	}
	for wake := range s.refused {
		select {
		case wake <- struct{}{}:
		default: // already woken
		}
	}
	clear(s.refused)
}

// full reports whether unrecorded results stop sending.
func (s *Slots) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unrecorded >= s.unrecordedResultsMax
}
