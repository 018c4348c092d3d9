package record

import (
	"encoding/binary"
	"slices"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/wire"
)

// A record remembers which events changed it, so that the same event at another offset is known again: 8 bytes each,
// the first 48 bits of the identity and 16 of the content, grouped by the hour of log time. The newest stand in the
// record; full, they become a segment with a key of its own, written once. A segment is encoded, and searched as
// it lies.
const (
	IDsInRecord   = 32
	idsPerSubject = 1024
	HourMillis    = 3_600_000
)

type ID uint64

func MakeID(identity event.Identity, content uint64) ID {
	return ID(binary.BigEndian.Uint64(identity[:8])&^0xffff | content&0xffff)
}

// same: one event, whatever its content.
func (a ID) same(b ID) bool { return a>>16 == b>>16 }

// SentOn is what a key remembers of an event that was forwarded from it: another id, so that the event itself is none
// that was counted here.
func (a ID) SentOn() ID { return a ^ 1<<63 }

// Segment describes ids that are in a key of their own.
type Segment struct {
	Number uint64
	Newest int64 // hour of the newest id
	count  int
	Filter Filter
}

// Filter shows of most ids that they are not in a segment, so that it need not be read: of 32 ids each sets five of 256
// bits, and one id in fifty that is not among them finds its five set.
type Filter [32]byte

func (f *Filter) add(a ID) {
	for shift := 16; shift < 56; shift += 8 {
		bit := byte(a >> shift)
		f[bit>>3] |= 1 << (bit & 7)
	}
}

// MayBeIn reports whether an id may be in the segment; raw is its filter as it lies.
func (a ID) MayBeIn(raw []byte) bool {
	for shift := 16; shift < 56; shift += 8 {
		bit := byte(a >> shift)
		if raw[bit>>3]&(1<<(bit&7)) == 0 {
			return false
		}
	}
	return true
}

// IDs are what a record remembers: those in it, oldest first, each with the hour of its group, and where the others
// stand. No pointers to the former: a record is decoded for each batch that needs it.
type IDs struct {
	list     [IDsInRecord]ID
	hours    [IDsInRecord]uint32
	Count    int
	Segments []Segment // oldest first
	Next     uint64    // number of the next segment
	// Evicted counts ids that had to go before their time.
	Evicted uint64
}

// Find returns the remembered id of the same event among those in the record.
func (s *IDs) Find(a ID) (ID, bool) {
	for _, b := range s.list[:s.Count] {
		if a.same(b) {
			return b, true
		}
	}
	return 0, false
}

// Since reports whether an event is remembered among those in the record, from an hour on.
func (s *IDs) Since(a ID, from int64) bool {
	for i, b := range s.list[:s.Count] {
		if a.same(b) && int64(s.hours[i]) >= from {
			return true
		}
	}
	return false
}

// FindInSegment is find among the ids of a segment.
func FindInSegment(raw []byte, a ID) (ID, bool) {
	r := wire.Reader{Rest: raw}
	for range r.Uvarint() {
		r.Uvarint()
		list := r.Bytes(8 * min(r.Uvarint(), IDsInRecord))
		for ; len(list) >= 8; list = list[8:] {
			if b := ID(binary.BigEndian.Uint64(list)); a.same(b) {
				return b, true
			}
		}
		if r.Bad {
			break
		}
	}
	return 0, false
}

// Add remembers an id. Where the record is full, it returns the ids of a segment to be written under the number of the newest
// segment, encoded.
func (s *IDs) Add(a ID, hour int64) (segment []byte) {
	if s.Count >= IDsInRecord {
		x := s.Segment()
		x.Number = s.Next
		s.Segments = append(s.Segments, x)
		s.Next++
		segment = s.AppendList(make([]byte, 0, 8*IDsInRecord+32))
		s.Count = 0
	}
	at := uint32(hour)
	if s.Count > 0 {
		at = max(at, s.hours[s.Count-1])
	}
	s.list[s.Count], s.hours[s.Count] = a, at
	s.Count++
	return segment
}

// Segment describes the ids in the record as a segment.
func (s *IDs) Segment() Segment {
	x := Segment{Newest: int64(s.hours[s.Count-1]), count: s.Count}
	for _, a := range s.list[:s.Count] {
		x.Filter.add(a)
	}
	return x
}

// Expire forgets ids older than an hour, and the oldest segments where there are too many, and returns the numbers of
// the segments that go, at most so many at once.
func (s *IDs) Expire(from int64, most int) (gone []uint64) {
	old := 0
	for old < s.Count && int64(s.hours[old]) < from {
		old++
	}
	if old > 0 {
		copy(s.list[:], s.list[old:s.Count])
		copy(s.hours[:], s.hours[old:s.Count])
		s.Count -= old
	}
	if len(s.Segments) == 0 {
		return nil
	}
	total := s.Count
	for i := range s.Segments {
		total += s.Segments[i].count
	}
	n := 0
	for ; n < min(len(s.Segments), most); n++ {
		x := &s.Segments[n]
		old := x.Newest < from
		if !old && total <= idsPerSubject {
			break
		}
		if !old {
			s.Evicted += uint64(x.count)
		}
		total -= x.count
		gone = append(gone, x.Number)
	}
	if n > 0 {
		s.Segments = append(s.Segments[:0], s.Segments[n:]...)
	}
	return gone
}

func (s *IDs) append(b []byte) []byte {
	b = binary.AppendUvarint(b, s.Next)
	b = binary.AppendUvarint(b, s.Evicted)
	b = binary.AppendUvarint(b, uint64(len(s.Segments)))
	for i := range s.Segments {
		x := &s.Segments[i]
		b = binary.AppendUvarint(b, x.Number)
		b = binary.AppendUvarint(b, uint64(x.Newest))
		b = binary.AppendUvarint(b, uint64(x.count))
		b = append(b, x.Filter[:]...)
	}
	return s.AppendList(b)
}

func (s *IDs) decode(r *wire.Reader) {
	s.Next = r.Uvarint()
	s.Evicted = r.Uvarint()
	for range min(r.Uvarint(), idsPerSubject) {
		x := Segment{Number: r.Uvarint(), Newest: int64(r.Uvarint()), count: int(r.Uvarint())}
		copy(x.Filter[:], r.Bytes(uint64(len(x.Filter))))
		s.Segments = append(s.Segments, x)
	}
	s.DecodeList(r)
}

// AppendList writes the ids in the record, in groups of one hour, each hour by its distance from the one before.
func (s *IDs) AppendList(b []byte) []byte {
	groups := 0
	for i := range s.Count {
		if i == 0 || s.hours[i] != s.hours[i-1] {
			groups++
		}
	}
	b = binary.AppendUvarint(b, uint64(groups))
	var before uint32
	for i := 0; i < s.Count; {
		n := 1
		for i+n < s.Count && s.hours[i+n] == s.hours[i] {
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

func (s *IDs) DecodeList(r *wire.Reader) {
	s.Count = 0
	var hour uint64
	for range min(r.Uvarint(), IDsInRecord+1) {
		hour += r.Uvarint()
		n := r.Uvarint()
		if n == 0 || n > uint64(IDsInRecord-s.Count) {
			r.Bad = true
			return
		}
		raw := r.Bytes(8 * n)
		if r.Bad {
			return
		}
		for ; len(raw) > 0; raw = raw[8:] {
			s.list[s.Count], s.hours[s.Count] = ID(binary.BigEndian.Uint64(raw)), uint32(hour)
			s.Count++
		}
	}
}

// IsSegment reports whether bytes are what appendList wrote.
func IsSegment(raw []byte) bool {
	var s IDs
	r := wire.Reader{Rest: raw}
	s.DecodeList(&r)
	return !r.Bad && len(r.Rest) == 0 && s.Count > 0
}

// Join adds the ids in another record to those in this one, where they fit, in the order of their hours.
func (s *IDs) Join(other *IDs) {
	joined := *s
	joined.Count = 0
	for i, j := 0, 0; i < s.Count || j < other.Count; joined.Count++ {
		if j >= other.Count || i < s.Count && s.hours[i] <= other.hours[j] {
			joined.list[joined.Count], joined.hours[joined.Count] = s.list[i], s.hours[i]
			i++
		} else {
			joined.list[joined.Count], joined.hours[joined.Count] = other.list[j], other.hours[j]
			j++
		}
	}
	*s = joined
}

// ByAge orders segments by age.
func ByAge(segments []Segment) {
	slices.SortStableFunc(segments, func(a, b Segment) int { return int(a.Newest - b.Newest) })
}
