package account

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/wire"
)

var errRecord = errors.New("record of a subscriber is cut short, or more than it should be")

// Decode reads what Encode wrote, and nothing else: bytes that it would not have written are an error.
func Decode(raw []byte) (Subscriber, error) {
	var s Subscriber
	if len(raw) < 2 {
		return s, errRecord
	}
	if raw[0] != recordFormat {
		return s, &state.FormatError{What: "a subscriber's record", Has: raw[0], Knows: recordFormat}
	}
	flags := raw[1]
	r := decoder{wire.Reader{Rest: raw[2:]}}
	if s.Life = Life(flags & lifeBits); s.Life != LifeActive {
		pending := s.Life == LifePending || s.Life == LifeTerminated && flags&flagHeld != 0
		if flags&^flagHeld != byte(s.Life) || flags&flagHeld != 0 && s.Life != LifeTerminated {
			return s, errRecord
		}
		r.tombstone(&s, pending)
		return s, r.end()
	}
	s.Suspended = flags&flagSuspended != 0
	s.Activated = r.ms()
	s.latest = s.Activated
	if flags&flagLifeEvents != 0 {
		s.latest = r.ms()
		r.Bad = r.Bad || s.latest.Equal(s.Activated)
	}
	s.Class, s.IMSI, s.Language = r.texts()
	s.Revision = int64(r.Uvarint())
	if flags&flagMore != 0 {
		r.more(&s)
	}
	var first *Option
	for o := range s.Options {
		if flags&(flagFirst<<o) == 0 {
			continue
		}
		d := &s.Options[o]
		r.option(d, first)
		if first == nil {
			first = d
		}
	}
	return s, r.end()
}

// more is what is less usual of a subscriber.
func (r *decoder) more(s *Subscriber) {
	more := r.Byte()
	if more == 0 || more >= subscriberEnd {
		r.Fail()
	}
	if more&subscriberPrevious != 0 {
		s.since = r.ms()
		s.previous = make([]previousNumber, r.some())
		for i := range s.previous {
			s.previous[i] = previousNumber{msisdn: r.Text(), until: r.ms()}
		}
	}
	if more&subscriberRefunds != 0 {
		s.refunds = make([]refund, r.some())
		for i := range s.refunds {
			reference := r.Bytes(8)
			if r.Bad {
				return
			}
			s.refunds[i] = refund{binary.BigEndian.Uint64(reference), r.amount(), int64(r.Uvarint())}
		}
	}
	if more&subscriberTransferOut != 0 {
		l := &transferOut{to: r.Text()}
		copy(l.transfer[:], r.Bytes(uint64(len(l.transfer))))
		if move := r.heldEvents(1); len(move) == 1 {
			l.move = move[0]
		}
		l.held = r.heldEvents(r.Uvarint())
		s.transferOut = l
	}
}

// tombstone is what a record has that is no active subscriber's.
func (r *decoder) tombstone(s *Subscriber, pending bool) {
	if s.Life != LifePending {
		s.latest, s.until = r.ms(), r.ms()
	}
	if s.Life == LifeMoved {
		s.movedTo = r.Text()
	}
	if pending {
		s.heldUntil = r.ms()
		s.held = r.heldEvents(r.some())
	}
}

func (r *decoder) heldEvents(n uint64) []heldEvent {
	if n == 0 || n > uint64(len(r.Rest)) {
		r.Bad = r.Bad || n > 0
		return nil
	}
	all := make([]heldEvent, n)
	for i := range all {
		p := &all[i]
		copy(p.identity[:], r.Bytes(uint64(len(p.identity))))
		if b := r.Bytes(8); !r.Bad {
			p.content = binary.BigEndian.Uint64(b)
		}
		p.offset = int64(r.Uvarint())
		p.at = r.ms()
		p.trace, p.value = r.Text(), r.Text()
		if r.Bad {
			return nil
		}
	}
	return all
}

// option reads one; first is the one before it that it may share with.
func (r *decoder) option(o *Option, first *Option) {
	head := r.Byte()
	var more uint64
	if head&optionMore != 0 {
		if more = r.Uvarint(); more == 0 || more >= moreEnd {
			r.Fail()
		}
	}
	o.State, o.Blocked, o.Limited = spend.State(head&stateBits), head&optionBlocked != 0, head&optionLimited != 0
	o.OwnLimit, o.HasNext = more&moreOwn != 0, more&moreNext != 0
	o.OwnDay, o.DayChanged, o.Noticed = more&moreOwnDay != 0, more&moreDayChanged != 0, more&moreNoticed != 0
	o.BlockInactive, o.Withdrawn = more&moreBlockInactive != 0, more&moreWithdrawn != 0
	if head&optionShares != 0 {
		if first == nil {
			r.Fail()
			return
		}
		o.RenewalDay, o.Currency, o.Period = first.RenewalDay, first.Currency, first.Period
	} else {
		o.RenewalDay = spend.RenewalDay(r.Byte())
		o.Currency = currency(r.Bytes(3))
		o.Period = r.period()
	}
	o.Count.Spent = r.amount()
	if o.Count.Peak = o.Count.Spent; head&optionLevel == 0 {
		if o.Count.Peak = r.amount(); o.Count.Peak == o.Count.Spent {
			r.Fail()
		}
	}
	if o.Limited {
		o.Limit = r.amount()
	}
	if o.HasNext {
		o.Next = r.amount()
	}
	if o.PerPayment = spend.Max; more&moreCapped != 0 {
		if o.PerPayment = r.amount(); o.PerPayment == spend.Max {
			r.Fail()
		}
	}
	if more&moreThresholds != 0 {
		r.thresholds(o)
	}
	if more&moreLate != 0 {
		o.late = make([]late, r.some())
		for i := range o.late {
			o.late[i] = late{period: r.period(), sum: spend.Amount(r.Varint())}
		}
	}
	if o.State == spend.Unset || o.State > spend.PermanentlyInactive || o.RenewalDay < 1 || o.RenewalDay > 28 ||
		!spend.IsCurrency(o.Currency) || head&optionShares == 0 && o.shares(first) {
		r.Fail()
	}
}

func (r *decoder) thresholds(o *Option) {
	o.Thresholds = make([]spend.Threshold, r.some())
	for i := range o.Thresholds {
		t := &o.Thresholds[i]
		if t.Percent = int64(r.Uvarint()); t.Percent == 0 {
			t.Amount = r.amount()
		}
		if t.Validate() != nil {
			r.Fail()
		}
	}
}

// decoder reads the values of a record.
type decoder struct{ wire.Reader }

// some is how many of something follow: at least one.
func (r *decoder) some() uint64 {
	n := r.Count()
	if n == 0 {
		r.Fail()
	}
	return n
}

func (r *decoder) end() error {
	if !r.Done() {
		return errRecord
	}
	return nil
}

// farthest bounds every time, in seconds either way: what is behind is no time of an event, and might wrap.
const farthest = 1 << 40

func (r *decoder) ms() time.Time {
	ms := r.Varint()
	if ms < -farthest*1000 || ms > farthest*1000 {
		r.Fail()
	}
	return time.UnixMilli(ms).UTC()
}

func (r *decoder) period() spend.Period {
	start, length := r.Varint(), r.Varint()
	if start < -farthest || start > farthest || length < 0 || length > farthest {
		r.Fail()
		return spend.Period{}
	}
	return spend.Period{Start: time.Unix(start, 0).UTC(), End: time.Unix(start+length, 0).UTC()}
}

// texts are class, IMSI and language, in one piece of memory.
func (r *decoder) texts() (class, imsi, language string) {
	var scratch [64]byte
	b := append(scratch[:0], r.Bytes(r.Uvarint())...)
	n := len(b)
	digits := int(r.Byte())
	if digits > maxIMSI {
		r.Fail()
		return "", "", ""
	}
	if digits > 0 {
		b = appendDigits(b, r.Uvarint(), digits)
		r.Bad = r.Bad || len(b) != n+digits
	}
	m := len(b)
	b = append(b, r.Bytes(r.Uvarint())...)
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

// amount is one that is not negative.
func (r *decoder) amount() spend.Amount {
	v := r.Uvarint()
	a := v >> 1
	if v&1 == 0 {
		if spend.Amount(a)%cent == 0 { // it would have been written in cents
			r.Fail()
		}
		return spend.Amount(a)
	}
	if a > uint64(spend.Max/cent) {
		r.Fail()
		return 0
	}
	return spend.Amount(a) * cent
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
