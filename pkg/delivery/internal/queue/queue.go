package queue

import (
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
)

// Queue decides which delivery of a partition goes next. It is pure: no clock, no I/O; times are the owner's monotonic
// ms.
//
// A delivery that may not be sent yet waits in exactly one state: behind the head of its ordering key, for its due
// time, or for a slot of its endpoint. Only the head of an ordering key leaves the first state.
type Queue struct {
	Endpoints    map[uint64]*Endpoint
	tenants      map[string]*tenant
	orderingKeys map[uint64]*OrderingKey
	Turns        Ring[*tenant] // tenants with an endpoint that can send
	passed       []*Endpoint   // passed over because their next item has no body
	sleeping     sleepers      // endpoints to be looked at again
	due          dueHeap
	replaced     []*Item // by newer ones, while they waited for their due time
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

// Item is one outstanding delivery.
type Item struct {
	// Ref is what the store holds of it, or will hold after the next commit; slot is its place in the pages, or pages.NoSlot.
	Ref  pages.Reference
	Slot int32
	// Due and attempts include results that are not recorded yet; the due time of ref is one of the wall clock.
	Due      int64
	Attempts uint8
	State    itemState
	// recorded: its settlement is in the log, or in the commit under way.
	Recorded bool
	// Since is when its first attempt began, health.Never where that is not known.
	Since       int64
	OrderingKey *OrderingKey
	behind      *Item // the next of its ordering key
	Endpoint    *Endpoint
	// Delivery is nil where the body must be fetched again.
	Delivery *delivery.Delivery
	// Kept is the size of its body in bytes while the body waits in memory.
	Kept int64
	// Held: the revision HeldFor of the configuration is not known yet, since HeldSince in ms; 0 is the next one.
	Held      bool
	HeldSince int64
	HeldFor   int64
}

// itemState is what an item waits for.
type itemState uint8

const (
	BehindInOrder itemState = iota
	UntilDue
	ForSlot
	Taken // holds a slot: its body is being fetched, or it is in flight
	Settled
	withheld // its body is lost; an operator decides
)

// OrderingKey is the queue of an endpoint's deliveries that are sent one after the other.
type OrderingKey struct {
	key        uint64
	head, tail *Item
	// UndeliveredPending counts undelivered settlements that are not committed; nothing of the key is sent while it is
	// above 0.
	UndeliveredPending int
}

type tenant struct {
	endpoints Ring[*Endpoint]
	listed    bool
}

// defaultConcurrency is the limit of an endpoint until its configuration is known.
const defaultConcurrency = 64

func New() *Queue {
	return &Queue{
		Endpoints: map[uint64]*Endpoint{}, tenants: map[string]*tenant{}, orderingKeys: map[uint64]*OrderingKey{},
		Claim: func(*Endpoint) bool { return true }, Unclaim: func(*Endpoint) {}, Born: func(*Endpoint) {},
	}
}

// Endpoint finds or creates the endpoint of a hash.
func (q *Queue) Endpoint(hash uint64) *Endpoint {
	e, ok := q.Endpoints[hash]
	if !ok {
		e = newEndpoint(hash)
		q.Endpoints[hash] = e
		q.Born(e)
	}
	return e
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
// be sent.
func (q *Queue) Add(r pages.Reference, slot int32, d *delivery.Delivery, due, now int64) *Item {
	it := &Item{Ref: r, Slot: slot, Due: due, Attempts: r.Attempts, Delivery: d, Since: health.Never}
	it.Endpoint = q.Endpoint(r.Endpoint)
	it.Endpoint.Waiting++
	if d != nil {
		q.Identify(it.Endpoint, d.Endpoint, d.Tenant)
	}
	q.Outstanding++
	q.supersede(it, now)
	if r.OrderingKey == 0 {
		q.schedule(it, now)
		return it
	}
	l, ok := q.orderingKeys[r.OrderingKey]
	if !ok {
		l = &OrderingKey{key: r.OrderingKey}
		q.orderingKeys[r.OrderingKey] = l
	}
	it.OrderingKey = l
	if l.head == nil {
		l.head, l.tail = it, it
		if l.UndeliveredPending == 0 {
			q.schedule(it, now)
		}
		return it
	}
	l.tail.behind, l.tail = it, it
	return it
}

// Schedule lets an item wait for its due time or for a slot.
func (q *Queue) schedule(it *Item, now int64) {
	if it.Due > now {
		it.State = UntilDue
		q.due.push(it)
		return
	}
	it.State = ForSlot
	e := it.Endpoint
	e.ready.Push(it)
	e.Look = min(e.Look, DeadlineOf(it, q.Drift))
	q.List(e, now)
}

// Free returns the slot of an item.
func (q *Queue) Free(it *Item, now int64) {
	e := it.Endpoint
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
	it.Due = due
	q.schedule(it, now)
}

// Settle ends a taken item. After a receipt the next of its ordering key may go at once. After an undelivered
// settlement the next goes once that is committed; where readAhead is set it may be looked at before, and waits by
// awaitCommit if it is to be sent.
func (q *Queue) Settle(it *Item, undelivered, readAhead bool, now int64) {
	it.State = Settled
	it.Delivery = nil
	it.Endpoint.Waiting--
	q.Outstanding--
	l := it.OrderingKey
	if l == nil {
		return
	}
	l.head = it.behind
	it.behind = nil
	if l.head == nil {
		l.tail = nil
	}
	if undelivered {
		l.UndeliveredPending++
	}
	if l.head != nil && (l.UndeliveredPending == 0 || readAhead) {
		q.schedule(l.head, now)
	}
	q.drop(l)
}

// AwaitCommit puts a taken item, the head of its ordering key, back until the undelivered settlements before it are
// committed.
func (q *Queue) AwaitCommit(it *Item) { it.State = BehindInOrder }

// Withhold keeps a taken item out for good: it stays the head of its ordering key and is never scheduled.
func (q *Queue) Withhold(it *Item) { it.State = withheld }

// Committed notes that an undelivered settlement of the ordering key was committed.
func (q *Queue) Committed(l *OrderingKey, now int64) {
	if l == nil {
		return
	}
	l.UndeliveredPending--
	if l.UndeliveredPending == 0 && l.head != nil && l.head.State == BehindInOrder {
		q.schedule(l.head, now)
	}
	q.drop(l)
}

func (q *Queue) drop(l *OrderingKey) {
	if l.head == nil && l.UndeliveredPending == 0 {
		delete(q.orderingKeys, l.key)
	}
}

// MakeDue makes items that wait for their due time due now, where pick returns true.
func (q *Queue) MakeDue(now int64, pick func(*Item) bool) {
	changed := false
	for _, it := range q.due {
		if it.Due > now && pick(it) {
			it.Due = now
			changed = true
		}
	}
	if changed {
		q.due.reorder()
		q.Wake(now)
	}
}
