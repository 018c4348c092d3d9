package queue

import (
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/table"
)

// Queue decides which delivery of a partition goes next. It is pure: no clock, no I/O; times are the owner's monotonic
// ms.
//
// A delivery that may not be sent yet waits in exactly one state: behind the head of its ordering key, for its due
// time, or for a slot of its endpoint. Only the head of an ordering key leaves the first state.
type Queue struct {
	Endpoints map[uint64]*Endpoint
	numbered  []*Endpoint // by the number that items have
	unused    []int32     // numbers of endpoints
	tenants   map[string]*tenant

	items arena
	// tails finds the last item of each ordering key; pending are the keys with an undelivered settlement that is not committed.
	tails   table.Table
	pending map[uint64]*pendingKey
	// bodies are in memory; bodiless finds the waiting items without one by their offsets.
	bodies   map[int32]body
	bodiless table.Table
	// Bodies is how many bytes of bodies are kept.
	Bodies int64
	// What few items have: a text by which newer ones replace them, a revision that they wait for, unrecorded results.
	collapse   map[int32]uint64
	holds      map[int32]Hold
	unrecorded map[int32]view

	Turns    Ring[*tenant] // tenants with an endpoint that can send
	passed   []*Endpoint   // passed over because their next item has no body
	sleeping sleepers      // endpoints to be looked at again
	due      []int32       // a heap of those that wait for their due time, the earliest on top
	replaced []*Item       // by newer ones, while they waited for their due time
	// Claim takes a slot of the process for an endpoint; one that gets none asks until it is granted. unclaim returns it.
	Claim   func(*Endpoint) bool
	Unclaim func(*Endpoint)
	// born, where set, completes an endpoint that is new.
	Born func(*Endpoint)
	// Drift leads from this clock to the wall clock, in ms.
	Drift int64
	// Outstanding counts unsettled items, taken those that hold a slot.
	Outstanding, Taken int
}

// pendingKey is an ordering key of which undelivered settlements are not committed; nothing of it is sent until they are.
type pendingKey struct {
	count int
	head  int32
}

// Hold is what a held item waits for.
type Hold struct {
	// Since is in ms; For is the revision, 0 for the next one.
	Since, For int64
}

type tenant struct {
	endpoints Ring[*Endpoint]
	listed    bool
}

// defaultConcurrency is the limit of an endpoint until its configuration is known.
const defaultConcurrency = 64

func New() *Queue {
	q := &Queue{
		Endpoints: map[uint64]*Endpoint{}, tenants: map[string]*tenant{}, pending: map[uint64]*pendingKey{},
		bodies: map[int32]body{}, collapse: map[int32]uint64{}, holds: map[int32]Hold{}, unrecorded: map[int32]view{},
		Claim: func(*Endpoint) bool { return true }, Unclaim: func(*Endpoint) {}, Born: func(*Endpoint) {},
	}
	q.items.free = none
	q.tails = table.New(func(n int32) uint64 { return q.items.at(n).Key })
	q.bodiless = table.New(func(n int32) uint64 { return uint64(q.items.at(n).Offset()) })
	return q
}

// Endpoint finds or creates the endpoint of a hash.
func (q *Queue) Endpoint(hash uint64) *Endpoint {
	e, ok := q.Endpoints[hash]
	if !ok {
		e = newEndpoint(hash)
		if n := len(q.unused); n > 0 {
			e.number, q.unused = q.unused[n-1], q.unused[:n-1]
			q.numbered[e.number] = e
		} else {
			e.number, q.numbered = int32(len(q.numbered)), append(q.numbered, e)
		}
		q.Endpoints[hash] = e
		q.Born(e)
	}
	return e
}

// Of is the endpoint of an item.
func (q *Queue) Of(it *Item) *Endpoint { return q.numbered[it.endpoint] }

// Forget forgets an endpoint; false where something of it is in the queue.
func (q *Queue) Forget(e *Endpoint) bool {
	if e.items > 0 || e.Taken > 0 || e.Listed || e.asking {
		return false
	}
	q.Sleep(e, Forever)
	delete(q.Endpoints, e.Hash)
	q.numbered[e.number] = nil
	q.unused = append(q.unused, e.number)
	return true
}

// Identify stores the name and the tenant of an endpoint once they are known.
func (q *Queue) Identify(e *Endpoint, name, of string) {
	if e.Name != "" {
		return
	}
	e.Name, e.Health.Name, e.Share.Tenant = name, name, of
	t, ok := q.tenants[of]
	if !ok {
		t = &tenant{}
		q.tenants[of] = t
	}
	e.tenant = t // where it is listed under the old one, next moves it
}

// Add takes a delivery in, in the order of offsets: one that was just read, or a stored reference; due is when it may
// be sent, first when it was tried first, health.Never where that is not known.
func (q *Queue) Add(r pages.Reference, slot int32, d *delivery.Delivery, due, first, now int64) *Item {
	it := q.items.take()
	it.Key, it.id, it.deadline, it.Attempts, it.Slot = r.OrderingKey, r.ID, r.Deadline, r.Attempts, slot
	it.next, it.link = none, none
	it.offset.set(r.Offset)
	it.due.set(due)
	it.first.set(first)
	it.set(isFresh, slot == pages.NoSlot)
	e := q.Endpoint(r.Endpoint)
	it.endpoint = e.number
	e.items++
	e.Waiting++
	if d != nil {
		q.Identify(e, d.Endpoint, d.Tenant)
		q.bodies[it.self] = body{d: d}
	}
	q.Outstanding++
	if r.Collapse != 0 {
		it.set(hasCollapse, true)
		q.collapse[it.self] = r.Collapse
		q.supersede(it, now)
	}
	if it.Key == 0 {
		q.schedule(it, now)
		return it
	}
	if tail := q.tail(it.Key); tail != none {
		q.items.at(tail).next = it.self
		q.tails.Replace(tail, it.self)
		return it
	}
	q.tails.Add(it.self)
	if p := q.pending[it.Key]; p != nil {
		p.head = it.self
	} else {
		q.schedule(it, now)
	}
	return it
}

// tail is the last item of an ordering key.
func (q *Queue) tail(key uint64) int32 {
	return q.tails.Find(key, func(n int32) bool { return q.items.at(n).Key == key })
}

// Schedule lets an item wait for its due time or for a slot.
func (q *Queue) schedule(it *Item, now int64) {
	if it.Due() > now {
		it.State = UntilDue
		q.pushDue(it)
		return
	}
	it.State = ForSlot
	e := q.Of(it)
	e.push(q, it)
	e.Look = min(e.Look, DeadlineOf(it, q.Drift))
	q.List(e, now)
}

// Free returns the slot of an item.
func (q *Queue) Free(it *Item, now int64) {
	e := q.Of(it)
	e.Taken--
	q.Taken--
	if e.Probe == it {
		e.Probe = nil
	}
	q.List(e, now)
}

// Later lets a taken item wait until due: after a failed attempt, or one that could not be made. It stays the head of
// its ordering key.
func (q *Queue) Later(it *Item, due, now int64) {
	it.due.set(due)
	q.schedule(it, now)
}

// Hold notes that an item waits for a revision; false where it did before.
func (q *Queue) Hold(it *Item, revision, now int64) bool {
	h := Hold{Since: now, For: revision}
	was := it.Held()
	if was {
		h.Since = q.holds[it.self].Since
	}
	it.set(isHeld, true)
	q.holds[it.self] = h
	return !was
}

// Unhold ends that; false where it did not wait for one.
func (q *Queue) Unhold(it *Item) bool {
	if !it.Held() {
		return false
	}
	it.set(isHeld, false)
	delete(q.holds, it.self)
	return true
}

// HoldOf is what a held item waits for.
func (q *Queue) HoldOf(it *Item) Hold { return q.holds[it.self] }

// Settle ends a taken item. After a receipt the next of its ordering key may go at once. After an undelivered
// settlement the next goes once that is committed; where readAhead is set it may be looked at before, and waits by
// awaitCommit if it is to be sent. The item remains until it is released.
func (q *Queue) Settle(it *Item, undelivered, readAhead bool, now int64) {
	it.State = Settled
	q.unsupersede(it)
	q.Of(it).Waiting--
	q.Outstanding--
	if it.Key == 0 {
		return
	}
	next := it.next
	if it.next = none; next == none {
		q.tails.Remove(it.self)
	}
	p := q.pending[it.Key]
	if undelivered {
		if p == nil {
			p = &pendingKey{}
			q.pending[it.Key] = p
		}
		p.count++
	}
	if p != nil {
		p.head = next
	}
	if next != none && (p == nil || readAhead) {
		q.schedule(q.items.at(next), now)
	}
}

// Release ends an item whose settlement is recorded: its number may be used again, unless it is fresh still.
func (q *Queue) Release(it *Item) {
	it.State = Recorded
	if !it.is(isFresh) {
		q.release(it)
	}
}

// Stored notes that an item that was fresh got its place in the pages; true where its settlement was recorded before, and
// it needs none.
func (q *Queue) Stored(it *Item) (settled bool) {
	it.set(isFresh, false)
	if it.State != Recorded {
		return false
	}
	q.release(it)
	return true
}

func (q *Queue) release(it *Item) {
	q.Of(it).items--
	q.Unhold(it)
	delete(q.unrecorded, it.self)
	if it.is(hasCollapse) {
		delete(q.collapse, it.self)
	}
	q.items.release(it)
}

// AwaitCommit puts a taken item, the head of its ordering key, back until the undelivered settlements before it are
// committed.
func (q *Queue) AwaitCommit(it *Item) { it.State = BehindInOrder }

// AwaitsCommit reports that undelivered settlements before it are not committed.
func (q *Queue) AwaitsCommit(it *Item) bool {
	return it.Key != 0 && len(q.pending) > 0 && q.pending[it.Key] != nil
}

// Withhold keeps a taken item out for good: it stays the head of its ordering key and is never scheduled.
func (q *Queue) Withhold(it *Item) { it.State = withheld }

// Committed notes that an undelivered settlement of an ordering key was committed.
func (q *Queue) Committed(key uint64, now int64) {
	p := q.pending[key]
	if p == nil {
		return
	}
	if p.count--; p.count > 0 {
		return
	}
	delete(q.pending, key)
	if p.head == none {
		return
	}
	if head := q.items.at(p.head); head.State == BehindInOrder {
		q.schedule(head, now)
	}
}

// MakeDue makes items that wait for their due time due now, where pick returns true.
func (q *Queue) MakeDue(now int64, pick func(*Item) bool) {
	changed := false
	for _, n := range q.due {
		if it := q.items.at(n); it.Due() > now && pick(it) {
			it.due.set(now)
			changed = true
		}
	}
	if changed {
		q.reorderDue()
		q.Wake(now)
	}
}

// Oldest is the item with the lowest offset that has a place in the pages, nil where there is none.
func (q *Queue) Oldest() (oldest *Item) {
	for n := range q.items.used {
		if it := q.items.at(n); it.State != Recorded && it.Slot != pages.NoSlot && (oldest == nil || it.Offset() < oldest.Offset()) {
			oldest = it
		}
	}
	return oldest
}

// Number is how the pages name an item.
func (it *Item) Number() int32 { return it.self }
