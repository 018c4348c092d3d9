package fold

import (
	"slices"

	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
)

// remember enters an event's id into its record and forgets what is too old.
func (b *batch[B]) remember(s *Subject[B], a record.ID, hour int64) {
	if !s.Exists {
		return
	}
	evicted := s.header.IDs.Evicted
	most := allSegments
	if b.rule == s {
		most = ruleSegments
	}
	b.expire(s, hour, most)
	s.header.Calls.Expire(b.to.LogTime)
	if segment := s.header.IDs.Add(a, hour); segment != nil {
		number := s.header.IDs.Next - 1
		b.putSegment(s, number, segment)
		b.expire(s, hour, most)
		s.header.Schedule(record.ExpiryTimer, b.expiryDue(s.Key, hour))
	}
	b.counts.Evicted += int(s.header.IDs.Evicted - evicted)
}

func (b *batch[B]) putSegment(s *Subject[B], number uint64, segment []byte) {
	if s.segments == nil {
		s.segments = make(map[uint64][]byte)
	}
	s.segments[number] = segment
	b.puts = append(b.puts, state.Entry{Key: record.SegmentKey(s.Key, number), Value: segment})
}

// How many id segments of a record go at once: of a rule's, with an event, few, since the event may change
// 200 records in one commit; its timer takes the rest.
const (
	allSegments  = 1 << 20
	ruleSegments = 2
)

func (b *batch[B]) expire(s *Subject[B], hour int64, most int) {
	for _, number := range s.header.IDs.Expire(hour-b.window(s.Key), most) {
		b.dropSegment(s.Key, number)
	}
}

// dropSegment deletes the key of a segment, whether it stands or was to be written.
func (b *batch[B]) dropSegment(subject string, number uint64) {
	key := record.SegmentKey(subject, number)
	b.deletes = append(b.deletes, key)
	b.puts = slices.DeleteFunc(b.puts, func(e state.Entry) bool { return e.Key == key })
}

// expiryDue is when ids of an hour are older than the window.
func (b *batch[B]) expiryDue(key string, hour int64) int64 {
	return (hour + b.window(key) + 1) * record.HourMillis
}

// find looks for an event among those that changed the record.
func (s *Subject[B]) find(a record.ID) (record.ID, bool) {
	if found, ok := s.header.IDs.Find(a); ok {
		return found, true
	}
	segments := s.header.IDs.Segments
	for i := len(segments) - 1; i >= 0; i-- {
		if a.MayBeIn(segments[i].Filter[:]) {
			if found, ok := record.FindInSegment(s.segmentIDs(segments[i].Number), a); ok {
				return found, true
			}
		}
	}
	return 0, false
}

// segmentIDs are those of a segment, made in this batch or before.
func (s *Subject[B]) segmentIDs(number uint64) []byte {
	if raw, ok := s.segments[number]; ok {
		return raw
	}
	return s.batch.beside(record.SegmentKey(s.Key, number))
}
