package queue

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
)

// Endpoint is one endpoint of the partition: what waits for it, and what is known of it. It is pure; times are the owner's
// monotonic ms.
type Endpoint struct {
	Hash   uint64
	Name   string // empty until a body or its configuration was read
	tenant *tenant
	// Target is nil where it is not active: what waits for it is decided without a request.
	Target delivery.Target
	Health health.Endpoint
	Slots  health.Slots
	Limit  int
	Share  slots.Share

	// ready are its items that wait for a slot, linked in their order.
	ready   int // how many
	head    int32
	tail    int32
	number  int32 // that its items have
	items   int   // that have it, settled ones included that are not recorded
	Taken   int
	Waiting int // its outstanding items
	Listed  bool
	// asking: it waits for a slot of the process; granted: it has one that no item uses yet.
	asking, granted bool
	// Probe is the one request of an open circuit.
	Probe *Item
	// Newest holds, by the hash of their text, the newest items that replace older ones.
	Newest map[uint64]*Item
	Bodies int64 // bytes of the bodies kept for it

	// It is looked at again at wakeAt; heapAt is its place among the sleeping, −1 for none.
	wakeAt int64
	heapAt int
	// Look is the earliest deadline of ready items, or before it.
	Look int64
	// LocalUntil is the end of a hold after localFailures in a row.
	LocalUntil    int64
	LocalFailures int
	// rateFree is when its rate allows the next request, in µs.
	rateFree int64
	Paused   bool
	// Configured: it was looked for in a configuration. Scheduled: it is among those whose schedule is followed.
	Configured, Scheduled bool
	// ClosedUntil is when its schedule opens, where it is closed; scheduleAt when that changes next.
	ClosedUntil, ScheduleAt int64
	// SucceededAt is when it last succeeded; senders read it.
	SucceededAt atomic.Int64

	BehindReading

	// Unpublished are its results that are in no commit. TouchedAt is how far attempts were published when its
	// record became another than the one in the store.
	Unpublished int
	TouchedAt   End
	// Record is the place of its record in the store, noRecord for none; dirty: the store has another; urgent: its state
	// is another.
	Record        int32
	Dirty, Urgent bool
	// UrgentCut is urgent of the commit under way.
	UrgentCut bool
	reporting
}

// End is how far the attempts of a partition were published: the next offset, and the hash of the record before it.
type End struct {
	Offset int64
	Hash   uint64
}

// reporting is what was reported of an endpoint.
type reporting struct {
	ReportedAt      int64
	ReportedWaiting int
	// unreported: something changed; urgentReport: its state.
	Unreported, UrgentReport bool
}

// BehindReading is what the readers know of an endpoint that is behind.
type BehindReading struct {
	// refilling: it had room, and is read for until it is full.
	Refilling bool
	// moved: its offset changed, so its record is in the next commit, which has the references that it was read for.
	Moved bool
	// counted: its count changed, and nothing else.
	Counted bool
	// lost: the log begins above its offset; nothing is read for it until an operator accepts the loss. skipped: he did.
	Lost, Skipped bool
}

const (
	Forever = math.MaxInt64
	// NoRecord is the place of an endpoint that has no record.
	NoRecord int32 = -1
	// rateLag is how much a rate makes up for turns of the loop that come late, in µs.
	rateLag = 5000
)

func newEndpoint(hash uint64) *Endpoint {
	// Its tenant is not known before a body was read: until then it has a tenant of its own.
	e := &Endpoint{Hash: hash, Limit: defaultConcurrency, tenant: &tenant{}, head: none, tail: none, heapAt: -1, Look: Forever, Record: NoRecord}
	e.Health = health.New("", 0)
	e.SucceededAt.Store(health.Never)
	e.ReportedAt = health.Never
	return e
}

// Stopped reports that nothing is sent to it on purpose.
func (e *Endpoint) Stopped() bool {
	return e.Paused || e.ClosedUntil > 0 || e.Health.Suspended != health.NotSuspended
}

// Probing reports that only one request at a time is made.
func (e *Endpoint) Probing() bool { return e.Health.Open && e.Target != nil }

// SendAt is the earliest time at which something may be sent, as far as is known now.
func (e *Endpoint) SendAt() int64 {
	switch {
	case e.Target == nil:
		return math.MinInt64
	case e.Paused, e.Health.Suspended != health.NotSuspended, e.Health.Open && e.Probe != nil:
		return Forever
	}
	at := max(e.ClosedUntil, e.LocalUntil, e.Health.HoldUntil, e.rateFree/1000)
	if e.Health.Open {
		at = max(at, e.Health.NextProbe)
	}
	return at
}

// room reports whether it has a slot of its own for one more.
func (e *Endpoint) room() bool {
	return e.Probing() || e.Taken < e.Slots.Number(e.Limit)
}

// Spend notes a request against the rate.
func (e *Endpoint) Spend(now int64) {
	if e.Target == nil || e.Target.Rate() <= 0 {
		return
	}
	e.rateFree = max(e.rateFree, now*1000-rateLag) + int64(time.Second/time.Microsecond)/int64(e.Target.Rate())
}

// push adds an item to the ready.
func (e *Endpoint) push(q *Queue, it *Item) {
	if it.link = none; e.ready == 0 {
		e.head = it.self
	} else {
		q.items.at(e.tail).link = it.self
	}
	e.tail = it.self
	e.ready++
}

// remove takes the ready item after another out, the first where that is nil.
func (e *Endpoint) remove(q *Queue, before *Item) *Item {
	at := &e.head
	if before != nil {
		at = &before.link
	}
	it := q.items.at(*at)
	if *at = it.link; it.link == none && before != nil {
		e.tail = before.self
	}
	it.link = none
	e.ready--
	return it
}

// pick finds the ready item whose turn it is, nil where none may be taken, and the one before it. An item past its deadline
// goes first, since nothing is sent for it. A probe is the oldest due that was never tried, else the oldest due: otherwise a
// few deliveries that the receiver refuses would be all that an open circuit tries.
func (e *Endpoint) pick(q *Queue, now int64) (before, it *Item) {
	if e.Look <= now {
		e.Look = Forever
		for n := e.head; n != none; {
			it = q.items.at(n)
			deadline := DeadlineOf(it, q.Drift)
			if deadline <= now {
				e.Look = now
				return before, it
			}
			e.Look = min(e.Look, deadline)
			before, n = it, it.link
		}
	}
	if e.SendAt() > now || !e.room() {
		return nil, nil
	}
	it = q.items.at(e.head)
	if !e.Probing() {
		return nil, it
	}
	before = nil
	for previous := it; previous.link != none; {
		other := q.items.at(previous.link)
		if better(other, it) {
			before, it = previous, other
		}
		previous = other
	}
	return before, it
}

// better reports whether a is a better probe than b.
func better(a, b *Item) bool {
	if never := a.Attempts == 0; never != (b.Attempts == 0) {
		return never
	}
	if a.Due() != b.Due() {
		return a.Due() < b.Due()
	}
	return a.Offset() < b.Offset()
}

// DeadlineOf is when an item is settled whatever its endpoint does; drift leads from this clock to the wall clock.
func DeadlineOf(it *Item, drift int64) int64 {
	if it.deadline == 0 {
		return Forever
	}
	return int64(it.deadline)*1000 - drift
}

// Postpone sets the deadline of an item to that of its delivery: by another clock it was past it.
func (it *Item) Postpone(d *delivery.Delivery, maxAge time.Duration) {
	it.deadline = Deadline(d, maxAge)
}

// Deadline is a delivery's for its reference.
func Deadline(d *delivery.Delivery, maxAge time.Duration) uint32 {
	end := d.PlannedAt.Add(maxAge)
	if !d.ExpiresAt.IsZero() && d.ExpiresAt.Before(end) {
		end = d.ExpiresAt
	}
	return uint32(max(1, min(end.Add(time.Second-1).Unix(), math.MaxUint32)))
}

// ReferenceOf is the reference of a delivery that was just read.
func ReferenceOf(d *delivery.Delivery, offset, due int64, maxAge time.Duration) pages.Reference {
	return pages.Reference{
		Offset: offset, Due: due, Deadline: Deadline(d, maxAge), ID: IDHash(d.ID, d.ReplayJob),
		Endpoint: EndpointHash(d.Endpoint), OrderingKey: orderingKeyHash(d), Collapse: collapseHash(d),
	}
}
