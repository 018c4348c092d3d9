package queue

import "github.com/tollgate/tollgate/pkg/delivery"

// maxBodies bounds the bodies, in bytes, that a partition keeps of deliveries that wait for a slot.
const maxBodies = 16 << 20

// body is a delivery whose body is in memory, while it waits for a slot.
type body struct {
	d *delivery.Delivery
	// size is what it counts of maxBodies, 0 for one that was just read and may be sent at once.
	size int64
}

// Keep keeps the body of an item that waits for its turn; nil, and where memory is short or its endpoint is stopped, it is
// fetched again.
func (q *Queue) Keep(it *Item, d *delivery.Delivery) {
	if it.State >= Taken {
		return
	}
	e := q.Of(it)
	if d == nil || it.State == UntilDue || e.Stopped() || !q.Room(it, sizeOf(d)) {
		delete(q.bodies, it.self)
		if !it.is(isBodiless) {
			it.set(isBodiless, true)
			q.bodiless.Add(it.self)
		}
		return
	}
	q.hasBody(it)
	size := sizeOf(d)
	q.bodies[it.self] = body{d, size}
	q.Bodies += size
	e.Bodies += size
}

// KeepNew decides about the body of an item that was just added, and had a chance to be sent.
func (q *Queue) KeepNew(it *Item) {
	if b, ok := q.bodies[it.self]; ok && b.size == 0 {
		q.Keep(it, b.d)
	}
}

func (q *Queue) hasBody(it *Item) {
	if it.is(isBodiless) {
		it.set(isBodiless, false)
		q.bodiless.Remove(it.self)
	}
}

// TakeBody returns the body of an item that has a slot, nil where it must be fetched.
func (q *Queue) TakeBody(it *Item) *delivery.Delivery {
	q.hasBody(it)
	b, ok := q.bodies[it.self]
	if !ok {
		return nil
	}
	delete(q.bodies, it.self)
	q.Bodies -= b.size
	q.Of(it).Bodies -= b.size
	return b.d
}

// Room reports whether a body fits: one endpoint may use a quarter of the memory, so that a silent endpoint leaves the rest
// to the others.
func (q *Queue) Room(it *Item, size int64) bool {
	return q.Bodies+size <= maxBodies && q.Of(it).Bodies+size <= maxBodies/4
}

// Wants returns the item at an offset that is sent soon and has no body, nil where there is none.
func (q *Queue) Wants(offset int64) *Item {
	n := q.bodiless.Find(uint64(offset), func(n int32) bool { return q.items.at(n).Offset() == offset })
	if n == none {
		return nil
	}
	it := q.items.at(n)
	if it.State != ForSlot && it.State != BehindInOrder {
		return nil
	}
	return it
}

// sizeOf estimates the memory that a delivery takes, in bytes.
func sizeOf(d *delivery.Delivery) int64 { return int64(len(d.Body)) + 1024 }
