package delivery

import (
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
)

// queue decides which delivery of a partition goes next. It is pure: no clock, no I/O; times are the owner's monotonic
// ms.
//
// A delivery that may not be sent yet waits in exactly one state: behind the head of its ordering key, for its due
// time, or for a slot of its endpoint. Only the head of an ordering key leaves the first state.
type queue struct {
	endpoints    map[uint64]*endpoint
	tenants      map[string]*tenant
	orderingKeys map[uint64]*orderingKey
	turns        ring[*tenant] // tenants with an endpoint that can send
	passed       []*endpoint   // passed over because their next item has no body
	sleeping     sleepers      // endpoints to be looked at again
	due          dueHeap
	replaced     []*item // by newer ones, while they waited for their due time
	// claim takes a slot of the process for an endpoint; one that gets none asks until it is granted. unclaim returns it.
	claim   func(*endpoint) bool
	unclaim func(*endpoint)
	// born, where set, completes an endpoint that is new.
	born func(*endpoint)
	// drift leads from this clock to the wall clock, in ms.
	drift int64
	// outstanding counts unsettled items, taken those that hold a slot.
	outstanding, taken int
}

// item is one outstanding delivery.
type item struct {
	// ref is what the store holds of it, or will hold after the next commit; slot is its place in the pages, or pages.NoSlot.
	ref  pages.Reference
	slot int32
	// due and attempts include results that are not recorded yet; the due time of ref is one of the wall clock.
	due      int64
	attempts uint8
	state    itemState
	// recorded: its settlement is in the log, or in the commit under way.
	recorded bool
	// since is when its first attempt began, health.Never where that is not known.
	since       int64
	orderingKey *orderingKey
	behind      *item // the next of its ordering key
	endpoint    *endpoint
	// delivery is nil where the body must be fetched again.
	delivery *Delivery
	// kept is the size of its body in bytes while the body waits in memory.
	kept int64
	// held: its revision of the configuration is not known yet, since heldSince in ms.
	held      bool
	heldSince int64
}

// itemState is what an item waits for.
type itemState uint8

const (
	behindInOrder itemState = iota
	untilDue
	forSlot
	taken // holds a slot: its body is being fetched, or it is in flight
	settled
	withheld // its body is lost; an operator decides
)

// orderingKey is the queue of an endpoint's deliveries that are sent one after the other.
type orderingKey struct {
	key        uint64
	head, tail *item
	// undeliveredPending counts undelivered settlements that are not committed; nothing of the key is sent while it is
	// above 0.
	undeliveredPending int
}

type tenant struct {
	endpoints ring[*endpoint]
	listed    bool
}

// defaultConcurrency is the limit of an endpoint until its configuration is known.
const defaultConcurrency = 64

func newQueue() *queue {
	return &queue{
		endpoints: map[uint64]*endpoint{}, tenants: map[string]*tenant{}, orderingKeys: map[uint64]*orderingKey{},
		claim: func(*endpoint) bool { return true }, unclaim: func(*endpoint) {}, born: func(*endpoint) {},
	}
}

// beginQueue gives the owner an empty queue.
func (o *owner) beginQueue() {
	o.queue = newQueue()
	o.queue.claim, o.queue.unclaim, o.queue.born = o.claimSlot, o.returnSlot, o.born
}

// endpoint finds or creates the endpoint of a hash.
func (q *queue) endpoint(hash uint64) *endpoint {
	e, ok := q.endpoints[hash]
	if !ok {
		e = newEndpoint(hash)
		q.endpoints[hash] = e
		q.born(e)
	}
	return e
}

// identify stores the name and the tenant of an endpoint once they are known.
func (q *queue) identify(e *endpoint, name, of string) {
	if e.name != "" {
		return
	}
	e.name, e.health.Name, e.share.Tenant = name, name, of
	t, ok := q.tenants[of]
	if !ok {
		t = &tenant{}
		q.tenants[of] = t
	}
	e.tenant = t // where it is listed under the old one, next moves it
}

// add takes a delivery in, in the order of offsets: one that was just read, or a stored reference; due is when it may
// be sent.
func (q *queue) add(r pages.Reference, slot int32, d *Delivery, due, now int64) *item {
	it := &item{ref: r, slot: slot, due: due, attempts: r.Attempts, delivery: d, since: health.Never}
	it.endpoint = q.endpoint(r.Endpoint)
	it.endpoint.waiting++
	if d != nil {
		q.identify(it.endpoint, d.Endpoint, d.Tenant)
	}
	q.outstanding++
	q.supersede(it, now)
	if r.OrderingKey == 0 {
		q.schedule(it, now)
		return it
	}
	l, ok := q.orderingKeys[r.OrderingKey]
	if !ok {
		l = &orderingKey{key: r.OrderingKey}
		q.orderingKeys[r.OrderingKey] = l
	}
	it.orderingKey = l
	if l.head == nil {
		l.head, l.tail = it, it
		if l.undeliveredPending == 0 {
			q.schedule(it, now)
		}
		return it
	}
	l.tail.behind, l.tail = it, it
	return it
}

// schedule lets an item wait for its due time or for a slot.
func (q *queue) schedule(it *item, now int64) {
	if it.due > now {
		it.state = untilDue
		q.due.push(it)
		return
	}
	it.state = forSlot
	e := it.endpoint
	e.ready.push(it)
	e.look = min(e.look, deadlineOf(it, q.drift))
	q.list(e, now)
}

// free returns the slot of an item.
func (q *queue) free(it *item, now int64) {
	e := it.endpoint
	e.taken--
	q.taken--
	if e.probe == it {
		e.probe = nil
	}
	q.list(e, now)
}

// later lets a taken item wait until due: after a failed attempt, or one that could not be made. It stays the head of
// its ordering key.
func (q *queue) later(it *item, due, now int64) {
	it.due = due
	q.schedule(it, now)
}

// settle ends a taken item. After a receipt the next of its ordering key may go at once. After an undelivered
// settlement the next goes once that is committed; where readAhead is set it may be looked at before, and waits by
// awaitCommit if it is to be sent.
func (q *queue) settle(it *item, undelivered, readAhead bool, now int64) {
	it.state = settled
	it.delivery = nil
	it.endpoint.waiting--
	q.outstanding--
	l := it.orderingKey
	if l == nil {
		return
	}
	l.head = it.behind
	it.behind = nil
	if l.head == nil {
		l.tail = nil
	}
	if undelivered {
		l.undeliveredPending++
	}
	if l.head != nil && (l.undeliveredPending == 0 || readAhead) {
		q.schedule(l.head, now)
	}
	q.drop(l)
}

// awaitCommit puts a taken item, the head of its ordering key, back until the undelivered settlements before it are
// committed.
func (q *queue) awaitCommit(it *item) { it.state = behindInOrder }

// withhold sets a taken item aside for good: it stays the head of its ordering key and is never scheduled.
func (q *queue) withhold(it *item) { it.state = withheld }

// committed notes that an undelivered settlement of the ordering key was committed.
func (q *queue) committed(l *orderingKey, now int64) {
	if l == nil {
		return
	}
	l.undeliveredPending--
	if l.undeliveredPending == 0 && l.head != nil && l.head.state == behindInOrder {
		q.schedule(l.head, now)
	}
	q.drop(l)
}

func (q *queue) drop(l *orderingKey) {
	if l.head == nil && l.undeliveredPending == 0 {
		delete(q.orderingKeys, l.key)
	}
}

// makeDue makes items that wait for their due time due now, where pick returns true.
func (q *queue) makeDue(now int64, pick func(*item) bool) {
	changed := false
	for _, it := range q.due {
		if it.due > now && pick(it) {
			it.due = now
			changed = true
		}
	}
	if changed {
		q.due.reorder()
		q.wake(now)
	}
}
