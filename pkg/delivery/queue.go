package delivery

import (
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// queue decides which delivery of a partition goes next. It is pure: no clock, no I/O; times are the owner's monotonic
// ms.
//
// A delivery that may not be sent yet waits in exactly one state: behind the head of its ordering key, for its due
// time, or for a slot of its endpoint. Only the head of an ordering key leaves the first state.
type queue struct {
	endpoints    map[uint32]*endpoint
	tenants      map[string]*tenant
	orderingKeys map[uint64]*orderingKey
	turns        ring[*tenant] // tenants with an endpoint that can send
	passed       []*endpoint   // passed over because their next item has no body
	held         []*endpoint   // held until a time
	due          dueHeap
	// outstanding counts unsettled items, taken those that hold a slot.
	outstanding, taken int
}

// item is one outstanding delivery.
type item struct {
	// ref is what the store holds of it, or will hold after the next commit; slot is its place in the pages, or noSlot.
	ref  reference
	slot int32
	// due and attempts include results that are not recorded yet; the due time of ref is one of the wall clock.
	due      int64
	attempts uint8
	state    itemState
	// recorded: its settlement is in the log, or in the commit under way.
	recorded    bool
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

type endpoint struct {
	hash   uint32
	name   string // empty until a body was read
	tenant *tenant
	ready  ring[*item]
	taken  int
	limit  int
	listed bool
	bodies int64 // bytes of the bodies kept for it
	// fingerprint of the configuration last applied.
	fingerprint uint64
	waiting     int // its outstanding items
	// until is the end of its hold, 0 where it is not held; localFailures counts local failures in a row.
	until         int64
	localFailures int
}

type tenant struct {
	endpoints ring[*endpoint]
	listed    bool
}

// defaultConcurrency is the limit of an endpoint until its configuration is known.
const defaultConcurrency = 64

func newQueue() *queue {
	return &queue{endpoints: map[uint32]*endpoint{}, tenants: map[string]*tenant{}, orderingKeys: map[uint64]*orderingKey{}}
}

func endpointHash(name string) uint32 { return uint32(xxhash.Sum64String(name)) }

// orderingKeyHash is 0 for a delivery without an ordering key.
func orderingKeyHash(d *Delivery) uint64 {
	if !d.Ordered {
		return 0
	}
	var h xxhash.Digest
	h.Reset()
	for _, s := range [...]string{d.Endpoint, "\x00", d.Event.Topic, "\x00", d.Event.Subject} {
		_, _ = h.WriteString(s) // never fails
	}
	return max(h.Sum64(), 1)
}

// endpoint finds or creates the endpoint of a hash.
func (q *queue) endpoint(hash uint32) *endpoint {
	e, ok := q.endpoints[hash]
	if !ok {
		// Its tenant is not known before a body was read: until then it has a tenant of its own.
		e = &endpoint{hash: hash, limit: defaultConcurrency, tenant: &tenant{}}
		q.endpoints[hash] = e
	}
	return e
}

// identify stores the name and the tenant of an endpoint once a body was read.
func (q *queue) identify(e *endpoint, d *Delivery) {
	if e.name != "" {
		return
	}
	e.name = d.Endpoint
	t, ok := q.tenants[d.Tenant]
	if !ok {
		t = &tenant{}
		q.tenants[d.Tenant] = t
	}
	e.tenant = t // where it is listed under the old one, next moves it
}

// add takes a delivery in, in the order of offsets: one that was just read, or a stored reference; due is when it may
// be sent.
func (q *queue) add(r reference, slot int32, d *Delivery, due, now int64) *item {
	it := &item{ref: r, slot: slot, due: due, attempts: r.attempts, delivery: d}
	it.endpoint = q.endpoint(r.endpoint)
	it.endpoint.waiting++
	if d != nil {
		q.identify(it.endpoint, d)
	}
	q.outstanding++
	if r.orderingKey == 0 {
		q.schedule(it, now)
		return it
	}
	l, ok := q.orderingKeys[r.orderingKey]
	if !ok {
		l = &orderingKey{key: r.orderingKey}
		q.orderingKeys[r.orderingKey] = l
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
	it.endpoint.ready.push(it)
	q.list(it.endpoint)
}

func (q *queue) list(e *endpoint) {
	if e.listed || e.ready.n == 0 || e.taken >= e.limit || e.until > 0 {
		return
	}
	e.listed = true
	q.listUnder(e.tenant, e)
}

func (q *queue) listUnder(t *tenant, e *endpoint) {
	t.endpoints.push(e)
	if !t.listed {
		t.listed = true
		q.turns.push(t)
	}
}

// wake moves items that are due to their turn, and ends holds that are over.
func (q *queue) wake(now int64) {
	for len(q.due) > 0 && q.due[0].due <= now {
		q.schedule(q.due.pop(), now)
	}
	q.held = slices.DeleteFunc(q.held, func(e *endpoint) bool {
		if e.until > now {
			return false
		}
		e.until = 0
		q.list(e)
		return true
	})
}

// nextDue is the next time at which wake has work to do.
func (q *queue) nextDue() (next int64, ok bool) {
	next = math.MaxInt64
	if len(q.due) > 0 {
		next = q.due[0].due
	}
	for _, e := range q.held {
		next = min(next, e.until)
	}
	return next, next < math.MaxInt64
}

// hold stops an endpoint until a time; wake ends the hold.
func (q *queue) hold(e *endpoint, until int64) {
	if e.until == 0 {
		q.held = append(q.held, e)
	}
	e.until = until
}

// next gives a slot to the delivery whose turn it is: tenants take turns, then the endpoints of the tenant, then the
// deliveries of the endpoint. Where bodies is false, items without a body keep their turn until resumePassed. It
// returns nil where no item can be sent.
func (q *queue) next(bodies bool) *item {
	for q.turns.n > 0 {
		t := q.turns.pop()
		e := t.endpoints.pop()
		moved := e.tenant != t
		var it *item
		e.listed = false
		switch {
		case moved || e.ready.n == 0 || e.taken >= e.limit || e.until > 0:
		case !bodies && e.ready.first().delivery == nil:
			e.listed = true
			q.passed = append(q.passed, e)
		default:
			it = e.ready.pop()
			it.state = taken
			e.taken++
			q.taken++
		}
		q.list(e)
		if t.endpoints.n > 0 {
			q.turns.push(t)
		} else {
			t.listed = false
		}
		if it != nil {
			return it
		}
	}
	return nil
}

// resumePassed returns their turn to the endpoints that were passed over.
func (q *queue) resumePassed() {
	for _, e := range q.passed {
		e.listed = false
		q.list(e)
	}
	q.passed = q.passed[:0]
}

// free returns the slot of an item.
func (q *queue) free(it *item) {
	it.endpoint.taken--
	q.taken--
	q.list(it.endpoint)
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
