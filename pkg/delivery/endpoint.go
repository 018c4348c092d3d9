package delivery

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
)

// endpoint is one endpoint of the partition: what waits for it, and what is known of it. It is pure; times are the owner's
// monotonic ms.
type endpoint struct {
	hash   uint64
	name   string // empty until a body or its configuration was read
	tenant *tenant
	// target is nil where it is not active: what waits for it is decided without a request.
	target Target
	health health.Endpoint
	slots  health.Slots
	limit  int
	share  slots.Share

	ready   ring[*item]
	taken   int
	waiting int // its outstanding items
	listed  bool
	// asking: it waits for a slot of the process; granted: it has one that no item uses yet.
	asking, granted bool
	// probe is the one request of an open circuit.
	probe *item
	// newest holds, by the hash of their text, the newest items that replace older ones.
	newest map[uint64]*item
	bodies int64 // bytes of the bodies kept for it

	// It is looked at again at wakeAt; heapAt is its place among the sleeping, −1 for none.
	wakeAt int64
	heapAt int
	// look is the earliest deadline of ready items, or before it.
	look int64
	// localUntil is the end of a hold after localFailures in a row.
	localUntil    int64
	localFailures int
	// rateFree is when its rate allows the next request, in µs.
	rateFree int64
	paused   bool
	// stoppedFor: its stop, while it lasts, is more than a closed schedule: it resumes with a probe.
	stoppedFor bool
	// closedUntil is when its schedule opens, where it is closed; scheduleAt when that changes next.
	closedUntil, scheduleAt int64
	// succeededAt is when it last succeeded; senders read it.
	succeededAt atomic.Int64

	behindReading

	// record is the place of its record in the store, noRecord for none; dirty: the store has another; urgent: its state
	// is another.
	record        int32
	dirty, urgent bool
	// urgentCut is urgent of the commit under way.
	urgentCut bool
	reporting
}

// reporting is what was reported of an endpoint.
type reporting struct {
	reportedAt      int64
	reportedWaiting int
	// unreported: something changed; urgentReport: its state.
	unreported, urgentReport bool
}

const (
	forever = math.MaxInt64
	// noRecord is the place of an endpoint that has no record.
	noRecord int32 = -1
	// rateLag is how much a rate makes up for turns of the loop that come late, in µs.
	rateLag = 5000
)

func newEndpoint(hash uint64) *endpoint {
	// Its tenant is not known before a body was read: until then it has a tenant of its own.
	e := &endpoint{hash: hash, limit: defaultConcurrency, tenant: &tenant{}, heapAt: -1, look: forever, record: noRecord}
	e.health = health.New("", 0)
	e.succeededAt.Store(health.Never)
	e.reportedAt = health.Never
	return e
}

// stopped reports that nothing is sent to it on purpose.
func (e *endpoint) stopped() bool {
	return e.paused || e.closedUntil > 0 || e.health.Suspended != health.NotSuspended
}

// probing reports that only one request at a time is made.
func (e *endpoint) probing() bool { return e.health.Open && e.target != nil }

// sendAt is the earliest time at which something may be sent, as far as is known now.
func (e *endpoint) sendAt() int64 {
	switch {
	case e.target == nil:
		return math.MinInt64
	case e.paused, e.health.Suspended != health.NotSuspended, e.health.Open && e.probe != nil:
		return forever
	}
	at := max(e.closedUntil, e.localUntil, e.health.HoldUntil, e.rateFree/1000)
	if e.health.Open {
		at = max(at, e.health.NextProbe)
	}
	return at
}

// room reports whether it has a slot of its own for one more.
func (e *endpoint) room() bool {
	return e.probing() || e.taken < e.slots.Number(e.limit)
}

// spend notes a request against the rate.
func (e *endpoint) spend(now int64) {
	if e.target == nil || e.target.Rate() <= 0 {
		return
	}
	e.rateFree = max(e.rateFree, now*1000-rateLag) + int64(time.Second/time.Microsecond)/int64(e.target.Rate())
}

// pick is the place in ready of the item whose turn it is, −1 where none may be taken. An item past its deadline goes
// first, since nothing is sent for it. A probe is the oldest due that was never tried, else the oldest due: otherwise a few
// deliveries that the receiver refuses would be all that an open circuit tries.
func (e *endpoint) pick(now, drift int64) int {
	if e.look <= now {
		e.look = forever
		for i := range e.ready.n {
			deadline := deadlineOf(e.ready.at(i), drift)
			if deadline <= now {
				e.look = now
				return i
			}
			e.look = min(e.look, deadline)
		}
	}
	if e.sendAt() > now || !e.room() {
		return -1
	}
	if !e.probing() {
		return 0
	}
	best := 0
	for i := 1; i < e.ready.n; i++ {
		if before(e.ready.at(i), e.ready.at(best)) {
			best = i
		}
	}
	return best
}

// before reports whether a is a better probe than b.
func before(a, b *item) bool {
	if never := a.attempts == 0; never != (b.attempts == 0) {
		return never
	}
	if a.due != b.due {
		return a.due < b.due
	}
	return a.ref.Offset < b.ref.Offset
}

// deadlineOf is when an item is settled whatever its endpoint does; drift leads from this clock to the wall clock.
func deadlineOf(it *item, drift int64) int64 {
	if it.ref.Deadline == 0 {
		return forever
	}
	return int64(it.ref.Deadline)*1000 - drift
}

// deadline is a delivery's for its reference.
func deadline(d *Delivery, maxAge time.Duration) uint32 {
	end := d.PlannedAt.Add(maxAge)
	if !d.ExpiresAt.IsZero() && d.ExpiresAt.Before(end) {
		end = d.ExpiresAt
	}
	return uint32(max(1, min(end.Add(time.Second-1).Unix(), math.MaxUint32)))
}

// referenceOf is the reference of a delivery that was just read.
func referenceOf(d *Delivery, offset, due int64, maxAge time.Duration) pages.Reference {
	return pages.Reference{
		Offset: offset, Due: due, Deadline: deadline(d, maxAge), ID: idHash(d.ID, d.ReplayJob),
		Endpoint: endpointHash(d.Endpoint), OrderingKey: orderingKeyHash(d), Collapse: collapseHash(d),
	}
}
