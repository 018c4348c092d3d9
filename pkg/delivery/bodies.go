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

// readBack is what reading bodies back came to: deliveries in the order of
// items, nil where the log does not hold it any more.
type readBack struct {
	items      []*item
	deliveries []*Delivery
	start      int64 // where the log begins, where something is gone
	err        error
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
	r := readBack{deliveries: make([]*Delivery, len(offsets))}
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
		for _, rec := range b.Records {
			for i < len(offsets) && offsets[i] < rec.Offset {
				i++
			}
			if i < len(offsets) && offsets[i] == rec.Offset {
				if d, err := Decode(rec); err == nil {
					r.deliveries[i] = d
				}
				i++
			}
		}
		if len(b.Records) == 0 { // the log ends below a reference, or holds no record there
			i++
		}
	}
	return r
}

// bodiesRead goes on with what has its body now.
func (o *owner) bodiesRead(r readBack) {
	o.reading = false
	now := o.now()
	for i, it := range r.items {
		switch d := r.deliveries[i]; {
		case d != nil && !o.stopping:
			it.delivery = d
			o.begin(it, now)
		case d != nil || r.err != nil:
			o.giveBack(it)
			o.queue.later(it, max(it.due, now), now)
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
