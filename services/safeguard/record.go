package safeguard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/spend"
)

// subscriber is the body of a record: an active subscriber, or the mark of one that is gone.
type subscriber struct {
	// terminated is when it ended, by the event's own time; zero while it is active. A mark has nothing else.
	terminated time.Time
	// activated is when it began, by the event's own time: usage from before is its predecessor's.
	activated time.Time
	// class of service, imsi (6 to 15 digits or empty) and language, as its activation said.
	class, imsi, language string
	// revision of the configuration that it was last judged by.
	revision int64
	data     option
}

// gone says that this is a mark.
func (s *subscriber) gone() bool { return !s.terminated.IsZero() }

// option is where a subscriber stands with one safeguard. The zero value is one that its class does not offer.
type option struct {
	state spend.State
	// blocked is the bit that safeguard.reached sets and safeguard.released clears.
	blocked    bool
	renewalDay spend.RenewalDay
	// limit as last judged.
	limit  spend.Money
	count  spend.Count
	period spend.Period
	// late is what is not told yet, by period, oldest first.
	late []late
}

func (o *option) offered() bool { return o.state != spend.Unset }

// late is the sum of what came for a period and was not counted in it.
type late struct {
	period spend.Period
	sum    spend.Amount
}

// recordFormat is the first byte of the encoding below. Then stand one byte of flags, and of a mark the time of
// termination; of a subscriber its fields in the order of the struct. Numbers are varints; times are ms, of periods
// seconds, which they begin at; an end is told by its distance. The digits of an IMSI are one number behind their count.
const recordFormat = 1

const (
	flagGone byte = 1 << iota
	flagData
)

func (s *subscriber) append(b []byte) []byte {
	var flags byte
	if s.gone() {
		b = append(b, recordFormat, flagGone)
		return binary.AppendVarint(b, s.terminated.UnixMilli())
	}
	if s.data.offered() {
		flags |= flagData
	}
	b = append(b, recordFormat, flags)
	b = binary.AppendVarint(b, s.activated.UnixMilli())
	b = appendText(b, s.class)
	b = append(b, byte(len(s.imsi)))
	if s.imsi != "" {
		digits, err := strconv.ParseUint(s.imsi, 10, 64)
		if err != nil {
			panic("an imsi that is no number: " + err.Error()) // its activation was refused
		}
		b = binary.AppendUvarint(b, digits)
	}
	b = appendText(b, s.language)
	b = binary.AppendUvarint(b, uint64(s.revision))
	if s.data.offered() {
		b = s.data.append(b)
	}
	return b
}

const blockedBit = 1 << 7 // beside the state

func (o *option) append(b []byte) []byte {
	state := byte(o.state)
	if o.blocked {
		state |= blockedBit
	}
	b = append(b, state, byte(o.renewalDay))
	b = append(b, o.limit.Currency...)
	b = binary.AppendUvarint(b, uint64(o.limit.Amount))
	b = binary.AppendUvarint(b, uint64(o.count.Spent))
	b = binary.AppendUvarint(b, uint64(o.count.Peak))
	b = appendPeriod(b, o.period)
	b = binary.AppendUvarint(b, uint64(len(o.late)))
	for _, l := range o.late {
		b = appendPeriod(b, l.period)
		b = binary.AppendVarint(b, int64(l.sum))
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendPeriod(b []byte, p spend.Period) []byte {
	b = binary.AppendVarint(b, p.Start.Unix())
	return binary.AppendVarint(b, p.End.Unix()-p.Start.Unix())
}

var errRecord = errors.New("record of a subscriber is cut short, or more than it should be")

// decodeSubscriber reads what append wrote, and nothing else: bytes that it would not have written are an error.
func decodeSubscriber(raw []byte) (subscriber, error) {
	var s subscriber
	if len(raw) < 2 {
		return s, errRecord
	}
	if raw[0] != recordFormat {
		return s, fmt.Errorf("record of a subscriber has format %d, this binary knows %d", raw[0], recordFormat)
	}
	flags := raw[1]
	if flags&^(flagGone|flagData) != 0 || flags == flagGone|flagData {
		return s, errRecord
	}
	r := reader{b: raw[2:]}
	if flags&flagGone != 0 {
		s.terminated = r.ms()
		r.bad = r.bad || !s.gone()
		return s, r.end()
	}
	s.activated = r.ms()
	s.class, s.imsi, s.language = r.texts()
	s.revision = int64(r.uvarint())
	if flags&flagData != 0 {
		r.option(&s.data)
		r.bad = r.bad || !s.data.offered()
	}
	return s, r.end()
}

// reader takes values off the front; once bad, it stays so.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return errRecord
	}
	return nil
}

func (r *reader) fail() {
	r.bad, r.b = true, nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 { // a zero at the end is one byte too many
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	b := r.bytes(1)
	if r.bad {
		return 0
	}
	return b[0]
}

// farthest bounds every time, in seconds either way: what is behind is no time of an event, and might wrap.
const farthest = 1 << 40

func (r *reader) ms() time.Time {
	ms := r.varint()
	if ms < -farthest*1000 || ms > farthest*1000 {
		r.fail()
	}
	return time.UnixMilli(ms).UTC()
}

func (r *reader) period() spend.Period {
	start, length := r.varint(), r.varint()
	if start < -farthest || start > farthest || length < 0 || length > farthest {
		r.fail()
		return spend.Period{}
	}
	return spend.Period{Start: time.Unix(start, 0).UTC(), End: time.Unix(start+length, 0).UTC()}
}

// texts are class, IMSI and language, in one piece of memory.
func (r *reader) texts() (class, imsi, language string) {
	var scratch [64]byte
	b := append(scratch[:0], r.bytes(r.uvarint())...)
	n := len(b)
	digits := int(r.byte())
	if digits > maxIMSI {
		r.fail()
		return "", "", ""
	}
	if digits > 0 {
		b = appendDigits(b, r.uvarint(), digits)
		r.bad = r.bad || len(b) != n+digits
	}
	m := len(b)
	b = append(b, r.bytes(r.uvarint())...)
	all := string(b)
	return all[:n], all[n:m], all[m:]
}

// appendDigits writes a number with the zeros before it.
func appendDigits(b []byte, number uint64, digits int) []byte {
	at := len(b)
	b = strconv.AppendUint(b, number, 10)
	for len(b)-at < digits {
		b = slices.Insert(b, at, '0')
	}
	return b
}

func (r *reader) option(o *option) {
	state := r.byte()
	o.state, o.blocked = spend.State(state&^blockedBit), state&blockedBit != 0
	o.renewalDay = spend.RenewalDay(r.byte())
	o.limit.Currency = currency(r.bytes(3))
	o.limit.Amount = r.amount()
	o.count.Spent, o.count.Peak = r.amount(), r.amount()
	o.period = r.period()
	if o.state > spend.PermanentlyInactive || o.renewalDay < 1 || o.renewalDay > 28 || !spend.IsCurrency(o.limit.Currency) {
		r.fail()
	}
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return
	}
	if n > 0 {
		o.late = make([]late, n)
		for i := range o.late {
			o.late[i] = late{period: r.period(), sum: spend.Amount(r.varint())}
		}
	}
}

// amount is one that is not negative.
func (r *reader) amount() spend.Amount {
	v := r.uvarint()
	if v > uint64(spend.Max) {
		r.fail()
		return 0
	}
	return spend.Amount(v)
}

// currency spares the memory of the codes that nearly everybody has.
func currency(b []byte) string {
	switch string(b) {
	case "EUR":
		return "EUR"
	case "GBP":
		return "GBP"
	case "USD":
		return "USD"
	case "CHF":
		return "CHF"
	}
	return string(b)
}
