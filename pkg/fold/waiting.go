package fold

import (
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/wire"
)

// An event may have to wait in a record until another event decides about it. While it waits the fold itself knows it
// again; once it is counted its id is remembered like any other, and one that is turned away leaves no id, so that it
// may be sent again.

// Wait keeps the id of the current event out of the record, although the event changes it. A record that it creates has
// no creator before another event saves it. Call it before Save.
func (s *Subject[B]) Wait() { s.state.waits = true }

// Remember enters the id of an event that waited; content is what its Content was. Call it after Save.
func (s *Subject[B]) Remember(identity Identity, content uint64) {
	s.batch.remember(s, record.MakeID(identity, content), s.Time.UnixMilli()/record.HourMillis)
}

// Remembers reports whether Remember entered an identity within the window, to the hour.
func (s *Subject[B]) Remembers(identity Identity) bool {
	a, from := record.MakeID(identity, 0), s.Time.UnixMilli()/record.HourMillis-s.batch.window(s.Key)
	if s.header.IDs.Since(a, from) {
		return true
	}
	var list record.IDs
	for i := range s.header.IDs.Segments {
		if x := &s.header.IDs.Segments[i]; x.Newest >= from && a.MayBeIn(x.Filter[:]) {
			r := wire.Reader{Rest: s.segmentIDs(x.Number)}
			if list.DecodeList(&r); !r.Bad && list.Since(a, from) {
				return true
			}
		}
	}
	return false
}

// Value is the log record's, as it came.
func (s *Subject[B]) Value() []byte { return s.record.Value }

// RejectWaiting sends an event that waited to the rejected topic, as Reject does with the current one. The record is to
// be what it was in the log, offset and headers included.
func (s *Subject[B]) RejectWaiting(r stream.Record, identity Identity, reason, detail string) {
	s.batch.reject(&r, identity, reason, detail, s.Time)
}
