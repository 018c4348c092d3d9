package delivery

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
)

// readBack is what one fetch of bodies brought: those of items, where the log
// still holds them, and their neighbours.
type readBack struct {
	from  int64
	batch stream.Batch
	err   error
}

// Codes of incidents.
const (
	// IncidentGone: retention has removed deliveries before they were settled.
	IncidentGone = "DELIVERY_GONE"
	// IncidentMismatch: the log holds another delivery where one waits.
	IncidentMismatch = "DELIVERY_MISMATCH"
	// IncidentRecreated: a topic is not the one that was worked before.
	IncidentRecreated = "LOG_RECREATED"
)

const (
	// bodyBytes is what one fetch of bodies brings: the neighbours of the one
	// asked for are often wanted next.
	bodyBytes = 256 << 10
	// maxUnread is how many deliveries of a partition hold a slot of the process
	// while they wait for their bodies; the others keep their turn without one.
	maxUnread = 64
)

// readBodies begins to read back the bodies of what has a slot; one fetch at a
// time, upwards through the log and from its beginning again, so that nothing
// waits for ever behind what has come after it.
func (o *owner) readBodies(now int64) {
	if o.reading || len(o.unread) == 0 || now < o.readAfter {
		return
	}
	o.reading = true
	slices.SortFunc(o.unread, func(a, b *item) int { return cmp.Compare(a.ref.offset, b.ref.offset) })
	i := slices.IndexFunc(o.unread, func(it *item) bool { return it.ref.offset >= o.readFrom })
	r := readBack{from: o.unread[max(i, 0)].ref.offset}
	o.workers.Go(func() {
		r.batch, r.err = o.kafka.FetchFrom(o.send, o.Topic, o.part.Number, r.from, bodyBytes)
		o.readBack <- r
	})
}

// covers tells up to where a fetch says what the log holds from r.from on, and
// where the log begins. What brings nothing says nothing: only retention, or a
// log that goes on without a record, takes a delivery away.
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

// bodiesRead goes on with what has its body now.
func (o *owner) bodiesRead(r readBack) {
	o.reading = false
	now := o.now()
	next, start, err := r.covers()
	if err != nil {
		// Another goes first next time.
		o.readFrom, o.readAfter, o.unreadable = r.from+1, now+readAgain.Milliseconds(), r.from
		if !o.stopping {
			o.log.Warn("bodies not read back", zap.Error(err))
			o.condition("bodies", fmt.Errorf("bodies are not read back: %w", err))
		}
		return
	}
	o.readFrom = next
	if r.from <= o.unreadable && o.unreadable < next {
		o.condition("bodies", nil)
	}
	wanted := make(map[int64]*item, len(o.unread))
	read := make([]*item, 0, len(o.unread))
	o.unread = slices.DeleteFunc(o.unread, func(it *item) bool {
		wanted[it.ref.offset] = it
		if it.ref.offset < r.from || it.ref.offset >= next {
			return false
		}
		read = append(read, it)
		return true
	})
	others := map[*item]*Delivery{}
	for _, rec := range r.batch.Records {
		if it, ok := wanted[rec.Offset]; ok {
			d := decodeKept(rec)
			if d != nil && !it.ref.of(d) {
				others[it] = d
				continue
			}
			it.delivery = d
		} else if it, ok := o.bodiless[rec.Offset]; ok && (it.place == inTurn || it.place == inLane) && o.room(it, int64(len(rec.Value))) {
			// A neighbour that goes soon: otherwise it is fetched once more, with all of these.
			if d := decodeKept(rec); d != nil && it.ref.of(d) {
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

// decodeKept decodes a delivery that is kept while the batch it came in is not;
// nil where it can't be read.
func decodeKept(rec stream.Record) *Delivery {
	rec.Value = bytes.Clone(rec.Value)
	d, err := Decode(rec)
	if err != nil {
		return nil
	}
	return d
}

// lost handles a delivery that the log, which begins at start, does not hold any more.
func (o *owner) lost(it *item, start int64) {
	o.Metrics.gone.Inc()
	if o.withheld(it) {
		return
	}
	o.gone++
	err := fmt.Errorf("%d deliveries have left the log before they were settled, the last at offset %d; the log begins at %d",
		o.gone, it.ref.offset, start)
	o.kafka.Incident(IncidentGone, it.ref.offset, err)
	o.condition("gone", err)
}

// mismatch handles a reference in whose place the log holds another delivery:
// the topic was made anew, or the store is another one's. It is never sent, for
// nobody knows who would get what.
func (o *owner) mismatch(it *item, d *Delivery) {
	o.Metrics.mismatched.Inc()
	if o.withheld(it) {
		return
	}
	o.mismatched++
	err := fmt.Errorf("%d deliveries are not those that were kept: the last, at offset %d, is %s to %s; nothing of them is sent. Bring back the log or the store that belong together, or give them up by one start with deliveries.accept_lost_deliveries",
		o.mismatched, it.ref.offset, d.ID, d.Endpoint)
	o.kafka.Incident(IncidentMismatch, it.ref.offset, err)
	o.condition("mismatch", err)
}

// withheld settles as dead, where a person has said so, a delivery whose body is
// not there; true then. Else its lane waits with it: what follows must not be
// sent before a person has decided that this never will be.
func (o *owner) withheld(it *item) bool {
	o.unhold(it)
	if o.AcceptLostDeliveries {
		lost := &Delivery{Topic: o.Topic, Partition: o.part.Number, Offset: it.ref.offset}
		res := o.withoutAttempt(it, lost, verdict{settlement: Dead, reason: "gone"})
		res.dead = nil // there is nothing left to keep
		o.settle(res)
		return true
	}
	o.giveBack(it)
	o.queue.park(it)
	return false
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
