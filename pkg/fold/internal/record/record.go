// Package record encodes what the engine keeps of a subject: the header before the body of its service, the remembered ids
// with their segments, names of timers and the accepted calls.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/wire"
)

// Header is what the engine itself keeps in a subject's record, before the service's body.
type Header struct {
	Epoch   uint32
	Applied int64          // offset of the last log record applied; -1 in a new one
	Creator event.Identity // of the event that created it
	Last    int64          // last sequence given out
	Listed  int64          // time in ms under which the subject stands in a due list; 0: in none
	Timers  []Timer        // by due time, then name
	Side    bool           // a value stands beside the record
	Moved   bool           // it came from another key, by the event that created it here
	Gone    bool           // there is no record; see tombstone
	// PreviousCreators created what stood under the key before a record moved to it; newest last.
	PreviousCreators []event.Identity
	// Unpublished: nothing was published under this key since the record moved to it; PreviousSequence is the last
	// sequence published under it before, which last may be above.
	Unpublished      bool
	PreviousSequence int64
	IDs              IDs
	Calls            Calls
}

type Timer struct {
	Name string // as it stands in a record; see timerNames
	Due  int64  // ms
}

const recordFormat = 6

func (h *Header) Append(b []byte) []byte {
	b = append(b, recordFormat, flags(h))
	b = binary.AppendUvarint(b, uint64(h.Epoch))
	b = binary.AppendUvarint(b, uint64(h.Applied+1))
	b = append(b, h.Creator[:]...)
	if h.Moved {
		b = append(b, byte(len(h.PreviousCreators)))
		for _, f := range h.PreviousCreators {
			b = append(b, f[:]...)
		}
		if h.Unpublished {
			b = binary.AppendUvarint(b, uint64(h.PreviousSequence+1))
		} else {
			b = append(b, 0)
		}
	}
	b = binary.AppendUvarint(b, uint64(h.Last))
	if !h.listedFirst() {
		b = binary.AppendUvarint(b, uint64(h.Listed))
	}
	b = binary.AppendUvarint(b, uint64(len(h.Timers)))
	var before int64
	for _, t := range h.Timers {
		b = appendTimerName(b, t.Name)
		b = binary.AppendUvarint(b, uint64(t.Due-before)) // timers of one time are usual
		before = t.Due
	}
	return h.Calls.append(h.IDs.append(b))
}

// listedFirst: the subject stands in a due list under its first timer.
func (h *Header) listedFirst() bool {
	return len(h.Timers) > 0 && h.Listed == h.Timers[0].Due
}

// Flags of a record are set for what is in keys of its own, older ids and a side record, so that its reader sees
// so without decoding it.
const (
	SegmentsFlag = 1 << iota
	SideFlag
	movedFlag
	// goneFlag: there is no record. A tombstone only has how far the log was applied to what there was; see tombstone.
	GoneFlag
	// listedFirstFlag: the time listed is not written; see listedFirst.
	listedFirstFlag
)

func flags(h *Header) (f byte) {
	if len(h.IDs.Segments) > 0 {
		f |= SegmentsFlag
	}
	if h.Side {
		f |= SideFlag
	}
	if h.Moved {
		f |= movedFlag
	}
	if h.Gone {
		f |= GoneFlag
	}
	if h.listedFirst() {
		f |= listedFirstFlag
	}
	return f
}

func Flagged(record []byte, flag byte) bool { return len(record) > 1 && record[1]&flag != 0 }

var errCutShort = errors.New("read record of a subject: it is cut short")

func checkFormat(record []byte) error {
	if len(record) < 2 {
		return errCutShort
	}
	if record[0] != recordFormat {
		return &state.FormatError{What: "a subject's record", Has: record[0], Knows: recordFormat}
	}
	return nil
}

// DecodeHeader returns the header and the body behind it.
func DecodeHeader(b []byte) (h Header, body []byte, err error) {
	body, err = h.Decode(b, func(name []byte) string { return string(name) })
	return h, body, err
}

// Decode fills an empty header, whose slices may have room, and returns the body behind it.
func (h *Header) Decode(b []byte, name func([]byte) string) (body []byte, err error) {
	if err := checkFormat(b); err != nil {
		return nil, err
	}
	r := wire.Reader{Rest: b[2:]}
	h.Side, h.Moved, h.Gone = b[1]&SideFlag != 0, b[1]&movedFlag != 0, b[1]&GoneFlag != 0
	h.Epoch = uint32(r.Uvarint())
	h.Applied = int64(r.Uvarint()) - 1
	h.Creator = readIdentity(&r)
	if h.Moved {
		for range r.Byte() {
			h.PreviousCreators = append(h.PreviousCreators, readIdentity(&r))
		}
		if previous := int64(r.Uvarint()); previous > 0 {
			h.Unpublished, h.PreviousSequence = true, previous-1
		}
	}
	h.Last = int64(r.Uvarint())
	if b[1]&listedFirstFlag == 0 {
		h.Listed = int64(r.Uvarint())
	}
	var before int64
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		t := Timer{Name: name(readTimerName(&r))}
		before += int64(r.Uvarint())
		t.Due = before
		h.Timers = append(h.Timers, t)
	}
	if b[1]&listedFirstFlag != 0 && len(h.Timers) > 0 {
		h.Listed = h.Timers[0].Due
	}
	h.IDs.decode(&r)
	h.Calls = decodeCalls(&r)
	if r.Bad {
		return nil, errCutShort
	}
	return r.Rest, nil
}

// creatorsKept is how many moves to one key are known from their repeats.
const creatorsKept = 8

// Succeeds makes an event the creator of what stands under a key.
func (h *Header) Succeeds(old *Header, by event.Identity) {
	h.PreviousCreators = slices.Clone(old.PreviousCreators)
	if old.Creator != (event.Identity{}) {
		h.PreviousCreators = append(h.PreviousCreators, old.Creator)
	}
	h.PreviousCreators = h.PreviousCreators[max(0, len(h.PreviousCreators)-creatorsKept):]
	h.Creator, h.Moved = by, true
}

// Sequence is the last one published under this key, 0 where none was.
func (h *Header) Sequence() int64 {
	if h.Unpublished {
		return h.PreviousSequence
	}
	return h.Last
}

// CreatedBy reports whether an event created what is or was under the key.
func (h *Header) CreatedBy(e event.Identity) bool {
	return e == h.Creator || slices.Contains(h.PreviousCreators, e)
}

func (h *Header) Schedule(name string, due int64) {
	h.Cancel(name)
	i, _ := slices.BinarySearchFunc(h.Timers, Timer{name, due}, compareTimers)
	h.Timers = slices.Insert(h.Timers, i, Timer{name, due})
}

// Scheduled reports whether a timer is.
func (h *Header) Scheduled(name string) bool {
	return slices.ContainsFunc(h.Timers, func(t Timer) bool { return t.Name == name })
}

func (h *Header) Cancel(name string) {
	h.Timers = slices.DeleteFunc(h.Timers, func(t Timer) bool { return t.Name == name })
}

func compareTimers(a, b Timer) int {
	if a.Due != b.Due {
		if a.Due < b.Due {
			return -1
		}
		return 1
	}
	if a.Name < b.Name {
		return -1
	}
	if a.Name > b.Name {
		return 1
	}
	return 0
}

// Keys of a partition in its store.
const (
	Prefix        = "r:"
	SegmentPrefix = "s:"
	sidePrefix    = "a:"
)

func Key(subject string) string { return Prefix + subject }

func SideKey(subject string) string { return sidePrefix + subject }

func SegmentKey(subject string, number uint64) string {
	return fmt.Sprintf("%s%s\x00%d", SegmentPrefix, subject, number)
}

// BesideKeys lists the keys that belong to a record: its id segments and its side record.
func BesideKeys(subject string, record []byte) ([]string, error) {
	return AppendBesideKeys(nil, subject, record)
}

// Timers is how many a record has, without the engine's own.
func Timers(record []byte) (n int, err error) {
	h, _, err := DecodeHeader(record)
	for _, t := range h.Timers {
		if t.Name != ExpiryTimer && t.Name != UnusedTimer {
			n++
		}
	}
	return n, err
}

func AppendBesideKeys(keys []string, subject string, record []byte) ([]string, error) {
	if Flagged(record, SegmentsFlag) {
		h, _, err := DecodeHeader(record)
		if err != nil {
			return nil, err
		}
		for _, x := range h.IDs.Segments {
			keys = append(keys, SegmentKey(subject, x.Number))
		}
	}
	if Flagged(record, SideFlag) {
		keys = append(keys, SideKey(subject))
	}
	return keys, nil
}

func readIdentity(r *wire.Reader) (id event.Identity) {
	copy(id[:], r.Bytes(uint64(len(id))))
	return id
}
