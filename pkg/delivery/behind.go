package delivery

import (
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/stream"
)

// An endpoint that has as many references as it may have is behind: what comes after is passed over, and nothing of it is
// kept but the offset from which it is read again.

// behindReading is what the readers know of an endpoint that is behind.
type behindReading struct {
	// refilling: it had room, and is read for until it is full.
	refilling bool
	// moved: its offset changed, so its record is in the next commit, which has the references that it was read for.
	moved bool
	// counted: its count changed, and nothing else.
	counted bool
	// lost: the log begins above its offset; nothing is read for it until an operator accepts the loss. skipped: he did.
	lost, skipped bool
}

// maxMoved bounds the endpoints that move in one commit.
const maxMoved = maxRecords / 2

// waitingLimit is how many references each endpoint may have: a bound of its own, and never more than are free in the
// partition. Thus any number of dead endpoints leaves room for one that is not.
func (o *owner) waitingLimit() int {
	return min(o.EndpointWaitingMax, o.WaitingMax-o.queue.outstanding)
}

// exceeds reports that a delivery to an endpoint is passed over. Where the attempts say something about its deliveries from
// the offset on, they were references before, so they fit; if they were passed over, the attempts would have to be kept.
func (o *owner) exceeds(e *endpoint, offset int64) bool {
	return e.waiting >= o.waitingLimit() && offset >= o.recovered.endpoints[e.hash]
}

// passedOver passes over a record where its endpoint is behind.
func (o *owner) passedOver(r stream.Record) bool {
	if len(o.second.behind) == 0 {
		return false
	}
	e := o.queue.endpoints[xxhash.Sum64(r.Key)]
	if e == nil || !e.health.Behind.Is {
		return false
	}
	// The window of the forward reader is of all records: it is needed once the endpoint is level.
	if k, err := scanKey(r.Value); err != nil || !o.seen.repeat(k) {
		e.health.Behind.Count++
		e.counted = true
	}
	return true
}

// decodeOwn decodes a delivery whose record has the key of its endpoint, by which the readers decide.
func decodeOwn(r stream.Record) (*Delivery, error) {
	d, err := Decode(r)
	if err == nil && d.Endpoint != string(r.Key) {
		return nil, fmt.Errorf("decode delivery: the record's key is %q, its endpoint %q", r.Key, d.Endpoint)
	}
	return d, err
}

// fallBehind passes over the first delivery of an endpoint; before is the hash of the record before it.
func (o *owner) fallBehind(e *endpoint, r stream.Record, before uint64) {
	e.health.Behind = health.Behind{Is: true, Offset: r.Offset, Before: before, Count: 1, Since: r.Time.UnixMilli()}
	e.behindReading = behindReading{}
	o.second.behind = append(o.second.behind, e)
	o.move(e, true)
}

// level ends it: the readers met.
func (o *owner) level(e *endpoint) {
	if b := e.health.Behind; b.Count > 0 && e.skipped {
		o.Metrics.gone.Add(float64(b.Count))
	}
	e.health.Behind = health.Behind{}
	e.refilling, e.counted, e.lost, e.skipped = false, false, false, false
	o.second.behind = slices.DeleteFunc(o.second.behind, func(other *endpoint) bool { return other == e })
	o.move(e, true)
}

// move puts the record of an endpoint into the next commit; urgent: it fell behind, or is level.
func (o *owner) move(e *endpoint, urgent bool) {
	if !e.moved {
		e.moved = true
		o.second.moved++
	}
	o.touch(e, urgent)
}

// touchBehind puts the records of endpoints that moved before all others, and adds those with another count, once a second.
func (o *owner) touchBehind(now int64) {
	if o.second.moved > 0 {
		slices.SortStableFunc(o.dirty, func(a, b *endpoint) int {
			switch {
			case a.moved == b.moved:
				return 0
			case a.moved:
				return -1
			}
			return 1
		})
		o.second.moved = 0
	}
	if now < o.second.countAfter && !o.stopping {
		return
	}
	o.second.countAfter = now + idle.Milliseconds()
	for _, e := range o.second.behind {
		if e.counted {
			e.counted = false
			o.touch(e, false)
		}
	}
}

// isBehind reports that a delivery at an offset below the position is neither settled nor a reference, because its endpoint
// is behind.
func (o *owner) isBehind(hash uint64, offset int64) bool {
	e := o.queue.endpoints[hash]
	return e != nil && e.health.Behind.Is && offset >= e.health.Behind.Offset
}

// behindRecovered reports that the attempts say something about deliveries that are not read again yet.
func (o *owner) behindRecovered() bool {
	return slices.ContainsFunc(o.second.behind, o.mustRead)
}

// mustRead reports that an endpoint is read for whether it has room or not: its references before the opening have to be
// found again.
func (o *owner) mustRead(e *endpoint) bool {
	return e.health.Behind.Offset < o.recovered.endpoints[e.hash]
}

// hasRoom reports that an endpoint that is behind is read for. It begins when half of what it may have is free, so that the
// log is not read once for each delivery. Nothing is read for one that is stopped, until what was passed over is too old.
func (o *owner) hasRoom(e *endpoint, now int64) bool {
	limit := o.waitingLimit()
	e.refilling = e.waiting < limit && (e.refilling || 2*e.waiting < limit)
	switch {
	case e.lost || o.blocked != nil:
		return false
	case o.mustRead(e):
		return true
	case e.stopped() && e.target != nil:
		return e.refilling && o.aged(now) >= e.health.Behind.Since+o.MaxAge.Milliseconds()
	}
	return e.refilling
}

// takes reports whether a delivery that is read again is taken; where it is not, nothing after it is.
func (o *owner) takes(e *endpoint, d *Delivery, now int64) bool {
	switch {
	case d.Offset < o.recovered.endpoints[e.hash]:
		return true
	case e.waiting >= o.waitingLimit():
		return false
	case e.stopped() && e.target != nil:
		return outdated(d, o.Clock(), time.UnixMilli(o.aged(now)), o.MaxAge).settlement != Unsettled
	}
	return true
}
