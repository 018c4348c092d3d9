package safeguard

import (
	"encoding/binary"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// recordFormat is the first byte of the encoding: numbers are varints; times are ms, of periods seconds, which they
// begin at; an end is told by its distance. Whatever is usual takes no room: options that share a period say so, and
// an amount of whole cents is counted in them.
const recordFormat = 3

// The second byte has the life in its lowest two bits, of the mark of a terminated subscriber flagPending, and of an active
// one the others.
const (
	lifeBits       byte = 3
	flagPending    byte = 1 << 2 // usage waits for the next
	flagSuspended  byte = 1 << 2
	flagMore       byte = 1 << 3 // a byte of what is less usual follows, with the bits below
	flagFirst      byte = 1 << 4 // of the options, in their order
	flagLifeEvents byte = 1 << 7 // the last event of its life is not the activation
)

const (
	subscriberFormer byte = 1 << iota
	subscriberRefunds
	subscriberLeaving
	subscriberEnd
)

// more is the unusual of a subscriber.
func (s *subscriber) more() (m byte) {
	if len(s.former) > 0 {
		m |= subscriberFormer
	}
	if len(s.refunds) > 0 {
		m |= subscriberRefunds
	}
	if s.leaving != nil {
		m |= subscriberLeaving
	}
	return m
}

func (s *subscriber) append(b []byte) []byte {
	if s.life != alive {
		return s.appendMark(b)
	}
	flags := byte(alive)
	if s.suspended {
		flags |= flagSuspended
	}
	more := s.more()
	if more != 0 {
		flags |= flagMore
	}
	if !s.latest.Equal(s.activated) {
		flags |= flagLifeEvents
	}
	for o := range s.options {
		if s.options[o].state != spend.Unset {
			flags |= flagFirst << o
		}
	}
	b = append(b, recordFormat, flags)
	b = appendMs(b, s.activated)
	if flags&flagLifeEvents != 0 {
		b = appendMs(b, s.latest)
	}
	b = appendText(b, s.class)
	b = append(b, byte(len(s.imsi)))
	if s.imsi != "" {
		digits, err := strconv.ParseUint(s.imsi, 10, 64)
		if err != nil {
			panic("an imsi that is no number: " + err.Error()) // its event was refused
		}
		b = binary.AppendUvarint(b, digits)
	}
	b = appendText(b, s.language)
	b = binary.AppendUvarint(b, uint64(s.revision))
	if more != 0 {
		b = append(b, more)
	}
	if more&subscriberFormer != 0 {
		b = appendMs(b, s.since)
		b = binary.AppendUvarint(b, uint64(len(s.former)))
		for _, f := range s.former {
			b = appendText(b, f.msisdn)
			b = appendMs(b, f.until)
		}
	}
	if more&subscriberRefunds != 0 {
		b = binary.AppendUvarint(b, uint64(len(s.refunds)))
		for _, r := range s.refunds {
			b = binary.BigEndian.AppendUint64(b, r.reference)
			b = appendAmount(b, r.left)
			b = binary.AppendUvarint(b, uint64(r.hour))
		}
	}
	if l := s.leaving; l != nil {
		b = append(appendText(b, l.to), l.transfer[:]...)
		b = appendParked(l.move.append(b), l.held)
	}
	var first *option
	for o := range s.options {
		if d := &s.options[o]; d.state != spend.Unset {
			b = d.append(b, first)
			if first == nil {
				first = d
			}
		}
	}
	return b
}

// appendMark writes what is no active subscriber's.
func (s *subscriber) appendMark(b []byte) []byte {
	flags := byte(s.life)
	if s.life == terminated && s.pending() {
		flags |= flagPending
	}
	b = append(b, recordFormat, flags)
	if s.life != awaited {
		b = appendMs(b, s.latest)
		b = appendMs(b, s.until)
	}
	if s.life == moved {
		b = appendText(b, s.movedTo)
	}
	if s.pending() {
		b = appendMs(b, s.held)
		b = appendParked(b, s.parked)
	}
	return b
}

// The first byte of an option has its state in the lowest three bits, and these.
const (
	stateBits     byte = 7
	optionBlocked byte = 1 << 3
	optionShares  byte = 1 << 4 // renewal day, currency and period are those of the first option
	optionLevel   byte = 1 << 5 // the peak is what is spent
	optionLimited byte = 1 << 6
	optionMore    byte = 1 << 7 // what is less usual follows, as a number of these bits
)

const (
	moreCapped uint64 = 1 << iota
	moreOwn
	moreNext
	moreOwnDay
	moreDayChanged
	moreNoticed
	moreBlockInactive
	moreWithdrawn
	moreThresholds
	moreLate
	moreEnd
)

// more is the unusual of an option.
func (o *option) more() (m uint64) {
	add := func(set bool, bit uint64) {
		if set {
			m |= bit
		}
	}
	add(o.perPayment != spend.Max, moreCapped)
	add(o.own, moreOwn)
	add(o.hasNext, moreNext)
	add(o.ownDay, moreOwnDay)
	add(o.dayChanged, moreDayChanged)
	add(o.noticed, moreNoticed)
	add(o.blockInactive, moreBlockInactive)
	add(o.withdrawn, moreWithdrawn)
	add(len(o.thresholds) > 0, moreThresholds)
	add(len(o.late) > 0, moreLate)
	return m
}

// shares says whether the option has what first has of a period.
func (o *option) shares(first *option) bool {
	return first != nil && o.renewalDay == first.renewalDay && o.currency == first.currency &&
		o.period.Start.Equal(first.period.Start) && o.period.End.Equal(first.period.End)
}

func (o *option) append(b []byte, first *option) []byte {
	head, more := byte(o.state), o.more()
	shares := o.shares(first)
	if o.blocked {
		head |= optionBlocked
	}
	if shares {
		head |= optionShares
	}
	if o.count.Peak == o.count.Spent {
		head |= optionLevel
	}
	if o.limited {
		head |= optionLimited
	}
	if more != 0 {
		head |= optionMore
	}
	b = append(b, head)
	if more != 0 {
		b = binary.AppendUvarint(b, more)
	}
	if !shares {
		b = append(b, byte(o.renewalDay))
		b = append(b, o.currency...)
		b = appendPeriod(b, o.period)
	}
	b = appendAmount(b, o.count.Spent)
	if o.count.Peak != o.count.Spent {
		b = appendAmount(b, o.count.Peak)
	}
	if o.limited {
		b = appendAmount(b, o.limit)
	}
	if o.hasNext {
		b = appendAmount(b, o.next)
	}
	if o.perPayment != spend.Max {
		b = appendAmount(b, o.perPayment)
	}
	if len(o.thresholds) > 0 {
		b = binary.AppendUvarint(b, uint64(len(o.thresholds)))
		for _, t := range o.thresholds {
			b = binary.AppendUvarint(b, uint64(t.Percent))
			if t.Percent == 0 {
				b = appendAmount(b, t.Amount)
			}
		}
	}
	if len(o.late) > 0 {
		b = binary.AppendUvarint(b, uint64(len(o.late)))
		for _, l := range o.late {
			b = appendPeriod(b, l.period)
			b = binary.AppendVarint(b, int64(l.sum))
		}
	}
	return b
}

// encodeContact is what is kept beside a record; nothing of one that says nothing.
func encodeContact(c *eventv1.Contact) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		panic("encode contact: " + err.Error()) // it was decoded from valid bytes
	}
	return b
}

func decodeContact(b []byte) *eventv1.Contact {
	if len(b) == 0 {
		return nil
	}
	c := &eventv1.Contact{}
	if err := proto.Unmarshal(b, c); err != nil {
		panic("what is kept beside a record is no contact: " + err.Error()) // we wrote it
	}
	return c
}

func appendParked(b []byte, all []parked) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for i := range all {
		b = all[i].append(b)
	}
	return b
}

func (p *parked) append(b []byte) []byte {
	b = append(b, p.identity[:]...)
	b = binary.BigEndian.AppendUint64(b, p.content)
	b = binary.AppendUvarint(b, uint64(p.offset))
	b = appendMs(b, p.at)
	b = appendText(b, p.trace)
	return appendText(b, p.value)
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendMs(b []byte, t time.Time) []byte { return binary.AppendVarint(b, t.UnixMilli()) }

func appendPeriod(b []byte, p spend.Period) []byte {
	b = binary.AppendVarint(b, p.Start.Unix())
	return binary.AppendVarint(b, p.End.Unix()-p.Start.Unix())
}

// cent is what limits and prices nearly always are whole numbers of.
const cent = spend.Unit / 100

// appendAmount writes one that is not negative: of whole cents their number, else all of it; the lowest bit tells.
func appendAmount(b []byte, a spend.Amount) []byte {
	if a%cent == 0 {
		return binary.AppendUvarint(b, uint64(a/cent)<<1|1)
	}
	return binary.AppendUvarint(b, uint64(a)<<1)
}
