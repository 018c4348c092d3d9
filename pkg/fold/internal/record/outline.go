package record

import (
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/wire"
)

// Outline is what a reader needs of a record. The ids and timers, most of a record, are passed over.
type Outline struct {
	// Gone: there is no record.
	Gone bool
	// Sequence is the last one published under the key, 0 where none was.
	Sequence int64
	Body     []byte
}

// ReadOutline reads what Header.Decode reads, without what the rules of the engine alone need.
func ReadOutline(b []byte) (o Outline, err error) {
	if err := checkFormat(b); err != nil {
		return o, err
	}
	o.Gone = Flagged(b, GoneFlag)
	sequence, r := untilIDs(b)
	r.Uvarint() // number of the next segment
	r.Uvarint() // evicted
	for range min(r.Uvarint(), idsPerSubject) {
		passSegment(&r)
	}
	for range min(r.Uvarint(), IDsInRecord+1) {
		r.Uvarint() // hour
		r.Bytes(8 * min(r.Uvarint(), IDsInRecord))
	}
	decodeCalls(&r)
	if r.Bad {
		return o, errCutShort
	}
	o.Sequence, o.Body = sequence, r.Rest
	return o, nil
}

// untilIDs passes over what precedes the ids of a record, but for the sequence.
func untilIDs(record []byte) (sequence int64, r wire.Reader) {
	r = wire.Reader{Rest: record[2:]}
	r.Uvarint() // epoch
	r.Uvarint() // applied
	r.Bytes(uint64(len(event.Identity{})))
	var previous uint64
	if Flagged(record, movedFlag) {
		r.Bytes(uint64(r.Byte()) * uint64(len(event.Identity{})))
		previous = r.Uvarint()
	}
	sequence = int64(r.Uvarint())
	if previous > 0 {
		sequence = int64(previous) - 1
	}
	if !Flagged(record, listedFirstFlag) {
		r.Uvarint()
	}
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		readTimerName(&r)
		r.Uvarint()
	}
	return sequence, r
}

// passSegment returns a segment's number and its filter.
func passSegment(r *wire.Reader) (number uint64, filter []byte) {
	number = r.Uvarint()
	r.Uvarint() // newest
	r.Uvarint() // count
	return number, r.Bytes(uint64(len(Filter{})))
}

// SegmentsHolding gives each the number of every segment of a record that an id may be in, without decoding the rest.
func SegmentsHolding(record []byte, a ID, each func(number uint64)) {
	_, r := untilIDs(record)
	r.Uvarint() // number of the next segment
	r.Uvarint() // evicted
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		if number, filter := passSegment(&r); !r.Bad && a.MayBeIn(filter) {
			each(number)
		}
	}
}
