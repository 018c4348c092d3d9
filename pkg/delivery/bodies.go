package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
)

// readBack is what reading bodies back came to: those of items, where the log
// still holds them, and their neighbours.
type readBack struct {
	items   []*item
	records []stream.Record
	start   int64 // where the log begins, where something is gone
	err     error
}

// IncidentGone: retention has removed deliveries before they were settled.
const IncidentGone = "DELIVERY_GONE"

// bodyBytes is what one fetch of bodies brings: the neighbours of the one
// asked for are often wanted next.
const bodyBytes = 256 << 10

// readBodies begins to read back the bodies of what has a slot; one request at
// a time, in the order of the log.
func (o *owner) readBodies() {
	if o.reading || len(o.unread) == 0 {
		return
	}
	o.reading = true
	items := o.unread
	o.unread = nil
	slices.SortFunc(items, func(a, b *item) int { return cmp.Compare(a.ref.offset, b.ref.offset) })
	offsets := make([]int64, len(items))
	for i, it := range items {
		offsets[i] = it.ref.offset
	}
	o.workers.Go(func() {
		r := o.fetchBodies(o.send, offsets)
		r.items = items
		o.readBack <- r
	})
}

func (o *owner) fetchBodies(ctx context.Context, offsets []int64) readBack {
	var r readBack
	for i := 0; i < len(offsets); {
		b, err := o.kafka.FetchFrom(ctx, o.Topic, o.part.Number, offsets[i], bodyBytes)
		var gone *stream.OutOfRangeError
		switch {
		case errors.As(err, &gone):
			r.start = gone.Start
			for i++; i < len(offsets) && offsets[i] < gone.Start; {
				i++
			}
			continue
		case err != nil:
			r.err = err
			return r
		}
		r.records = append(r.records, b.Records...)
		for i++; i < len(offsets) && offsets[i] < b.Next; { // what a fetch passes over is not there
			i++
		}
	}
	return r
}

// bodiesRead goes on with what has its body now.
func (o *owner) bodiesRead(r readBack) {
	o.reading = false
	now := o.now()
	wanted := make(map[int64]*item, len(r.items))
	for _, it := range r.items {
		wanted[it.ref.offset] = it
	}
	for _, rec := range r.records {
		if it, ok := wanted[rec.Offset]; ok {
			if d, err := Decode(rec); err == nil {
				it.delivery = d
			}
		} else if it, ok := o.bodiless[rec.Offset]; ok && (it.place == inTurn || it.place == inLane) && o.room(it, int64(len(rec.Value))) {
			// A neighbour that goes soon: otherwise it is fetched once more, with all of these.
			if d, err := Decode(rec); err == nil {
				it.delivery = d
				o.keepBody(it)
			}
		}
	}
	for _, it := range r.items {
		switch has := it.delivery != nil; {
		case has && !o.stopping:
			o.begin(it, now)
		case has || r.err != nil:
			it.delivery = nil
			o.giveBack(it)
			o.queue.later(it, max(it.due, now), now)
			o.keepBody(it)
		case o.AcceptGone:
			lost := &Delivery{Topic: o.Topic, Partition: o.part.Number, Offset: it.ref.offset}
			res := o.withoutAttempt(it, lost, verdict{settlement: Dead, reason: "gone"})
			res.dead = nil // there is nothing left to keep
			o.settle(res)
			o.Metrics.gone.Inc()
		default:
			// Its lane waits with it: what follows must not be told before a person
			// has decided that this never will be.
			o.giveBack(it)
			o.queue.park(it)
			o.gone++
			o.Metrics.gone.Inc()
			err := fmt.Errorf("%d deliveries have left the log before they were settled, the last at offset %d; the log begins at %d",
				o.gone, it.ref.offset, r.start)
			o.kafka.Incident(IncidentGone, it.ref.offset, err)
			o.condition("gone", err)
		}
	}
	if r.err != nil && !o.stopping {
		o.log.Warn("bodies not read back", zap.Error(r.err))
	}
}

// unreadBack frees the slots of what waits for its body: it won't be sent any more.
func (o *owner) unreadBack() {
	now := o.now()
	for _, it := range o.unread {
		o.giveBack(it)
		o.queue.later(it, max(it.due, now), now)
	}
	o.unread = nil
}

// keepBody keeps the body of what has to wait for its turn, or drops it where
// that would be too much; what it has dropped can be read back.
func (o *owner) keepBody(it *item) {
	if it.place == taken || it.place == settled || it.kept > 0 {
		return
	}
	if it.delivery == nil || it.place == inTime || !o.room(it, it.delivery.size()) {
		it.delivery = nil
		o.bodiless[it.ref.offset] = it
		return
	}
	delete(o.bodiless, it.ref.offset)
	it.kept = it.delivery.size()
	o.bodies += it.kept
	it.endpoint.bodies += it.kept
}

// room tells whether a body may be kept: one endpoint has at most a quarter of
// what there is, so that one which does not answer leaves some to the others.
func (o *owner) room(it *item, size int64) bool {
	return o.bodies+size <= maxBodies && it.endpoint.bodies+size <= maxBodies/4
}

// takeBody ends the keeping of what has its turn now.
func (o *owner) takeBody(it *item) {
	if it.kept == 0 {
		delete(o.bodiless, it.ref.offset)
		return
	}
	o.bodies -= it.kept
	it.endpoint.bodies -= it.kept
	it.kept = 0
}
