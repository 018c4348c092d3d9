// Package slots shares what one process may have in flight between the partitions of a channel: free slots go round tenants,
// then endpoints, whichever partition they lie in.
package slots

import (
	"slices"
	"sync"
)

// Slots bounds what one process has in flight and unrecorded, over all partitions of a channel.
type Slots struct {
	// max is how many deliveries are sent at once; unrecordedMax is how many results may wait for Kafka or Redis before
	// sending stops.
	max, unrecordedMax int

	mu         sync.Mutex
	inFlight   int
	unrecorded int
	// turns are the tenants with an endpoint that waits for a slot.
	turns []*tenant
}

type tenant struct {
	name      string
	endpoints []*Share
}

// Owner is one partition's part in the slots.
type Owner struct {
	// wake receives a value once an endpoint of the owner was granted a slot.
	wake    chan<- struct{}
	held    int
	granted []*Share
}

// NewOwner is for one partition.
func NewOwner(wake chan<- struct{}) *Owner { return &Owner{wake: wake} }

// Share is one endpoint's part in the slots.
type Share struct {
	Owner *Owner
	// Endpoint is the owner's name for it.
	Endpoint uint64
	// Tenant shares its turn among its endpoints.
	Tenant string
	held   int
	waits  bool
}

// New bounds deliveries in flight and unrecorded results.
func New(maxInFlight, unrecordedResultsMax int) *Slots {
	return &Slots{max: maxInFlight, unrecordedMax: unrecordedResultsMax}
}

// Max is how many deliveries are sent at once.
func (s *Slots) Max() int { return s.max }

// InFlight is how many are sent now.
func (s *Slots) InFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight
}

// Take takes a slot for an endpoint. Where it returns false, the endpoint waits for its turn: it is among Granted once
// it has a slot.
func (s *Slots) Take(h *Share) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Whoever waits does not fit, or would have been granted a slot.
	if s.fits(h) {
		s.grant(h)
		return true
	}
	if !h.waits {
		h.waits = true
		s.wait(h)
	}
	return false
}

// fits: an endpoint with a sixteenth of all slots gets no more, unless as many are free as it has: so a few endpoints
// never take all, and those of one partition leave some to another.
func (s *Slots) fits(h *Share) bool {
	free := s.max - s.inFlight
	return free > 0 && s.unrecorded < s.unrecordedMax && (h.held < max(1, s.max/16) || h.held < free)
}

func (s *Slots) grant(h *Share) {
	s.inFlight++
	h.held++
	h.Owner.held++
}

func (s *Slots) wait(h *Share) {
	for _, t := range s.turns {
		if t.name == h.Tenant {
			t.endpoints = append(t.endpoints, h)
			return
		}
	}
	s.turns = append(s.turns, &tenant{name: h.Tenant, endpoints: []*Share{h}})
}

// Granted returns the endpoints of an owner that have a slot now.
func (s *Slots) Granted(o *Owner) []*Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	granted := o.granted
	o.granted = nil
	return granted
}

// Give returns a slot; where counts is set, with a result that waits to be recorded.
func (s *Slots) Give(h *Share, counts bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	h.held--
	h.Owner.held--
	if counts {
		s.unrecorded++
	}
	s.share()
}

// Recorded subtracts n results that were recorded or dropped.
func (s *Slots) Recorded(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unrecorded -= n
	s.share()
}

// Forget returns what an owner that ends still holds.
func (s *Slots) Forget(o *Owner, unrecorded int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight -= o.held
	s.unrecorded -= unrecorded
	for _, t := range s.turns {
		t.endpoints = slices.DeleteFunc(t.endpoints, func(h *Share) bool { return h.Owner == o })
	}
	s.turns = slices.DeleteFunc(s.turns, func(t *tenant) bool { return len(t.endpoints) == 0 })
	s.share()
}

// share gives free slots to those that wait: tenants take turns, then the endpoints of the tenant.
func (s *Slots) share() {
	for passed := 0; passed < len(s.turns) && s.inFlight < s.max; {
		t := s.turns[0]
		i := slices.IndexFunc(t.endpoints, s.fits)
		if i < 0 {
			s.turns = append(s.turns[1:], t)
			passed++
			continue
		}
		h := t.endpoints[i]
		t.endpoints = slices.Delete(t.endpoints, i, i+1)
		s.turns = s.turns[1:]
		if len(t.endpoints) > 0 {
			s.turns = append(s.turns, t)
		}
		h.waits = false
		s.grant(h)
		h.Owner.granted = append(h.Owner.granted, h)
		select {
		case h.Owner.wake <- struct{}{}:
		default: // already woken
		}
		passed = 0
	}
}

// Full reports whether unrecorded results stop sending.
func (s *Slots) Full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unrecorded >= s.unrecordedMax
}
