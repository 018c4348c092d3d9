package loop

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
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
	slices.SortFunc(o.awaitingBody, func(a, b *queue.Item) int { return cmp.Compare(a.Offset(), b.Offset()) })
	i := slices.IndexFunc(o.awaitingBody, func(it *queue.Item) bool { return it.Offset() >= o.readFrom })
	r := readBack{from: o.awaitingBody[max(i, 0)].Offset()}
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
	wanted := make(map[int64]*queue.Item, len(o.awaitingBody))
	read := make([]*queue.Item, 0, len(o.awaitingBody))
	o.awaitingBody = slices.DeleteFunc(o.awaitingBody, func(it *queue.Item) bool {
		wanted[it.Offset()] = it
		if it.Offset() < r.from || it.Offset() >= next {
			return false
		}
		read = append(read, it)
		return true
	})
	found := make(map[*queue.Item]*delivery.Delivery, len(read))
	for _, rec := range r.batch.Records {
		if it, ok := wanted[rec.Offset]; ok {
			found[it] = decodeKept(rec)
		} else if it := o.queue.Wants(rec.Offset); it != nil && o.queue.Room(it, int64(len(rec.Value))) {
			// A neighbour that is sent soon: without this it would be fetched again with the same records.
			if d := decodeKept(rec); d != nil && o.queue.IsOf(it, d) {
				o.queue.Keep(it, d)
			}
		}
	}
	for _, it := range read {
		switch d := found[it]; {
		case d == nil:
			o.lost(it, start)
		case !o.queue.IsOf(it, d):
			o.mismatch(it, d)
		default:
			o.begin(it, d, now)
		}
	}
}

// decodeKept decodes a delivery that outlives the batch it came in; nil where it can't be decoded.
func decodeKept(rec stream.Record) *delivery.Delivery {
	rec.Value = bytes.Clone(rec.Value)
	d, err := delivery.Decode(rec)
	if err != nil {
		return nil
	}
	return d
}

// Lost handles a delivery that the log, which begins at start, no longer holds.
func (o *owner) lost(it *queue.Item, start int64) {
	o.Metrics.Gone.Inc()
	if o.acceptedOrWithheld(it) {
		return
	}
	o.gone++
	err := fmt.Errorf("%d deliveries have left the log before they were settled, the last at offset %d; the log begins at %d",
		o.gone, it.Offset(), start)
	o.kafka.Incident(IncidentGone, it.Offset(), err)
	o.condition("gone", err)
}

// mismatch handles a reference at whose offset the log holds another delivery: the topic was created again, or the
// store belongs to another log. The delivery is never sent, because the receiver could be wrong.
func (o *owner) mismatch(it *queue.Item, d *delivery.Delivery) {
	o.Metrics.Mismatched.Inc()
	if o.acceptedOrWithheld(it) {
		return
	}
	o.mismatched++
	err := fmt.Errorf("%d deliveries in the log differ from those in the store: the last, at offset %d, is %s to %s; none of them is sent. Restore the log or the store so that both belong together, or accept the loss by one start with deliveries.accept_lost_deliveries",
		o.mismatched, it.Offset(), d.ID, d.Endpoint)
	o.kafka.Incident(IncidentMismatch, it.Offset(), err)
	o.condition("mismatch", err)
}

// acceptedOrWithheld settles a delivery without a body as dead where the operator accepted the loss; true then.
// Otherwise it withholds the delivery and those behind it in its ordering key until an operator decides.
func (o *owner) acceptedOrWithheld(it *queue.Item) bool {
	o.unhold(it)
	if o.AcceptLostDeliveries {
		lost := &delivery.Delivery{Topic: o.Topic, Partition: o.part.Number, Offset: it.Offset()}
		res := o.withoutAttempt(it, lost, delivery.Decision{Settlement: delivery.Dead, Reason: "gone"})
		res.dead = nil // its body is lost, so there is no dead letter
		o.settle(res)
		return true
	}
	o.giveBack(it, o.now())
	o.queue.Withhold(it)
	return false
}

// releaseAwaitingBody frees the slots of deliveries that wait for their bodies, because they are not sent any more.
func (o *owner) releaseAwaitingBody() {
	now := o.now()
	for _, it := range o.awaitingBody {
		o.putBack(it, nil, max(it.Due(), now), now)
	}
	o.awaitingBody = nil
}
