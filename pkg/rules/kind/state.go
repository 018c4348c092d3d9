package kind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"time"

	"github.com/tollgate/tollgate/pkg/wire"
)

// State is what a rule keeps of one subject and key. The zero value is that of a rule that has seen nothing.
type State struct {
	// print is that of the rule's kind, key and field: a state of another is none.
	print uint32

	// The window of the cap, and how many have fired in it.
	windowFrom int64 // ms
	fired      uint64

	// The value kept, of thresholds in percent; which of depleted and restored it is in; and the values that have fired and are
	// not armed again.
	kept     Number
	phase    phase
	disarmed []Number

	// due is when the timer is due, in ms, 0 where none is pending.
	due int64
	// Of a delay: the day that it counts from, which repeat is next, and how many are left.
	day          int64
	repeat, left int64
	// last is the latest event time of an absence, in ms.
	last int64
	// The event that set the timer, and the event to be rendered when it fires, which may be a later one.
	set  Origin
	held []byte
}

// Origin is the event that set a timer: its firing bears its name.
type Origin struct {
	Source, ID string
	Time       time.Time
	// Offset of its record in the log.
	Offset int64
}

// phase of a balance.
type phase byte

const (
	unknown phase = iota
	restored
	depleted
)

// Due is when the rule's timer is to fire; ok is false where none is pending.
func (s *State) Due() (at time.Time, ok bool) {
	return time.UnixMilli(s.due).UTC(), s.due != 0
}

// Pending is the event that set the timer, and what it holds; nothing where none is pending.
func (s *State) Pending() (Origin, []byte) {
	if s.due == 0 {
		return Origin{}, nil
	}
	return s.set, s.held
}

// Empty reports that nothing is kept, such as of an event that nothing came of.
func (s *State) Empty() bool { return s.idle() && s.fired == 0 }

// idle reports that nothing is kept but the window of a cap.
func (s *State) idle() bool {
	return !s.kept.Present() && s.phase == unknown && len(s.disarmed) == 0 && s.due == 0 && s.last == 0 && len(s.held) == 0
}

// Bounds of a state.
const (
	// MaxHeld is how much of an event a timer holds, in bytes.
	MaxHeld = 1 << 10
	// MaxThresholds is how many values one rule may have.
	MaxThresholds = 20
	maxOrigin     = 512
	maxNumber     = 2*maxWhole + 2*maxFraction + 24
)

// Size is the most that Append writes of a state of the rule, in bytes.
func (r *Rule) Size() int {
	const fixed = 64
	switch {
	case r.Crossing != nil:
		return fixed + 3*maxNumber
	case r.Thresholds != nil:
		return fixed + (1+len(r.Thresholds.Values))*maxNumber
	case r.Delayed != nil, r.Absence != nil:
		return fixed + maxOrigin + MaxHeld
	default:
		return fixed + maxNumber
	}
}

// stateFormat is the first byte of a state. What follows are uvarints, texts behind their length, and numbers as two of those:
// numerator and denominator, in the order of State; a byte of flags has which groups are there.
const stateFormat = 1

const (
	hasCap = 1 << iota
	hasValue
	hasTimer
)

// Append writes a state.
func (s *State) Append(b []byte) []byte {
	flags := byte(0)
	if s.fired > 0 {
		flags |= hasCap
	}
	if s.kept.Present() || s.phase != unknown || len(s.disarmed) > 0 {
		flags |= hasValue
	}
	if s.due != 0 || s.last != 0 || len(s.held) > 0 {
		flags |= hasTimer
	}
	b = append(b, stateFormat, flags)
	b = binary.BigEndian.AppendUint32(b, s.print)
	if flags&hasCap != 0 {
		b = binary.AppendUvarint(b, uint64(s.windowFrom))
		b = binary.AppendUvarint(b, s.fired)
	}
	if flags&hasValue != 0 {
		b = append(b, byte(s.phase), byte(len(s.disarmed)))
		b = appendNumber(b, s.kept)
		for _, n := range s.disarmed {
			b = appendNumber(b, n)
		}
	}
	if flags&hasTimer != 0 {
		for _, n := range []int64{s.due, s.day, s.repeat, s.left, s.last, s.set.Time.UnixMilli(), s.set.Offset} {
			b = binary.AppendVarint(b, n)
		}
		for _, t := range []string{s.set.Source, s.set.ID, string(s.held)} {
			b = binary.AppendUvarint(b, uint64(len(t)))
			b = append(b, t...)
		}
	}
	return b
}

// appendNumber writes the sign and the numerator, then the denominator; an absent number has neither.
func appendNumber(b []byte, n Number) []byte {
	if !n.Present() {
		return append(b, 0)
	}
	b = append(b, byte(2+n.sign()))
	if n.den != 0 {
		b = appendWhole(appendWhole(b, magnitude(n.num)), uint64(n.den))
	} else {
		for _, x := range [][]byte{n.rat.Num().Bytes(), n.rat.Denom().Bytes()} {
			b = append(b, byte(len(x)))
			b = append(b, x...)
		}
	}
	b = append(b, byte(len(n.currency)))
	return append(b, n.currency...)
}

// appendWhole writes a whole number behind its length, as short as it is.
func appendWhole(b []byte, v uint64) []byte {
	n := (bits.Len64(v) + 7) / 8
	b = append(b, byte(n))
	for n--; n >= 0; n-- {
		b = append(b, byte(v>>(8*n)))
	}
	return b
}

// readWhole reads what fits into an int64.
func readWhole(raw []byte) (v int64, ok bool) {
	if len(raw) > 8 || len(raw) == 8 && raw[0] > 0x7f {
		return 0, false
	}
	for _, c := range raw {
		v = v<<8 | int64(c)
	}
	return v, true
}

var errState = errors.New("state of a rule is cut short or of another format")

// Decode reads what Append wrote.
func Decode(b []byte) (State, error) {
	var s State
	if len(b) < 6 || b[0] != stateFormat {
		return s, errState
	}
	flags := b[1]
	r := wire.Reader{Rest: b[2:]}
	if raw := r.Bytes(4); len(raw) == 4 {
		s.print = binary.BigEndian.Uint32(raw)
	}
	if flags&hasCap != 0 {
		s.windowFrom, s.fired = int64(r.Uvarint()), r.Uvarint()
	}
	if flags&hasValue != 0 {
		s.phase = phase(r.Byte())
		n := r.Byte()
		s.kept = readNumber(&r)
		for ; n > 0 && !r.Bad; n-- {
			s.disarmed = append(s.disarmed, readNumber(&r))
		}
	}
	if flags&hasTimer != 0 {
		var at int64
		for _, to := range []*int64{&s.due, &s.day, &s.repeat, &s.left, &s.last, &at, &s.set.Offset} {
			*to = readVarint(&r)
		}
		s.set.Time = time.UnixMilli(at).UTC()
		s.set.Source, s.set.ID = string(r.Bytes(r.Uvarint())), string(r.Bytes(r.Uvarint()))
		if held := r.Bytes(r.Uvarint()); len(held) > 0 {
			s.held = append([]byte(nil), held...)
		}
	}
	if r.Bad || len(r.Rest) > 0 || s.phase > depleted {
		return State{}, fmt.Errorf("%d bytes: %w", len(b), errState)
	}
	return s, nil
}

func readVarint(r *wire.Reader) int64 {
	n := r.Uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func readNumber(r *wire.Reader) Number {
	sign := int(r.Byte())
	if sign == 0 || r.Bad {
		return Number{}
	}
	rawNum, rawDen := r.Bytes(uint64(r.Byte())), r.Bytes(uint64(r.Byte()))
	currency := string(r.Bytes(uint64(r.Byte())))
	num, small := readWhole(rawNum)
	den, also := readWhole(rawDen)
	if also && den == 0 || sign > 3 {
		r.Bad = true
		return Number{}
	}
	if small && also {
		if sign < 2 {
			num = -num
		}
		return quotient(num, den, currency)
	}
	n, d := new(big.Int).SetBytes(rawNum), new(big.Int).SetBytes(rawDen)
	if d.Sign() == 0 {
		r.Bad = true
		return Number{}
	}
	if sign < 2 {
		n.Neg(n)
	}
	return exact(new(big.Rat).SetFrac(n, d), currency)
}
