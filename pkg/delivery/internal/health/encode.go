package health

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/pkg/wire"
)

// format is the format of a stored endpoint.
const format = 3

const (
	isOpen = 1 << iota
	hasBehind
	hasExhausted
	probesAfter
)

// maxText bounds the texts of receivers that are kept, in bytes.
const maxText = 120

// Short cuts a text to what is kept of it.
func Short(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}

// Encode returns the bytes for the store. Shift is added to every time: it leads from this clock to the wall clock.
func (e *Endpoint) Encode(shift int64) []byte {
	w := writer{b: make([]byte, 0, 192), shift: shift}
	w.b = append(w.b, format)
	w.text(e.Name)
	var flags byte
	if e.Open {
		flags |= isOpen
	}
	if e.Behind.Is {
		flags |= hasBehind
	}
	if e.Exhausted != (Exhausted{PublishedAt: Never}) {
		flags |= hasExhausted
	}
	if e.ProbeAfter {
		flags |= probesAfter
	}
	w.b = append(w.b, flags, byte(e.Suspended), e.Notice, e.Probes)
	w.b = binary.BigEndian.AppendUint64(w.b, e.Fingerprint)
	for _, n := range [...]int64{e.Activation, e.Failures, e.Counted, int64(e.LastStatus)} {
		w.b = binary.AppendVarint(w.b, n)
	}
	for _, at := range [...]int64{e.FailingSince, e.LastSuccess, e.CountedSince, e.NextProbe, e.HoldUntil, e.SuspendedSince} {
		w.time(at)
	}
	w.text(e.First)
	w.text(e.LastError)
	w.b = binary.AppendUvarint(w.b, uint64(len(e.Stops)))
	for _, s := range e.Stops {
		w.time(s.From)
		w.time(s.To)
	}
	if flags&hasBehind != 0 {
		w.b = binary.AppendVarint(binary.AppendVarint(w.b, e.Behind.Offset), e.Behind.Count)
		w.b = binary.BigEndian.AppendUint64(binary.AppendVarint(w.b, e.Behind.Since), e.Behind.Before)
	}
	if flags&hasExhausted != 0 {
		x := e.Exhausted
		w.time(x.PublishedAt)
		w.b = binary.AppendVarint(w.b, x.Count)
		for _, s := range [...]string{x.First, x.Last.Delivery, x.Last.Notification, x.Last.Reason, x.Last.EventType, x.Last.Subject, x.Last.Topic, x.Last.Error} {
			w.text(s)
		}
		for _, n := range [...]int64{int64(x.Last.Attempts), int64(x.Last.Partition), x.Last.Offset, int64(x.Last.Status)} {
			w.b = binary.AppendVarint(w.b, n)
		}
	}
	w.b = binary.AppendUvarint(w.b, uint64(e.Contained.Ahead))
	w.b = binary.BigEndian.AppendUint32(w.b, e.Contained.Writer)
	return binary.BigEndian.AppendUint64(w.b, uint64(e.Contained.End))
}

// SetEnd sets Contained.End in the bytes of a record: it is known once the attempts of its commit are published.
func SetEnd(record []byte, end int64) {
	binary.BigEndian.PutUint64(record[len(record)-8:], uint64(end))
}

// Decode reads what Encode wrote; shift leads from the wall clock to this clock.
func Decode(b []byte, shift int64) (Endpoint, error) {
	if len(b) == 0 || b[0] != format {
		return Endpoint{}, fmt.Errorf("record of an endpoint has another format than %d, which this binary knows: let the version that wrote it deliver what waits, then delete the keys of this domain in Redis", format)
	}
	r := reader{Reader: wire.Reader{Rest: b[1:]}, shift: shift}
	e := Endpoint{Name: r.Text()}
	flags := r.Byte()
	e.Suspended, e.Notice, e.Probes = Reason(r.Byte()), r.Byte(), r.Byte()
	if fingerprint := r.Bytes(8); len(fingerprint) == 8 {
		e.Fingerprint = binary.BigEndian.Uint64(fingerprint)
	}
	e.Open, e.ProbeAfter = flags&isOpen != 0, flags&probesAfter != 0
	e.Activation, e.Failures, e.Counted, e.LastStatus = r.Varint(), r.Varint(), r.Varint(), int(r.Varint())
	for _, at := range [...]*int64{&e.FailingSince, &e.LastSuccess, &e.CountedSince, &e.NextProbe, &e.HoldUntil, &e.SuspendedSince} {
		*at = r.time()
	}
	e.First, e.LastError = r.Text(), r.Text()
	for range r.Count() {
		e.Stops = append(e.Stops, Stop{r.time(), r.time()})
	}
	if flags&hasBehind != 0 {
		e.Behind = Behind{Is: true, Offset: r.Varint(), Count: r.Varint(), Since: r.Varint()}
		if before := r.Bytes(8); len(before) == 8 {
			e.Behind.Before = binary.BigEndian.Uint64(before)
		}
	}
	e.Exhausted.PublishedAt = Never
	if flags&hasExhausted != 0 {
		x := &e.Exhausted
		x.PublishedAt, x.Count = r.time(), r.Varint()
		for _, s := range [...]*string{&x.First, &x.Last.Delivery, &x.Last.Notification, &x.Last.Reason, &x.Last.EventType, &x.Last.Subject, &x.Last.Topic, &x.Last.Error} {
			*s = r.Text()
		}
		x.Last.Attempts, x.Last.Partition, x.Last.Offset, x.Last.Status = int(r.Varint()), int32(r.Varint()), r.Varint(), int(r.Varint())
	}
	e.Contained.Ahead = int(r.Uvarint())
	if contained := r.Bytes(12); len(contained) == 12 {
		e.Contained.Writer, e.Contained.End = binary.BigEndian.Uint32(contained), int64(binary.BigEndian.Uint64(contained[4:]))
	}
	if !r.Done() || e.Suspended > GoneReason {
		return Endpoint{}, fmt.Errorf("record of endpoint %q is damaged", e.Name)
	}
	return e, nil
}

type writer struct {
	b     []byte
	shift int64
}

func (w *writer) text(s string) {
	w.b = binary.AppendUvarint(w.b, uint64(len(s)))
	w.b = append(w.b, s...)
}

// time writes 0 for Never, 1 for the end of a stop that lasts, and two more than the time otherwise.
func (w *writer) time(at int64) {
	switch at {
	case Never:
		w.b = append(w.b, 0)
	case stillStopped:
		w.b = append(w.b, 1)
	default:
		w.b = binary.AppendUvarint(w.b, uint64(max(0, at+w.shift))+2)
	}
}

type reader struct {
	wire.Reader
	shift int64
}

func (r *reader) time() int64 {
	switch v := r.Uvarint(); v {
	case 0:
		return Never
	case 1:
		return stillStopped
	default:
		return int64(v-2) + r.shift
	}
}
