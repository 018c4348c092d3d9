package state

import (
	"encoding/binary"

	"github.com/tollgate/tollgate/pkg/event"
)

// Identity is an event's, a timer's or an outcome's.
type Identity = event.Identity

// A record remembers which events changed it, so that the same event at
// another offset is known again: 8 bytes each, the first 48 bits of the
// identity and 16 of the content, grouped by the hour of log time. The newest
// stand in the record; full, they are sealed into a key of their own, written
// once.
const (
	idsInRecord   = 32
	idsPerSubject = 1024
	hourMillis    = 3_600_000
	// WindowHours is how long an id is remembered, in log time.
	WindowHours = 24
)

type id uint64

func makeID(identity Identity, content uint64) id {
	return id(binary.BigEndian.Uint64(identity[:8])&^0xffff | content&0xffff)
}

// same: one event, whatever its content.
func (a id) same(b id) bool { return a>>16 == b>>16 }

type group struct {
	hour int64
	ids  []id
}

// seal says which ids stand in a key of their own.
type seal struct {
	number uint64
	newest int64 // hour of the newest id
	count  int
}

type ids struct {
	groups []group // ascending hours
	seals  []seal  // oldest first
	next   uint64  // number of the next seal
	// pushed counts ids that had to go before their time.
	pushed uint64
}

func (s *ids) count() int { return countIn(s.groups) }

func countIn(groups []group) (n int) {
	for _, g := range groups {
		n += len(g.ids)
	}
	return n
}

// sealOf describes groups that are to be sealed.
func sealOf(groups []group) seal {
	return seal{newest: groups[len(groups)-1].hour, count: countIn(groups)}
}

// find returns the remembered id of the same event.
func (s *ids) find(a id, sealed func(seal) []group) (id, bool) {
	if found, ok := findIn(s.groups, a); ok {
		return found, true
	}
	for i := len(s.seals) - 1; i >= 0; i-- {
		if found, ok := findIn(sealed(s.seals[i]), a); ok {
			return found, true
		}
	}
	return 0, false
}

func findIn(groups []group, a id) (id, bool) {
	for i := len(groups) - 1; i >= 0; i-- {
		for _, b := range groups[i].ids {
			if a.same(b) {
				return b, true
			}
		}
	}
	return 0, false
}

// add remembers an id. Where the record is full, it returns the groups to be
// sealed under the number of the newest seal.
func (s *ids) add(a id, hour int64) (sealed []group) {
	if s.count() >= idsInRecord {
		sealed = s.groups
		x := sealOf(sealed)
		x.number = s.next
		s.seals = append(s.seals, x)
		s.next++
		s.groups = nil
	}
	if n := len(s.groups); n > 0 && s.groups[n-1].hour >= hour {
		s.groups[n-1].ids = append(s.groups[n-1].ids, a)
	} else {
		s.groups = append(s.groups, group{hour, []id{a}})
	}
	return sealed
}

// expire forgets ids older than the window, and the oldest seals where there
// are too many, and returns the numbers of the seals that go.
func (s *ids) expire(hour int64) (gone []uint64) {
	for len(s.groups) > 0 && s.groups[0].hour < hour-WindowHours {
		s.groups = s.groups[1:]
	}
	total := s.count()
	for _, x := range s.seals {
		total += x.count
	}
	for len(s.seals) > 0 {
		old := s.seals[0].newest < hour-WindowHours
		if !old && total <= idsPerSubject {
			break
		}
		if !old {
			s.pushed += uint64(s.seals[0].count)
		}
		total -= s.seals[0].count
		gone = append(gone, s.seals[0].number)
		s.seals = s.seals[1:]
	}
	return gone
}

func (s *ids) append(b []byte) []byte {
	b = binary.AppendUvarint(b, s.next)
	b = binary.AppendUvarint(b, s.pushed)
	b = binary.AppendUvarint(b, uint64(len(s.seals)))
	for _, x := range s.seals {
		b = binary.AppendUvarint(b, x.number)
		b = binary.AppendUvarint(b, uint64(x.newest))
		b = binary.AppendUvarint(b, uint64(x.count))
	}
	return appendGroups(b, s.groups)
}

func (s *ids) decode(r *reader) {
	s.next = r.uvarint()
	s.pushed = r.uvarint()
	for range min(r.uvarint(), idsPerSubject) {
		s.seals = append(s.seals, seal{r.uvarint(), int64(r.uvarint()), int(r.uvarint())})
	}
	s.groups = decodeGroups(r)
}

func appendGroups(b []byte, groups []group) []byte {
	b = binary.AppendUvarint(b, uint64(len(groups)))
	for _, g := range groups {
		b = binary.AppendUvarint(b, uint64(g.hour))
		b = binary.AppendUvarint(b, uint64(len(g.ids)))
		for _, a := range g.ids {
			b = binary.BigEndian.AppendUint64(b, uint64(a))
		}
	}
	return b
}

func decodeGroups(r *reader) []group {
	n := r.uvarint()
	if n == 0 || n > uint64(len(r.b)) {
		r.bad = r.bad || n > 0
		return nil
	}
	groups := make([]group, 0, n)
	for range n {
		g := group{hour: int64(r.uvarint())}
		k := r.uvarint()
		raw := r.bytes(int(min(k, idsInRecord)) * 8)
		if k > idsInRecord || r.bad {
			r.bad = true
			return nil
		}
		g.ids = make([]id, k, k+1)
		for i := range g.ids {
			g.ids[i] = id(binary.BigEndian.Uint64(raw[8*i:]))
		}
		groups = append(groups, g)
	}
	return groups
}
