package stream

import (
	"testing"
	"time"
)

// Requests that went apart come together again: the main one asks, too, for what another has asked for in vain for a
// while; and for nothing that has enough or failed.
func TestTheMainRequestAsksForWhatWaitsAtItsEnd(t *testing.T) {
	now := time.Now()
	p := &poller{}
	add := func(s subscription) { s.p, s.partition = p, int32(len(p.subs)); p.subs = append(p.subs, &s) }
	add(subscription{})
	add(subscription{flights: 1, sent: now.Add(-endAfter)})
	add(subscription{flights: 1, sent: now.Add(-endAfter / 2)})
	add(subscription{bytes: readAhead})
	add(subscription{inHand: readAhead})
	add(subscription{idle: true})
	add(subscription{err: errNotNamed})
	_, parts := p.gather(func(s *subscription) bool { return s.flights == 0 || s.atEnd(now) }, now)
	if len(parts) != 2 || parts[0].partition != 0 || parts[1].partition != 1 {
		t.Errorf("asked for %+v", parts)
	}
}

// Of two requests for one partition the first answer counts.
func TestAnAnswerThatIsLateIsDropped(t *testing.T) {
	s := &subscription{from: 10, o: FetchOptions{MaxWait: time.Second}, ready: make(chan struct{}, 1)}
	p := &poller{subs: []*subscription{s}}
	s.p, s.flights = p, 2
	part := fetchPart{from: 10, end: 12, recordSet: recordSet{all: stamped(t, 10, someRecords[:2], 0)}}
	for range 2 {
		p.take([]*subscription{s}, []fetchPart{part}, nil)
	}
	parts, err := s.next(t.Context())
	if err != nil || len(parts) != 1 || s.from != 12 || s.flights != 0 {
		t.Errorf("took %+v, %v", parts, err)
	}
	p.end = func() {}
	s.close()
}
