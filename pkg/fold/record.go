package fold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/wire"
)

// header is what the engine itself keeps in a subject's record, before the
// service's body.
type header struct {
	epoch   uint32
	applied int64    // offset of the last log record applied; -1 in a new one
	creator Identity // of the event that created it
	last    int64    // last sequence given out
	listed  int64    // time in ms under which the subject stands in a due list; 0: in none
	timers  []timer  // by due time, then name
	aside   bool     // a value stands beside the record
	moved   bool     // it came from another key, by the event that created it here
	gone    bool     // there is no record; see tombstone
	// former created what stood under the key before a record moved to it;
	// newest last.
	former []Identity
	// silent: nothing was told under this key since the record moved to it; heard
	// is the last sequence told under it before, which last may be above.
	silent bool
	heard  int64
	ids    ids
	calls  calls
}

type timer struct {
	name string // as it stands in a record; see timerNames
	due  int64  // ms
}

const recordFormat = 6

func (h *header) append(b []byte) []byte {
	b = append(b, recordFormat, flags(h))
	b = binary.AppendUvarint(b, uint64(h.epoch))
	b = binary.AppendUvarint(b, uint64(h.applied+1))
	b = append(b, h.creator[:]...)
	if h.moved {
		b = append(b, byte(len(h.former)))
		for _, f := range h.former {
			b = append(b, f[:]...)
		}
		if h.silent {
			b = binary.AppendUvarint(b, uint64(h.heard+1))
		} else {
			b = append(b, 0)
		}
	}
	b = binary.AppendUvarint(b, uint64(h.last))
	if !h.listedFirst() {
		b = binary.AppendUvarint(b, uint64(h.listed))
	}
	b = binary.AppendUvarint(b, uint64(len(h.timers)))
	var before int64
	for _, t := range h.timers {
		b = appendTimerName(b, t.name)
		b = binary.AppendUvarint(b, uint64(t.due-before)) // timers of one time are usual
		before = t.due
	}
	return h.calls.append(h.ids.append(b))
}

// listedFirst: the subject stands in a due list under its first timer.
func (h *header) listedFirst() bool {
	return len(h.timers) > 0 && h.listed == h.timers[0].due
}

// Flags of a record say what stands in keys of their own, older ids and what is
// kept aside, so that who loads it sees so without decoding it.
const (
	sealedFlag = 1 << iota
	asideFlag
	movedFlag
	// goneFlag: there is no record. What stands says only how far the log was
	// applied to what there was; see tombstone.
	goneFlag
	// listedFirstFlag: the time listed is not written; see listedFirst.
	listedFirstFlag
)

func flags(h *header) (f byte) {
	if len(h.ids.seals) > 0 {
		f |= sealedFlag
	}
	if h.aside {
		f |= asideFlag
	}
	if h.moved {
		f |= movedFlag
	}
	if h.gone {
		f |= goneFlag
	}
	if h.listedFirst() {
		f |= listedFirstFlag
	}
	return f
}

func flagged(record []byte, flag byte) bool { return len(record) > 1 && record[1]&flag != 0 }

var errCutShort = errors.New("read record of a subject: it is cut short")

// decodeHeader returns the header and the body behind it.
func decodeHeader(b []byte) (h header, body []byte, err error) {
	body, err = h.decode(b, func(name []byte) string { return string(name) })
	return h, body, err
}

// decode fills an empty header, whose slices may have room, and returns the body
// behind it.
func (h *header) decode(b []byte, name func([]byte) string) (body []byte, err error) {
	if len(b) < 2 {
		return nil, errCutShort
	}
	if b[0] != recordFormat {
		return nil, &state.FormatError{What: "a subject's record", Has: b[0], Knows: recordFormat}
	}
	r := wire.Reader{Rest: b[2:]}
	h.aside, h.moved, h.gone = b[1]&asideFlag != 0, b[1]&movedFlag != 0, b[1]&goneFlag != 0
	h.epoch = uint32(r.Uvarint())
	h.applied = int64(r.Uvarint()) - 1
	h.creator = readIdentity(&r)
	if h.moved {
		for range r.Byte() {
			h.former = append(h.former, readIdentity(&r))
		}
		if heard := int64(r.Uvarint()); heard > 0 {
			h.silent, h.heard = true, heard-1
		}
	}
	h.last = int64(r.Uvarint())
	if b[1]&listedFirstFlag == 0 {
		h.listed = int64(r.Uvarint())
	}
	var before int64
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		t := timer{name: name(readTimerName(&r))}
		before += int64(r.Uvarint())
		t.due = before
		h.timers = append(h.timers, t)
	}
	if b[1]&listedFirstFlag != 0 && len(h.timers) > 0 {
		h.listed = h.timers[0].due
	}
	h.ids.decode(&r)
	h.calls = decodeCalls(&r)
	if r.Bad {
		return nil, errCutShort
	}
	return r.Rest, nil
}

// sealsHolding gives each the number of every seal of a record that an id may
// be in, without decoding the rest.
func sealsHolding(record []byte, a id, each func(number uint64)) {
	r := wire.Reader{Rest: record[2:]}
	r.Uvarint()
	r.Uvarint()
	r.Bytes(uint64(len(Identity{})))
	if record[1]&movedFlag != 0 {
		r.Bytes(uint64(r.Byte()) * uint64(len(Identity{})))
		r.Uvarint()
	}
	r.Uvarint()
	if record[1]&listedFirstFlag == 0 {
		r.Uvarint()
	}
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		readTimerName(&r)
		r.Uvarint()
	}
	r.Uvarint()
	r.Uvarint()
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		number := r.Uvarint()
		r.Uvarint()
		r.Uvarint()
		if raw := r.Bytes(uint64(len(filter{}))); !r.Bad && a.mayBeIn(raw) {
			each(number)
		}
	}
}

// formerKept is how many moves to one key are told apart from their repeats.
const formerKept = 8

// succeeds makes an event the creator of what stands under a key.
func (h *header) succeeds(old *header, by Identity) {
	h.former = slices.Clone(old.former)
	if old.creator != (Identity{}) {
		h.former = append(h.former, old.creator)
	}
	h.former = h.former[max(0, len(h.former)-formerKept):]
	h.creator, h.moved = by, true
}

// sequence is the last one told under this key, 0 where none was.
func (h *header) sequence() int64 {
	if h.silent {
		return h.heard
	}
	return h.last
}

// createdBy says whether an event created what stands under the key, or stood.
func (h *header) createdBy(e Identity) bool { return e == h.creator || slices.Contains(h.former, e) }

func (h *header) schedule(name string, due int64) {
	h.cancel(name)
	i, _ := slices.BinarySearchFunc(h.timers, timer{name, due}, compareTimers)
	h.timers = slices.Insert(h.timers, i, timer{name, due})
}

func (h *header) cancel(name string) {
	h.timers = slices.DeleteFunc(h.timers, func(t timer) bool { return t.name == name })
}

func compareTimers(a, b timer) int {
	if a.due != b.due {
		if a.due < b.due {
			return -1
		}
		return 1
	}
	if a.name < b.name {
		return -1
	}
	if a.name > b.name {
		return 1
	}
	return 0
}

// Keys of a partition in its store.
const (
	recordPrefix = "r:"
	sealPrefix   = "s:"
	asidePrefix  = "a:"
	duePrefix    = "d:"
)

func recordKey(subject string) string { return recordPrefix + subject }

func asideKey(subject string) string { return asidePrefix + subject }

func sealKey(subject string, number uint64) string {
	return fmt.Sprintf("%s%s\x00%d", sealPrefix, subject, number)
}

// besideKeys lists the keys that belong to a record: ids sealed for it, and what
// is kept aside.
func besideKeys(subject string, record []byte) ([]string, error) {
	return appendBesideKeys(nil, subject, record)
}

func appendBesideKeys(keys []string, subject string, record []byte) ([]string, error) {
	if flagged(record, sealedFlag) {
		h, _, err := decodeHeader(record)
		if err != nil {
			return nil, err
		}
		for _, x := range h.ids.seals {
			keys = append(keys, sealKey(subject, x.number))
		}
	}
	if flagged(record, asideFlag) {
		keys = append(keys, asideKey(subject))
	}
	return keys, nil
}

func dueKey(minute int64) string { return duePrefix + strconv.FormatInt(minute, 10) }

// BodyOf is the service's part of a stored record, for those who compare
// states without an engine.
func BodyOf(record []byte) ([]byte, error) {
	_, body, err := decodeHeader(record)
	return body, err
}

func readIdentity(r *wire.Reader) (id Identity) {
	copy(id[:], r.Bytes(uint64(len(id))))
	return id
}
