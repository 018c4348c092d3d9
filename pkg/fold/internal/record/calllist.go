package record

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/wire"
)

// An accepted call stays in its subject's record, in a list that nothing else enters: the newest 16 of 24 h of log
// time.
const (
	CallsInRecord = 16
	CallsWindow   = 24 * HourMillis
)

// madeCall is an accepted call: 64 bits of its reference, its content, the log time at which it was accepted in ms,
// what it is worth, and what its fold keeps of the answer.
type AcceptedCall struct {
	ID, Content uint64
	At          int64
	Worth       uint64
	Answer      []byte
}

func CallID(reference event.Identity) uint64 { return binary.BigEndian.Uint64(reference[:8]) }

// Calls are those accepted, oldest first.
type Calls []AcceptedCall

// Find returns an accepted call that is not too old. Those that are stay in the record until something else is written
// to it.
func (c Calls) Find(id uint64, now int64) (AcceptedCall, bool) {
	for i := len(c) - 1; i >= 0 && c[i].At > now-CallsWindow; i-- {
		if c[i].ID == id {
			return c[i], true
		}
	}
	return AcceptedCall{}, false
}

func (c *Calls) Add(a AcceptedCall) {
	c.Expire(a.At)
	if n := len(*c); n > 0 { // those of another partition may be ahead
		a.At = max(a.At, (*c)[n-1].At)
	}
	if n := len(*c) - CallsInRecord + 1; n > 0 {
		*c = (*c)[n:]
	}
	*c = append(*c, a)
}

func (c *Calls) Expire(now int64) {
	for len(*c) > 0 && (*c)[0].At <= now-CallsWindow {
		*c = (*c)[1:]
	}
}

// Join returns the newest of two records.
func (c Calls) Join(other Calls) Calls {
	all := slices.Concat(c, other)
	slices.SortStableFunc(all, func(a, b AcceptedCall) int { return cmp.Compare(a.At, b.At) })
	return all[max(0, len(all)-CallsInRecord):]
}

func (c Calls) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(c)))
	for _, a := range c {
		b = binary.BigEndian.AppendUint64(b, a.ID)
		b = binary.BigEndian.AppendUint64(b, a.Content)
		b = binary.AppendUvarint(b, uint64(a.At))
		b = binary.AppendUvarint(b, a.Worth)
		b = binary.AppendUvarint(b, uint64(len(a.Answer)))
		b = append(b, a.Answer...)
	}
	return b
}

func decodeCalls(r *wire.Reader) Calls {
	n := r.Uvarint()
	if n == 0 || n > CallsInRecord {
		r.Bad = r.Bad || n > 0
		return nil
	}
	c := make(Calls, 0, n)
	for range n {
		raw := r.Bytes(16)
		if r.Bad {
			return nil
		}
		made := AcceptedCall{ID: binary.BigEndian.Uint64(raw), Content: binary.BigEndian.Uint64(raw[8:]), At: int64(r.Uvarint()), Worth: r.Uvarint()}
		if n := r.Uvarint(); n > 0 {
			made.Answer = r.Bytes(n)
		}
		c = append(c, made)
	}
	return c
}
