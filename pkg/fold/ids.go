package fold

import (
	"encoding/binary"
	"slices"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/wire"
)

// Identity is an event's, a timer's or an outcome's.
type Identity = event.Identity

// A record remembers which events changed it, so that the same event at
// another offset is known again: 8 bytes each, the first 48 bits of the
// identity and 16 of the content, grouped by the hour of log time. The newest
// stand in the record; full, they are sealed into a key of their own, written
// once. What is sealed is encoded, and looked through as it lies.
const (
	idsInRecord   = 32
	idsPerSubject = 1024
	hourMillis    = 3_600_000
	// WindowHours is how long an id is remembered, in log time, where no Options.DedupWindow is set.
	WindowHours = 24
)

type id uint64

func makeID(identity Identity, content uint64) id {
	return id(binary.BigEndian.Uint64(identity[:8])&^0xffff | content&0xffff)
}

// same: one event, whatever its content.
func (a id) same(b id) bool { return a>>16 == b>>16 }

// sentOn is what a key remembers of an event that was forwarded from it: another
// id, so that the event itself is none that was counted here.
func (a id) sentOn() id { return a ^ 1<<63 }

// seal says which ids stand in a key of their own.
type seal struct {
	number uint64
	newest int64 // hour of the newest id
	count  int
	filter filter
}

// filter tells of most ids that they are not in a seal, so that it need not be
// read: of 32 ids each sets five of 256 bits, and one id in fifty that is not
// among them finds its five set.
type filter [32]byte

func (f *filter) add(a id) {
	for shift := 16; shift < 56; shift += 8 {
		bit := byte(a >> shift)
		f[bit>>3] |= 1 << (bit & 7)
	}
}

// mayBeIn says whether an id may be in the seal; raw is its filter as it lies.
func (a id) mayBeIn(raw []byte) bool {
	for shift := 16; shift < 56; shift += 8 {
		bit := byte(a >> shift)
		if raw[bit>>3]&(1<<(bit&7)) == 0 {
			return false
		}
	}
	return true
}

// ids are what a record remembers: those in it, oldest first, each with the
// hour of its group, and where the others stand. No pointers to the former: a
// record is decoded for each batch that needs it.
type ids struct {
	list  [idsInRecord]id
	hours [idsInRecord]uint32
	count int
	seals []seal // oldest first
	next  uint64 // number of the next seal
	// pushed counts ids that had to go before their time.
	pushed uint64
}

// find returns the remembered id of the same event among those in the record.
func (s *ids) find(a id) (id, bool) {
	for _, b := range s.list[:s.count] {
		if a.same(b) {
			return b, true
		}
	}
	return 0, false
}

// since says whether an event is remembered among those in the record, from an
// hour on.
func (s *ids) since(a id, from int64) bool {
	for i, b := range s.list[:s.count] {
		if a.same(b) && int64(s.hours[i]) >= from {
			return true
		}
	}
	return false
}

// findSealed is find among ids that are sealed.
func findSealed(raw []byte, a id) (id, bool) {
	r := wire.Reader{Rest: raw}
	for range r.Uvarint() {
		r.Uvarint()
		list := r.Bytes(8 * min(r.Uvarint(), idsInRecord))
		for ; len(list) >= 8; list = list[8:] {
			if b := id(binary.BigEndian.Uint64(list)); a.same(b) {
				return b, true
			}
		}
		if r.Bad {
			break
		}
	}
	return 0, false
}

// add remembers an id. Where the record is full, it returns the ids to be
// sealed under the number of the newest seal, encoded.
func (s *ids) add(a id, hour int64) (sealed []byte) {
	if s.count >= idsInRecord {
		x := s.sealed()
		x.number = s.next
		s.seals = append(s.seals, x)
		s.next++
		sealed = s.appendList(make([]byte, 0, 8*idsInRecord+32))
		s.count = 0
	}
	at := uint32(hour)
	if s.count > 0 {
		at = max(at, s.hours[s.count-1])
	}
	s.list[s.count], s.hours[s.count] = a, at
	s.count++
	return sealed
}

// sealed describes the ids in the record as a seal of them.
func (s *ids) sealed() seal {
	x := seal{newest: int64(s.hours[s.count-1]), count: s.count}
	for _, a := range s.list[:s.count] {
		x.filter.add(a)
	}
	return x
}

// expire forgets ids older than an hour, and the oldest seals where there
// are too many, and returns the numbers of the seals that go.
func (s *ids) expire(from int64) (gone []uint64) {
	old := 0
	for old < s.count && int64(s.hours[old]) < from {
		old++
	}
	if old > 0 {
		copy(s.list[:], s.list[old:s.count])
		copy(s.hours[:], s.hours[old:s.count])
		s.count -= old
	}
	if len(s.seals) == 0 {
		return nil
	}
	total := s.count
	for i := range s.seals {
		total += s.seals[i].count
	}
	n := 0
	for ; n < len(s.seals); n++ {
		x := &s.seals[n]
		old := x.newest < from
		if !old && total <= idsPerSubject {
			break
		}
		if !old {
			s.pushed += uint64(x.count)
		}
		total -= x.count
		gone = append(gone, x.number)
	}
	if n > 0 {
		s.seals = append(s.seals[:0], s.seals[n:]...)
	}
	return gone
}

func (s *ids) append(b []byte) []byte {
	b = binary.AppendUvarint(b, s.next)
	b = binary.AppendUvarint(b, s.pushed)
	b = binary.AppendUvarint(b, uint64(len(s.seals)))
	for i := range s.seals {
		x := &s.seals[i]
		b = binary.AppendUvarint(b, x.number)
		b = binary.AppendUvarint(b, uint64(x.newest))
		b = binary.AppendUvarint(b, uint64(x.count))
		b = append(b, x.filter[:]...)
	}
	return s.appendList(b)
}

func (s *ids) decode(r *wire.Reader) {
	s.next = r.Uvarint()
	s.pushed = r.Uvarint()
	for range min(r.Uvarint(), idsPerSubject) {
		x := seal{number: r.Uvarint(), newest: int64(r.Uvarint()), count: int(r.Uvarint())}
		copy(x.filter[:], r.Bytes(uint64(len(x.filter))))
		s.seals = append(s.seals, x)
	}
	s.decodeList(r)
}

// appendList writes the ids in the record, in groups of one hour, each hour by
// its distance from the one before.
func (s *ids) appendList(b []byte) []byte {
	groups := 0
	for i := range s.count {
		if i == 0 || s.hours[i] != s.hours[i-1] {
			groups++
		}
	}
	b = binary.AppendUvarint(b, uint64(groups))
	var before uint32
	for i := 0; i < s.count; {
		n := 1
		for i+n < s.count && s.hours[i+n] == s.hours[i] {
			n++
		}
		b = binary.AppendUvarint(b, uint64(s.hours[i]-before))
		b = binary.AppendUvarint(b, uint64(n))
		before = s.hours[i]
		for _, a := range s.list[i : i+n] {
			b = binary.BigEndian.AppendUint64(b, uint64(a))
		}
		i += n
	}
	return b
}

func (s *ids) decodeList(r *wire.Reader) {
	s.count = 0
	var hour uint64
	for range min(r.Uvarint(), idsInRecord+1) {
		hour += r.Uvarint()
		n := r.Uvarint()
		if n == 0 || n > uint64(idsInRecord-s.count) {
			r.Bad = true
			return
		}
		raw := r.Bytes(8 * n)
		if r.Bad {
			return
		}
		for ; len(raw) > 0; raw = raw[8:] {
			s.list[s.count], s.hours[s.count] = id(binary.BigEndian.Uint64(raw)), uint32(hour)
			s.count++
		}
	}
}

// isSealed says whether bytes are what appendList wrote.
func isSealed(raw []byte) bool {
	var s ids
	r := wire.Reader{Rest: raw}
	s.decodeList(&r)
	return !r.Bad && len(r.Rest) == 0 && s.count > 0
}

// join adds the ids in another record to those in this one, where they fit, in
// the order of their hours.
func (s *ids) join(other *ids) {
	joined := *s
	joined.count = 0
	for i, j := 0, 0; i < s.count || j < other.count; joined.count++ {
		if j >= other.count || i < s.count && s.hours[i] <= other.hours[j] {
			joined.list[joined.count], joined.hours[joined.count] = s.list[i], s.hours[i]
			i++
		} else {
			joined.list[joined.count], joined.hours[joined.count] = other.list[j], other.hours[j]
			j++
		}
	}
	*s = joined
}

// bySeal orders seals by age.
func bySeal(seals []seal) {
	slices.SortStableFunc(seals, func(a, b seal) int { return int(a.newest - b.newest) })
}
