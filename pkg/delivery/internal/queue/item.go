package queue

import (
	"encoding/binary"
	"math"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
)

// Item is one outstanding delivery. A partition has up to 100,000, so it is a plain value of 56 bytes without a pointer, which
// the collector does not look at. Items refer to each other by number; a pointer to one holds until it is released.
type Item struct {
	// Key is the hash of its ordering key, 0 for none.
	Key uint64
	// id and deadline are those of its reference.
	id, deadline uint32
	self         int32
	endpoint     int32
	// next is the item after it in its ordering key; link that after it among the ready of its endpoint, or among the free.
	next, link int32
	// Slot is its place in the pages, or pages.NoSlot.
	Slot        int32
	offset, due int48
	first       int40
	// Attempts includes results that are not recorded yet.
	Attempts uint8
	State    itemState
	flags    uint8
}

// itemState is what an item waits for.
type itemState uint8

const (
	BehindInOrder itemState = iota
	UntilDue
	ForSlot
	Taken // holds a slot: its body is being fetched, or it is in flight
	Settled
	// Recorded: its settlement is in the log, or in the commit under way.
	Recorded
	withheld // its body is lost; an operator decides
)

// Marks of an item.
const (
	isFresh     = 1 << iota // read since the last commit
	isHeld                  // in Queue.holds
	isBodiless              // in Queue.bodiless
	hasCollapse             // in Queue.collapse
)

func (it *Item) is(flag uint8) bool { return it.flags&flag != 0 }

func (it *Item) set(flag uint8, on bool) {
	if it.flags &^= flag; on {
		it.flags |= flag
	}
}

// Offset is that of its record.
func (it *Item) Offset() int64 { return it.offset.get() }

// Due is when it may be sent, Forever where that is not known; it includes results that are not recorded yet.
func (it *Item) Due() int64 {
	if due := it.due.get(); due < most48 {
		return due
	}
	return Forever
}

// First is when its first attempt began, health.Never before that, and where that is not known.
func (it *Item) First() int64 {
	if first := it.first.get(); first > least40 {
		return first
	}
	return health.Never
}

// SetFirst notes when its first attempt began.
func (it *Item) SetFirst(at int64) { it.first.set(at) }

// Held: it waits for another revision of the configuration.
func (it *Item) Held() bool { return it.is(isHeld) }

// int48 and int40 are signed numbers in fewer bytes than Go's: times in ms of some thousand and of 17 years.
type (
	int48 [6]byte
	int40 [5]byte
)

const (
	most48  = 1<<47 - 1
	least40 = -1 << 39
)

func (n *int48) get() int64 {
	return int64(uint64(binary.LittleEndian.Uint32(n[:]))<<16|uint64(binary.LittleEndian.Uint16(n[4:]))<<48) >> 16
}

func (n *int48) set(v int64) {
	v = min(max(v, -most48), most48)
	binary.LittleEndian.PutUint32(n[:], uint32(v))
	binary.LittleEndian.PutUint16(n[4:], uint16(v>>32))
}

func (n *int40) get() int64 {
	return int64(uint64(binary.LittleEndian.Uint32(n[:]))<<24|uint64(n[4])<<56) >> 24
}

func (n *int40) set(v int64) {
	v = min(max(v, least40), -least40-1)
	binary.LittleEndian.PutUint32(n[:], uint32(v))
	n[4] = byte(v >> 32)
}

// none is the number of no item.
const none int32 = -1

// arena holds the items, in pieces that never move.
type arena struct {
	pieces []*[pieceItems]Item
	free   int32 // the first of those that can be used again
	used   int32 // were ever used
}

// pieceItems fill a size of the allocator wholly: 28,672 bytes.
const pieceItems = 512

func (a *arena) at(n int32) *Item { return &a.pieces[n/pieceItems][n%pieceItems] }

func (a *arena) take() *Item {
	n := a.free
	if n != none {
		it := a.at(n)
		a.free = it.link
		*it = Item{self: n}
		return it
	}
	n = a.used
	if a.used++; int(n/pieceItems) == len(a.pieces) {
		a.pieces = append(a.pieces, new([pieceItems]Item))
	}
	it := a.at(n)
	it.self = n
	return it
}

func (a *arena) release(it *Item) {
	*it = Item{self: it.self, link: a.free, State: Recorded}
	a.free = it.self
}

// view is an item as its reference in the store has it, while results of it are not recorded.
type view struct {
	attempts   uint8
	due, first int64
	results    int // that are not recorded
}

// Unrecorded keeps what the store has of an item before a result changes it.
func (q *Queue) Unrecorded(it *Item) {
	v, ok := q.unrecorded[it.self]
	if !ok {
		v = view{attempts: it.Attempts, due: it.Due(), first: it.First()}
	}
	v.results++
	q.unrecorded[it.self] = v
}

// Record takes the oldest result of an item that is not recorded into its reference: so many attempts, due at a time.
func (q *Queue) Record(it *Item, attempts uint8, due int64) {
	v := q.unrecorded[it.self]
	v.attempts, v.due, v.first = attempts, due, it.First()
	if v.results--; v.results <= 0 {
		delete(q.unrecorded, it.self)
		return
	}
	q.unrecorded[it.self] = v
}

// Reference is what the store holds of an item, or will hold after the next commit: nothing of results that are not
// recorded. Now leads to the wall clock by drift.
func (q *Queue) Reference(number int32, drift int64) pages.Reference {
	it := q.items.at(number)
	v, ok := q.unrecorded[number]
	if !ok {
		v = view{attempts: it.Attempts, due: it.Due(), first: it.First()}
	}
	r := pages.Reference{
		Offset: it.Offset(), Endpoint: q.numbered[it.endpoint].Hash, OrderingKey: it.Key, ID: it.id, Deadline: it.deadline,
		Attempts: v.attempts,
	}
	if v.due < Forever { // else it is due once its configuration is known
		r.Due = max(0, v.due+drift)
	}
	if v.attempts > 0 && v.first != health.Never {
		r.First = uint32(min(max(1, (v.first+drift+999)/1000), math.MaxUint32))
	}
	if it.is(hasCollapse) {
		r.Collapse = q.collapse[number]
	}
	return r
}
