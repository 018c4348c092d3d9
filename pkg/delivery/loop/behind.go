package loop

import (
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/delivery/internal/scan"
	"github.com/tollgate/tollgate/pkg/stream"
)

// An endpoint that has as many references as it may have is behind: what comes after is passed over, and nothing of it is
// kept but the offset from which it is read again.

// maxMoved bounds the endpoints that move in one commit.
const maxMoved = maxRecords / 2

// waitingLimit is how many references each endpoint may have: a bound of its own, and never more than are free in the
// partition. Thus any number of dead endpoints leaves room for one that is not.
func (o *owner) waitingLimit() int {
	return min(o.EndpointWaitingMax, o.WaitingMax-o.queue.Outstanding)
}

// exceeds reports that a delivery to an endpoint is passed over. Where the attempts hold something about its deliveries from
// the offset on, they were references before, so they fit; if they were passed over, the attempts would have to be kept.
func (o *owner) exceeds(e *queue.Endpoint, offset int64) bool {
	return e.Waiting >= o.waitingLimit() && offset >= o.recovered.Endpoints[e.Hash]
}

// passedOver passes over a record where its endpoint is behind.
func (o *owner) passedOver(r stream.Record) bool {
	if len(o.second.behind) == 0 {
		return false
	}
	e := o.queue.Endpoints[xxhash.Sum64(r.Key)]
	if e == nil || !e.Health.Behind.Is {
		return false
	}
	// The window of the forward reader is of all records: it is needed once the endpoint is level.
	if k, err := scan.ScanKey(r.Value); err != nil || !o.seen.Repeat(k) {
		e.Health.Behind.Count++
		e.Counted = true
	}
	return true
}

// decodeOwn decodes a delivery whose record has the key of its endpoint, by which the readers decide.
func decodeOwn(r stream.Record) (*delivery.Delivery, error) {
	d, err := delivery.Decode(r)
	if err == nil && d.Endpoint != string(r.Key) {
		return nil, fmt.Errorf("decode delivery: the record's key is %q, its endpoint %q", r.Key, d.Endpoint)
	}
	return d, err
}

// fallBehind passes over the first delivery of an endpoint; before is the hash of the record before it.
func (o *owner) fallBehind(e *queue.Endpoint, r stream.Record, before uint64) {
	e.Health.Behind = health.Behind{Is: true, Offset: r.Offset, Before: before, Count: 1, Since: r.Time.UnixMilli()}
	e.BehindReading = queue.BehindReading{}
	o.second.behind = append(o.second.behind, e)
	o.move(e, true)
}

// level ends it: the readers met.
func (o *owner) level(e *queue.Endpoint) {
	if b := e.Health.Behind; b.Count > 0 && e.Skipped {
		o.Metrics.Gone.Add(float64(b.Count))
	}
	e.Health.Behind = health.Behind{}
	e.Refilling, e.Counted, e.Lost, e.Skipped = false, false, false, false
	o.second.behind = slices.DeleteFunc(o.second.behind, func(other *queue.Endpoint) bool { return other == e })
	o.move(e, true)
}

// move puts the record of an endpoint into the next commit; urgent: it fell behind, or is level.
func (o *owner) move(e *queue.Endpoint, urgent bool) {
	if !e.Moved {
		e.Moved = true
		o.second.moved++
	}
	o.touch(e, urgent)
}

// touchBehind puts the records of endpoints that moved before all others, and adds those with another count, once a second.
func (o *owner) touchBehind(now int64) {
	if o.second.moved > 0 {
		slices.SortStableFunc(o.dirty, func(a, b *queue.Endpoint) int {
			switch {
			case a.Moved == b.Moved:
				return 0
			case a.Moved:
				return -1
			}
			return 1
		})
		o.second.moved = 0
	}
	if now < o.second.countAfter && !o.stopping {
		return
	}
	o.second.countAfter = now + o.idle().Milliseconds()
	for _, e := range o.second.behind {
		if e.Counted {
			e.Counted = false
			o.touch(e, false)
		}
	}
}

// isBehind reports that a delivery at an offset below the position is neither settled nor a reference, because its endpoint
// is behind.
func (o *owner) isBehind(hash uint64, offset int64) bool {
	e := o.queue.Endpoints[hash]
	return e != nil && e.Health.Behind.Is && offset >= e.Health.Behind.Offset
}

// behindRecovered reports that the attempts hold something about deliveries that are not read again yet.
func (o *owner) behindRecovered() bool {
	return slices.ContainsFunc(o.second.behind, o.mustRead)
}

// mustRead reports that an endpoint is read for whether it has room or not: its references before the opening have to be
// found again.
func (o *owner) mustRead(e *queue.Endpoint) bool {
	return e.Health.Behind.Offset < o.recovered.Endpoints[e.Hash]
}

// hasRoom reports that an endpoint that is behind is read for. It begins when half of what it may have is free, so that the
// log is not read once for each delivery. Nothing is read for one that is stopped, until what was passed over is too old.
func (o *owner) hasRoom(e *queue.Endpoint, now int64) bool {
	limit := o.waitingLimit()
	e.Refilling = e.Waiting < limit && (e.Refilling || 2*e.Waiting < limit)
	switch {
	case e.Lost || o.blocked != nil:
		return false
	case o.mustRead(e):
		return true
	case e.Stopped() && e.Target != nil:
		return e.Refilling && o.aged(now) >= e.Health.Behind.Since+o.MaxAge.Milliseconds()
	}
	return e.Refilling
}

// takes reports whether a delivery that is read again is taken; where it is not, nothing after it is.
func (o *owner) takes(e *queue.Endpoint, d *delivery.Delivery, now int64) bool {
	switch {
	case d.Offset < o.recovered.Endpoints[e.Hash]:
		return true
	case e.Waiting >= o.waitingLimit():
		return false
	case e.Stopped() && e.Target != nil:
		return delivery.Outdated(d, o.Clock(), time.UnixMilli(o.aged(now)), o.MaxAge).Settlement != delivery.Unsettled
	}
	return true
}
