package delivery

import (
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// queue decides which delivery of a partition goes next. It is pure: no clock,
// no I/O; times are ms of the owner's, which never go back.
//
// A delivery that may not be sent yet waits in exactly one place: behind the
// head of its lane, for its time, or for a slot of its endpoint. Only the head
// of a lane ever leaves the first.
type queue struct {
	endpoints map[uint32]*endpoint
	tenants   map[string]*tenant
	lanes     map[uint64]*lane
	turns     ring[*tenant] // tenants with an endpoint that could send
	passed    []*endpoint   // passed over, since what goes next has no body
	held      []*endpoint   // until a time, whatever waits for them
	due       dueHeap
	// outstanding counts what is not settled, taken what holds a slot.
	outstanding, taken int
}

// item is one outstanding delivery.
type item struct {
	// ref is what the store holds of it, or will with the next commit; slot where, or noSlot.
	ref  reference
	slot int32
	// due and attempts run ahead of ref by results that are not recorded yet;
	// ref's due is that of the wall clock.
	due      int64
	attempts uint8
	place    place
	// recorded: its settlement is in the log, or in the commit on its way.
	recorded bool
	lane     *lane
	behind   *item // the next of its lane
	endpoint *endpoint
	// delivery is nil where the body must be read back.
	delivery *Delivery
	// kept is what its body counts for in memory while it waits.
	kept int64
	// held: its revision of the configuration is not there yet, since a time in ms.
	held      bool
	heldSince int64
}

// place is where an item waits.
type place uint8

const (
	inLane place = iota
	inTime
	inTurn
	taken // by a slot: body being read, or in flight
	settled
	parked // its body is gone; a person decides
)

// lane is a queue inside an endpoint whose deliveries follow each other.
type lane struct {
	key        uint64
	head, tail *item
	// givingUps are not committed yet; while there are some nothing of the lane is sent.
	givingUps int
}

type endpoint struct {
	hash   uint32
	name   string // empty until a body was read
	tenant *tenant
	ready  ring[*item]
	taken  int
	limit  int
	listed bool
	bodies int64 // bytes kept of what waits for it
	// fingerprint of the configuration it was last seen with.
	fingerprint uint64
	waiting     int // its items outstanding
	// until is when it is no longer held, 0 where it is not; faults how often in
	// a row something of ours was missing.
	until  int64
	faults int
}

type tenant struct {
	endpoints ring[*endpoint]
	listed    bool
}

// defaultConcurrency is an endpoint's limit until its configuration is known.
const defaultConcurrency = 64

func newQueue() *queue {
	return &queue{endpoints: map[uint32]*endpoint{}, tenants: map[string]*tenant{}, lanes: map[uint64]*lane{}}
}

func endpointHash(name string) uint32 { return uint32(xxhash.Sum64String(name)) }

// laneHash is 0 for a delivery without a lane.
func laneHash(d *Delivery) uint64 {
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

// endpoint finds or makes the endpoint of a hash.
func (q *queue) endpoint(hash uint32) *endpoint {
	e, ok := q.endpoints[hash]
	if !ok {
		// Its tenant is not known before a body was read: until then it is one of its own.
		e = &endpoint{hash: hash, limit: defaultConcurrency, tenant: &tenant{}}
		q.endpoints[hash] = e
	}
	return e
}

// learn notes which endpoint a hash stands for.
func (q *queue) learn(e *endpoint, d *Delivery) {
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

// add takes in a delivery, in the order of offsets: one just read, or a
// reference; due is when it may be sent.
func (q *queue) add(r reference, slot int32, d *Delivery, due, now int64) *item {
	it := &item{ref: r, slot: slot, due: due, attempts: r.attempts, delivery: d}
	it.endpoint = q.endpoint(r.endpoint)
	it.endpoint.waiting++
	if d != nil {
		q.learn(it.endpoint, d)
	}
	q.outstanding++
	if r.lane == 0 {
		q.schedule(it, now)
		return it
	}
	l, ok := q.lanes[r.lane]
	if !ok {
		l = &lane{key: r.lane}
		q.lanes[r.lane] = l
	}
	it.lane = l
	if l.head == nil {
		l.head, l.tail = it, it
		if l.givingUps == 0 {
			q.schedule(it, now)
		}
		return it
	}
	l.tail.behind, l.tail = it, it
	return it
}

// schedule lets an item wait for its time or its turn.
func (q *queue) schedule(it *item, now int64) {
	if it.due > now {
		it.place = inTime
		q.due.push(it)
		return
	}
	it.place = inTurn
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

// wake moves what is due by now to its turn, and ends what is held until now.
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

// nextDue is when wake has something to do.
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

// hold lets nothing of an endpoint be sent before a time; wake ends it.
func (q *queue) hold(e *endpoint, until int64) {
	if e.until == 0 {
		q.held = append(q.held, e)
	}
	e.until = until
}

// next gives a slot to the delivery whose turn it is: tenants in turn, then
// the tenant's endpoints, then the endpoint's deliveries. Without bodies, what
// has none keeps its turn until goOn. Nil: nobody could send.
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
			it.place = taken
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

// goOn gives those their turn back that were passed over.
func (q *queue) goOn() {
	for _, e := range q.passed {
		e.listed = false
		q.list(e)
	}
	q.passed = q.passed[:0]
}

// free gives an item's slot back.
func (q *queue) free(it *item) {
	it.endpoint.taken--
	q.taken--
	q.list(it.endpoint)
}

// later lets a taken item wait until due: a failed attempt, or one that could
// not be made. It stays the head of its lane.
func (q *queue) later(it *item, due, now int64) {
	it.due = due
	q.schedule(it, now)
}

// settle ends a taken item. The next of its lane may go at once where the
// receiver has this one; after a giving-up it goes once that is committed, or,
// when ahead is set, may be looked at before (and waits by awaitCommit if it is
// to be sent).
func (q *queue) settle(it *item, gaveUp, ahead bool, now int64) {
	it.place = settled
	it.delivery = nil
	it.endpoint.waiting--
	q.outstanding--
	l := it.lane
	if l == nil {
		return
	}
	l.head = it.behind
	it.behind = nil
	if l.head == nil {
		l.tail = nil
	}
	if gaveUp {
		l.givingUps++
	}
	if l.head != nil && (l.givingUps == 0 || ahead) {
		q.schedule(l.head, now)
	}
	q.drop(l)
}

// awaitCommit puts a taken item, head of its lane, back until the givings-up
// before it are committed.
func (q *queue) awaitCommit(it *item) { it.place = inLane }

// park puts a taken item where nothing finds it: it stays the head of its lane.
func (q *queue) park(it *item) { it.place = parked }

// committed tells that a giving-up was committed.
func (q *queue) committed(l *lane, now int64) {
	if l == nil {
		return
	}
	l.givingUps--
	if l.givingUps == 0 && l.head != nil && l.head.place == inLane {
		q.schedule(l.head, now)
	}
	q.drop(l)
}

func (q *queue) drop(l *lane) {
	if l.head == nil && l.givingUps == 0 {
		delete(q.lanes, l.key)
	}
}

// hasten makes what waits for its time due now, where pick says so.
func (q *queue) hasten(now int64, pick func(*item) bool) {
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
