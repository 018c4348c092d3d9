package delivery

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

// readBack is the result of one fetch of bodies: the records at the wanted offsets, where the log still holds them, and
// their neighbours.
type readBack struct {
	from  int64
	batch stream.Batch
	err   error
}

// Codes of incidents.
const (
	// IncidentGone: retention removed deliveries before they were settled.
	IncidentGone = "DELIVERY_GONE"
	// IncidentMismatch: the log holds another delivery at the offset of one that waits.
	IncidentMismatch = "DELIVERY_MISMATCH"
	// IncidentRecreated: a topic was deleted and created again.
	IncidentRecreated = reason.LogRecreated
)

const (
	// bodyBytes is the size of one fetch of bodies: the neighbours of the body asked for are often wanted next.
	bodyBytes = 256 << 10
	// maxAwaitingBody is how many deliveries of a partition hold a slot of the process while they wait for their
	// bodies; the others keep their turn without a slot.
	maxAwaitingBody = 64
)

// readBodies starts to fetch the bodies of deliveries that hold a slot. It runs one fetch at a time, upwards through
// the log and then from its beginning again, so that every delivery is reached.
func (o *owner) readBodies(now int64) {
	if o.reading || len(o.awaitingBody) == 0 || now < o.readAfter {
		return
	}
	o.reading = true
	slices.SortFunc(o.awaitingBody, func(a, b *item) int { return cmp.Compare(a.ref.Offset, b.ref.Offset) })
	i := slices.IndexFunc(o.awaitingBody, func(it *item) bool { return it.ref.Offset >= o.readFrom })
	r := readBack{from: o.awaitingBody[max(i, 0)].ref.Offset}
	o.workers.Go(func() {
		r.batch, r.err = o.kafka.FetchFrom(o.send, o.Topic, o.part.Number, r.from, bodyBytes)
		o.readBack <- r
	})
}

// covers returns the offset up to which a fetch is conclusive from r.from on, and the start of the log. An empty fetch
// is not conclusive: a delivery is lost only where retention removed it or where the log continues without its record.
func (r *readBack) covers() (next, start int64, err error) {
	var gone *stream.OutOfRangeError
	switch {
	case errors.As(r.err, &gone) && gone.Start > r.from:
		return gone.Start, gone.Start, nil
	case r.err != nil:
		return r.from, 0, r.err
	case r.batch.Next <= r.from:
		return r.from, 0, fmt.Errorf("nothing was read at offset %d", r.from)
	}
	return r.batch.Next, r.batch.Start, nil
}

// bodiesRead continues with the deliveries whose bodies arrived.
func (o *owner) bodiesRead(r readBack) {
	o.reading = false
	now := o.now()
	next, start, err := r.covers()
	if err != nil {
		// Another delivery goes first next time.
		o.readFrom, o.readAfter, o.unreadable = r.from+1, now+readAgain.Milliseconds(), r.from
		if !o.stopping {
			o.log.Warn("bodies not fetched", zap.Error(err))
			o.condition("bodies", fmt.Errorf("bodies can't be fetched: %w", err))
		}
		return
	}
	o.readFrom = next
	if r.from <= o.unreadable && o.unreadable < next {
		o.condition("bodies", nil)
	}
	wanted := make(map[int64]*item, len(o.awaitingBody))
	read := make([]*item, 0, len(o.awaitingBody))
	o.awaitingBody = slices.DeleteFunc(o.awaitingBody, func(it *item) bool {
		wanted[it.ref.Offset] = it
		if it.ref.Offset < r.from || it.ref.Offset >= next {
			return false
		}
		read = append(read, it)
		return true
	})
	others := map[*item]*Delivery{}
	for _, rec := range r.batch.Records {
		if it, ok := wanted[rec.Offset]; ok {
			d := decodeKept(rec)
			if d != nil && !isOf(&it.ref, d) {
				others[it] = d
				continue
			}
			it.delivery = d
		} else if it, ok := o.bodiless[rec.Offset]; ok && (it.state == forSlot || it.state == behindInOrder) && o.room(it, int64(len(rec.Value))) {
			// A neighbour that is sent soon: without this it would be fetched again with the same records.
			if d := decodeKept(rec); d != nil && isOf(&it.ref, d) {
				it.delivery = d
				o.keepBody(it)
			}
		}
	}
	for _, it := range read {
		switch d, other := others[it]; {
		case it.delivery != nil:
			o.begin(it, now)
		case other:
			o.mismatch(it, d)
		default:
			o.lost(it, start)
		}
	}
}

// decodeKept decodes a delivery that outlives the batch it came in; nil where it can't be decoded.
func decodeKept(rec stream.Record) *Delivery {
	rec.Value = bytes.Clone(rec.Value)
	d, err := Decode(rec)
	if err != nil {
		return nil
	}
	return d
}

// lost handles a delivery that the log, which begins at start, no longer holds.
func (o *owner) lost(it *item, start int64) {
	o.Metrics.gone.Inc()
	if o.acceptedOrWithheld(it) {
		return
	}
	o.gone++
	err := fmt.Errorf("%d deliveries have left the log before they were settled, the last at offset %d; the log begins at %d",
		o.gone, it.ref.Offset, start)
	o.kafka.Incident(IncidentGone, it.ref.Offset, err)
	o.condition("gone", err)
}

// mismatch handles a reference at whose offset the log holds another delivery: the topic was created again, or the
// store belongs to another log. The delivery is never sent, because the receiver could be wrong.
func (o *owner) mismatch(it *item, d *Delivery) {
	o.Metrics.mismatched.Inc()
	if o.acceptedOrWithheld(it) {
		return
	}
	o.mismatched++
	err := fmt.Errorf("%d deliveries in the log differ from those in the store: the last, at offset %d, is %s to %s; none of them is sent. Restore the log or the store so that both belong together, or accept the loss by one start with deliveries.accept_lost_deliveries",
		o.mismatched, it.ref.Offset, d.ID, d.Endpoint)
	o.kafka.Incident(IncidentMismatch, it.ref.Offset, err)
	o.condition("mismatch", err)
}

// acceptedOrWithheld settles a delivery without a body as dead where the operator accepted the loss; true then.
// Otherwise it withholds the delivery and those behind it in its ordering key until an operator decides.
func (o *owner) acceptedOrWithheld(it *item) bool {
	o.unhold(it)
	if o.AcceptLostDeliveries {
		lost := &Delivery{Topic: o.Topic, Partition: o.part.Number, Offset: it.ref.Offset}
		res := o.withoutAttempt(it, lost, decision{settlement: Dead, reason: "gone"})
		res.dead = nil // its body is lost, so there is no dead letter
		o.settle(res)
		return true
	}
	o.giveBack(it, o.now())
	o.queue.withhold(it)
	return false
}

// releaseAwaitingBody frees the slots of deliveries that wait for their bodies, because they are not sent any more.
func (o *owner) releaseAwaitingBody() {
	now := o.now()
	for _, it := range o.awaitingBody {
		o.giveBack(it, now)
		o.queue.later(it, max(it.due, now), now)
	}
	o.awaitingBody = nil
}

// keepBody keeps the body of a delivery that waits for its turn, or drops it where memory is short; a dropped body is
// fetched again.
func (o *owner) keepBody(it *item) {
	if it.state == taken || it.state == settled || it.kept > 0 {
		return
	}
	if it.delivery == nil || it.state == untilDue || !o.room(it, sizeOf(it.delivery)) {
		it.delivery = nil
		o.bodiless[it.ref.Offset] = it
		return
	}
	delete(o.bodiless, it.ref.Offset)
	it.kept = sizeOf(it.delivery)
	o.bodies += it.kept
	it.endpoint.bodies += it.kept
}

// room reports whether a body fits: one endpoint may use a quarter of the memory, so that a silent endpoint leaves the
// rest to the others.
func (o *owner) room(it *item, size int64) bool {
	return o.bodies+size <= maxBodies && it.endpoint.bodies+size <= maxBodies/4
}

// takeBody stops counting the body of a delivery that has a slot now.
func (o *owner) takeBody(it *item) {
	if it.kept == 0 {
		delete(o.bodiless, it.ref.Offset)
		return
	}
	o.bodies -= it.kept
	it.endpoint.bodies -= it.kept
	it.kept = 0
}

// sizeOf estimates the memory that a delivery takes, in bytes.
func sizeOf(d *Delivery) int64 { return int64(len(d.Body)) + 1024 }
