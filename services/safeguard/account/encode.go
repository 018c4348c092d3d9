package account

import (
	"encoding/binary"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// recordFormat is the first byte of the encoding: numbers are varints; times are ms, of periods seconds, which they
// begin at; an end is the distance from it. What is usual takes no room: options that share a period have a flag for it, and
// an amount of whole cents is counted in them.
const recordFormat = 3

// The second byte has the life in its lowest two bits, of the tombstone of a terminated subscriber flagHeld, and of an active
// one the others.
const (
	lifeBits       byte = 3
	flagHeld       byte = 1 << 2 // usage is held for the next subscriber
	flagSuspended  byte = 1 << 2
	flagMore       byte = 1 << 3 // a byte of what is less usual follows, with the bits below
	flagFirst      byte = 1 << 4 // of the options, in their order
	flagLifeEvents byte = 1 << 7 // the last event of its life is not the activation
)

const (
	subscriberPrevious byte = 1 << iota
	subscriberRefunds
	subscriberTransferOut
	subscriberEnd
)

// more is the unusual of a subscriber.
func (s *Subscriber) more() (m byte) {
	if len(s.previous) > 0 {
		m |= subscriberPrevious
	}
	if len(s.refunds) > 0 {
		m |= subscriberRefunds
	}
	if s.transferOut != nil {
		m |= subscriberTransferOut
	}
	return m
}

// Encode appends the bytes of the record.
func (s *Subscriber) Encode(b []byte) []byte {
	if s.Life != LifeActive {
		return s.encodeTombstone(b)
	}
	flags := byte(LifeActive)
	if s.Suspended {
		flags |= flagSuspended
	}
	more := s.more()
	if more != 0 {
		flags |= flagMore
	}
	if !s.latest.Equal(s.Activated) {
		flags |= flagLifeEvents
	}
	for o := range s.Options {
		if s.Options[o].State != spend.Unset {
			flags |= flagFirst << o
		}
	}
	b = append(b, recordFormat, flags)
	b = appendMs(b, s.Activated)
	if flags&flagLifeEvents != 0 {
		b = appendMs(b, s.latest)
	}
	b = appendText(b, s.Class)
	b = append(b, byte(len(s.IMSI)))
	if s.IMSI != "" {
		digits, err := strconv.ParseUint(s.IMSI, 10, 64)
		if err != nil {
			panic("an imsi that is no number: " + err.Error()) // its event was refused
		}
		b = binary.AppendUvarint(b, digits)
	}
	b = appendText(b, s.Language)
	b = binary.AppendUvarint(b, uint64(s.Revision))
	if more != 0 {
		b = append(b, more)
	}
	if more&subscriberPrevious != 0 {
		b = appendMs(b, s.since)
		b = binary.AppendUvarint(b, uint64(len(s.previous)))
		for _, f := range s.previous {
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
	if l := s.transferOut; l != nil {
		b = append(appendText(b, l.to), l.transfer[:]...)
		b = appendHeld(l.move.encode(b), l.held)
	}
	var first *Option
	for o := range s.Options {
		if d := &s.Options[o]; d.State != spend.Unset {
			b = d.encode(b, first)
			if first == nil {
				first = d
			}
		}
	}
	return b
}

// encodeTombstone writes what is no active subscriber's.
func (s *Subscriber) encodeTombstone(b []byte) []byte {
	flags := byte(s.Life)
	if s.Life == LifeTerminated && s.Pending() {
		flags |= flagHeld
	}
	b = append(b, recordFormat, flags)
	if s.Life != LifePending {
		b = appendMs(b, s.latest)
		b = appendMs(b, s.until)
	}
	if s.Life == LifeMoved {
		b = appendText(b, s.movedTo)
	}
	if s.Pending() {
		b = appendMs(b, s.heldUntil)
		b = appendHeld(b, s.held)
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
func (o *Option) more() (m uint64) {
	add := func(set bool, bit uint64) {
		if set {
			m |= bit
		}
	}
	add(o.PerPayment != spend.Max, moreCapped)
	add(o.OwnLimit, moreOwn)
	add(o.HasNext, moreNext)
	add(o.OwnDay, moreOwnDay)
	add(o.DayChanged, moreDayChanged)
	add(o.Noticed, moreNoticed)
	add(o.BlockInactive, moreBlockInactive)
	add(o.Withdrawn, moreWithdrawn)
	add(len(o.Thresholds) > 0, moreThresholds)
	add(len(o.late) > 0, moreLate)
	return m
}

// shares is whether the option has what first has of a period.
func (o *Option) shares(first *Option) bool {
	return first != nil && o.RenewalDay == first.RenewalDay && o.Currency == first.Currency &&
		o.Period.Start.Equal(first.Period.Start) && o.Period.End.Equal(first.Period.End)
}

func (o *Option) encode(b []byte, first *Option) []byte {
	head, more := byte(o.State), o.more()
	shares := o.shares(first)
	if o.Blocked {
		head |= optionBlocked
	}
	if shares {
		head |= optionShares
	}
	if o.Count.Peak == o.Count.Spent {
		head |= optionLevel
	}
	if o.Limited {
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
		b = append(b, byte(o.RenewalDay))
		b = append(b, o.Currency...)
		b = appendPeriod(b, o.Period)
	}
	b = appendAmount(b, o.Count.Spent)
	if o.Count.Peak != o.Count.Spent {
		b = appendAmount(b, o.Count.Peak)
	}
	if o.Limited {
		b = appendAmount(b, o.Limit)
	}
	if o.HasNext {
		b = appendAmount(b, o.Next)
	}
	if o.PerPayment != spend.Max {
		b = appendAmount(b, o.PerPayment)
	}
	if len(o.Thresholds) > 0 {
		b = binary.AppendUvarint(b, uint64(len(o.Thresholds)))
		for _, t := range o.Thresholds {
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

// encodeContact is the side record of a subscriber; of an empty contact it is empty.
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

func appendHeld(b []byte, all []heldEvent) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for i := range all {
		b = all[i].encode(b)
	}
	return b
}

func (p *heldEvent) encode(b []byte) []byte {
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

// appendAmount writes one that is not negative: of whole cents their number, else all of it; the lowest bit distinguishes them.
func appendAmount(b []byte, a spend.Amount) []byte {
	if a%cent == 0 {
		return binary.AppendUvarint(b, uint64(a/cent)<<1|1)
	}
	return binary.AppendUvarint(b, uint64(a)<<1)
}
