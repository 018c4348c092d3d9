package consume

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// Requests that went apart come together again: the main one asks, too, for what another has asked for in vain for a
// while; and for nothing that has enough or failed.
func TestPoller_MainRequestTakesInWhatWaitsAtItsEnd(t *testing.T) {
	now := time.Now()
	p := &poller{}
	add := func(s subscription) { s.p, s.partition = p, int32(len(p.subs)); p.subs = append(p.subs, &s) }
	add(subscription{})
	add(subscription{flights: 1, sent: now.Add(-endAfter)})
	add(subscription{flights: 1, sent: now.Add(-endAfter / 2)})
	add(subscription{bytes: readAhead})
	add(subscription{inHand: readAhead})
	add(subscription{idle: true})
	add(subscription{err: codec.ErrNotNamed})
	_, parts := p.gather(func(s *subscription) bool { return s.flights == 0 || s.atEnd(now) }, now)
	if len(parts) != 2 || parts[0].partition != 0 || parts[1].partition != 1 {
		t.Errorf("asked for %+v", parts)
	}
}

// Of two requests for one partition the first answer counts.
func TestPoller_DropsTheLaterOfTwoAnswers(t *testing.T) {
	s := &subscription{from: 10, o: FetchOptions{MaxWait: time.Second}, ready: make(chan struct{}, 1)}
	p := &poller{subs: []*subscription{s}}
	s.p, s.flights = p, 2
	recs := make([]codec.Record, 2)
	set, err := codec.AppendBatch(nil, len(recs), func(i int) *codec.Record { return &recs[i] }, 0)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint64(set, 10) // the base offset, as the broker does
	part := fetchPart{from: 10, end: 12, Set: codec.Set{All: set}}
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
