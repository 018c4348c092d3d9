package window

import (
	"errors"
	"time"
)

// Bounds of one subscription.
const (
	// MaxUnacked is how many events may be sent and not acknowledged.
	MaxUnacked = 1000
	// MaxReady is how many events are read ahead that may be sent at once.
	MaxReady = 2000
	// MaxPending is how many events are neither acknowledged nor passed over: beside the others those that wait for an
	// earlier event of their key. A subscriber that leaves one event unacknowledged for days has that many of its
	// subject to come before everything waits for it.
	MaxPending = 50_000
	// SendAgain is how long an event may be without an ack before it is sent again.
	SendAgain = 30 * time.Second
)

// Start is where a partition is read from.
type Start struct {
	// Next is the first offset that is not done.
	Next int64
	// SeenBelow: events below this offset may have been sent by an earlier stream.
	SeenBelow int64
}

// Event is one that was read and that the subscriber is to get.
type Event struct {
	Offset int64
	// Key is what an ordered window orders by, 0 of an event without order.
	Key uint64
	// Name is by what its sender knows it, for acks by name.
	Name uint64
	// Value is what is sent; nil where it is too much to be kept, and read again.
	Value []byte
}

// Sending is one event that is to be sent now.
type Sending struct {
	Event
	// Partition is an index into the starts.
	Partition int
	// Seq numbers all sendings of the window, from 1.
	Seq uint64
	// Number is how often the event was sent by this window, with this time.
	Number int
	// MaybeSeen: it was sent before, or may have been by an earlier stream.
	MaybeSeen bool
}

// Window is the state of one subscription. It is not safe for concurrent use.
type Window struct {
	ordered bool
	parts   []partition
	// seq is that of the last sending.
	seq uint64
	// ready may be sent, sent wait for their ack, due are those of sent in the order in which they are sent again.
	ready, sent, due list
	pending          int
	bytes            int
	// keys has, where the window is ordered, the entries of each key, the one that is ready or sent first.
	keys map[uint64]*chain
	// names finds what was sent by its name, once an ack asked for one.
	names map[uint64]*entry
	spare *chain
}

type partition struct {
	// next is the first offset that was not read, seenBelow as in Start, reach one more than the highest offset sent.
	next, seenBelow, reach int64
	all, unsent            list
	// sent finds entries that wait for their ack by offset.
	sent map[int64]*entry
}

type entry struct {
	Event
	partition int
	on        [lists]links
	// first and last are the sequence numbers of its first and last sending, 0 before it was sent.
	first, last uint64
	number      int
	due         time.Time
	// behind is the next entry of its key.
	behind *entry
	// sameName is another that was sent and has its name.
	sameName *entry
}

type chain struct{ first, last *entry }

// New is a window over partitions.
func New(starts []Start, ordered bool) *Window {
	w := &Window{ordered: ordered, parts: make([]partition, len(starts)), ready: list{kind: inTurn}, sent: list{kind: inTurn}, due: list{kind: byDue}}
	for i, s := range starts {
		w.parts[i] = partition{
			next: s.Next, seenBelow: s.SeenBelow, reach: s.Next, all: list{kind: inPartition}, unsent: list{kind: unsent},
			sent: map[int64]*entry{},
		}
	}
	if ordered {
		w.keys = map[uint64]*chain{}
	}
	return w
}

// ErrBackwards is of an event below what was read.
var ErrBackwards = errors.New("an event was read twice")

// Add takes an event that was read. Those of a partition come in the order of their offsets.
func (w *Window) Add(p int, e Event) error {
	part := &w.parts[p]
	if e.Offset < part.next {
		return ErrBackwards
	}
	part.next = e.Offset + 1
	n := &entry{Event: e, partition: p}
	part.all.push(n)
	part.unsent.push(n)
	w.pending++
	w.bytes += len(e.Value)
	if !w.ordered || e.Key == 0 {
		w.ready.push(n)
		return nil
	}
	if c := w.keys[e.Key]; c != nil {
		c.last.behind = n
		c.last = n
		return nil
	}
	c := w.spare
	if w.spare = nil; c == nil {
		c = &chain{}
	}
	c.first, c.last = n, n
	w.keys[e.Key] = c
	w.ready.push(n)
	return nil
}

// Pass notes that everything of a partition below next was read: what was not added is not for the subscriber.
func (w *Window) Pass(p int, next int64) { w.parts[p].next = max(w.parts[p].next, next) }

// Next is the first offset of a partition that was not read.
func (w *Window) Next(p int) int64 { return w.parts[p].next }

// Room is how many more events may be added.
func (w *Window) Room() int {
	return max(0, min(MaxReady-w.ready.n, MaxPending-w.pending))
}

// Take gives at most most events to send now, those first that have to be sent again. Written has to follow.
func (w *Window) Take(now time.Time, most int, into []Sending) []Sending {
	for len(into) < most && w.due.first != nil && !w.due.first.due.After(now) {
		into = append(into, w.send(w.due.first, now))
	}
	for len(into) < most && w.ready.first != nil && w.sent.n < MaxUnacked {
		into = append(into, w.send(w.ready.first, now))
	}
	return into
}

func (w *Window) send(e *entry, now time.Time) Sending {
	w.seq++
	part := &w.parts[e.partition]
	if e.first == 0 {
		e.first = w.seq
		w.ready.remove(e)
		part.unsent.remove(e)
		w.sent.push(e)
		part.sent[e.Offset] = e
		part.reach = max(part.reach, e.Offset+1)
		w.nameSent(e)
	} else {
		w.due.remove(e)
	}
	e.last, e.due = w.seq, now.Add(SendAgain)
	e.number++
	w.due.push(e)
	return Sending{
		Event: e.Event, Partition: e.partition, Seq: e.last, Number: e.number,
		MaybeSeen: e.number > 1 || e.Offset < part.seenBelow,
	}
}

// Written notes when the sendings from seq on were handed to the transport: from then on their ack is waited for. A
// subscriber that reads slowly would else get each event twice.
func (w *Window) Written(seq uint64, now time.Time) {
	for e := w.due.last; e != nil && e.last >= seq; e = e.on[byDue].before {
		e.due = now.Add(SendAgain)
	}
}

// Due is when the next event has to be sent again; false where none was sent.
func (w *Window) Due() (time.Time, bool) {
	if w.due.first == nil {
		return time.Time{}, false
	}
	return w.due.first.due, true
}

// Seq is the number of the last sending.
func (w *Window) Seq() uint64 { return w.seq }

// Unacked is how many events were sent and not acknowledged, Held how many were read and not sent, Bytes what the values
// of both take.
func (w *Window) Unacked() int { return w.sent.n }

// Held is documented at Unacked.
func (w *Window) Held() int { return w.pending - w.sent.n }

// Bytes is documented at Unacked.
func (w *Window) Bytes() int { return w.bytes }

// Sendable reports that an event may be sent at once, beside those that are due.
func (w *Window) Sendable() bool { return w.ready.first != nil && w.sent.n < MaxUnacked }

// Position is the offset of a partition below which everything is done: acknowledged or not for the subscriber.
func (w *Window) Position(p int) int64 {
	if part := &w.parts[p]; part.all.first != nil {
		return part.all.first.Offset
	}
	return w.parts[p].next
}

// Unsent is the first offset of a partition that was not sent.
func (w *Window) Unsent(p int) int64 {
	if part := &w.parts[p]; part.unsent.first != nil {
		return part.unsent.first.Offset
	}
	return w.parts[p].next
}

// Reach is an offset of a partition at and above which no event was ever sent, by this window or an earlier stream.
func (w *Window) Reach(p int) int64 { return max(w.parts[p].reach, w.parts[p].seenBelow) }
