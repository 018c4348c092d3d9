package loop

import (
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/delivery/internal/scan"
	"github.com/tollgate/tollgate/pkg/stream"
)

// take starts on a batch.
func (o *owner) take(f stream.Fetched) error {
	if f.Err != nil {
		o.stopped(f.Err)
		return nil //nolint:nilerr // health reports that reading ended; waiting deliveries are still sent
	}
	o.readAhead, o.next = f.Records, f.Next
	return o.takeSome()
}

// takeSome takes a part of the batch.
func (o *owner) takeSome() error {
	now := o.now()
	n := min(len(o.readAhead), turn)
	for i := range o.readAhead[:n] {
		if o.second.moved >= maxMoved { // the rest waits for the next commit
			n = i
			break
		}
		before := func() uint64 { return o.last }
		if i > 0 {
			before = o.readAhead[i-1].Hash
		}
		if err := o.takeOne(o.readAhead[i], before, now); err != nil {
			return err
		}
	}
	if n > 0 {
		o.last = o.readAhead[n-1].Hash()
	}
	o.readAhead = o.readAhead[n:]
	if len(o.readAhead) == 0 {
		if o.next > o.position { // offsets without records
			o.position, o.last = o.next, 0
		}
		o.readAhead = nil
	}
	return nil
}

// takeOne takes the next delivery; before returns the hash of the record before it.
func (o *owner) takeOne(r stream.Record, before func() uint64, now int64) error {
	o.position = r.Offset + 1
	o.noteLogTime(r.Time.UnixMilli(), now)
	o.snapshots.since += int64(len(r.Value))
	if o.passedOver(r) {
		return nil
	}
	d, err := decodeOwn(r)
	if err != nil {
		o.reject(r, err)
		return nil
	}
	if o.seen.Repeat(scan.KeyOf(d.ID, d.ReplayJob)) {
		o.Metrics.Repeats.Inc()
		return nil
	}
	ref := queue.ReferenceOf(d, r.Offset, max(o.wall(), d.NotBefore.UnixMilli()), o.MaxAge)
	waits, err := o.reconcile(&ref)
	if err != nil || !waits { // settled before the store was lost
		return err
	}
	if e := o.queue.Endpoint(ref.Endpoint); o.exceeds(e, r.Offset) {
		o.queue.Identify(e, d.Endpoint, d.Tenant)
		o.fallBehind(e, r, before())
		return nil
	}
	o.add(ref, d, now)
	return nil
}

// Add takes in a delivery that was read.
func (o *owner) add(ref pages.Reference, d *delivery.Delivery, now int64) {
	it := o.queue.Add(ref, pages.NoSlot, d, o.at(ref.Due), o.firstOf(&ref), now)
	o.fresh = append(o.fresh, it)
	if e := o.queue.Of(it); e.Waiting == 1 && len(e.Health.Stops) > 0 { // it has no record while nothing waits
		o.touch(e, false)
	}
	o.dispatch(now)
	o.queue.KeepNew(it)
}

// Stopped handles the end of reading. A log that does not hold the position is an incident, which the claim raised:
// lost deliveries are never skipped silently. Deliveries that wait are still sent.
func (o *owner) stopped(err error) {
	if errors.Is(err, stream.ErrRevoked) {
		return // draining is closed as well
	}
	o.blocked = err
	var gone *stream.OutOfRangeError
	if errors.As(err, &gone) && gone.Start > gone.From {
		o.Metrics.Gone.Add(float64(gone.Start - gone.From))
		err = fmt.Errorf("%d deliveries left the log unread: %w", gone.Start-gone.From, err)
	}
	o.condition("position", err)
}
