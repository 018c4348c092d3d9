package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/delivery/internal/scan"
	"github.com/tollgate/tollgate/pkg/stream"
)

// behindBytes is the size of one fetch of the second reader.
const behindBytes = 1 << 20

// secondReader reads again from the lowest offset of the endpoints that are behind and have room. It takes the deliveries
// of those endpoints alone, in the order of the log, and moves their offsets on. Where it meets the forward reader, an
// endpoint is level again.
type secondReader struct {
	behind []*queue.Endpoint
	// Moved counts the endpoints whose offset changed since the last commit.
	moved      int
	countAfter int64
	// seen are the deliveries before the offset at.
	seen    *scan.Window
	at      int64
	reading bool
	after   int64 // not before
	done    chan behindRead
}

type behindRead struct {
	from   int64
	before uint64
	// seen replaces the window, where the last one ended elsewhere.
	seen  *scan.Window
	batch stream.Batch
	err   error
}

// readBehind starts to fetch for endpoints that are behind.
func (o *owner) readBehind(now int64) {
	s := &o.second
	if now < s.after || !o.mayReadBehind() {
		return
	}
	var lowest *queue.Endpoint
	for _, e := range s.behind {
		if o.hasRoom(e, now) && (lowest == nil || e.Health.Behind.Offset < lowest.Health.Behind.Offset) {
			lowest = e
		}
	}
	if lowest == nil {
		s.after = now + lookAgain.Milliseconds()
		return
	}
	s.reading = true
	r := behindRead{from: lowest.Health.Behind.Offset, before: lowest.Health.Behind.Before}
	refill := s.at != r.from
	o.workers.Go(func() {
		r.err = o.fetchBehind(o.send, &r, refill)
		s.done <- r
	})
}

// mayReadBehind reports whether a fetch may begin.
func (o *owner) mayReadBehind() bool {
	s := &o.second
	return len(s.behind) > 0 && !s.reading && !o.stopping && !o.recovering() && !o.ownershipUnknown &&
		len(o.fresh) < maxFresh/2 && s.moved < maxMoved
}

// lookAgain is between two looks for room.
const lookAgain = 100 * time.Millisecond

// fetchBehind fetches a batch, with the record before it where its hash is known.
func (o *owner) fetchBehind(ctx context.Context, r *behindRead, refill bool) error {
	if refill {
		start, _, err := o.kafka.Offsets(ctx, o.Topic, o.part.Number)
		if err != nil {
			return err
		}
		r.seen = scan.NewWindow()
		err = o.scan(ctx, o.Topic, max(start, r.from-scan.WindowSize), r.from, func(rec stream.Record) {
			if k, err := scan.ScanKey(rec.Value); err == nil {
				r.seen.Repeat(k)
			}
		})
		if err != nil {
			return err
		}
	}
	from := r.from
	if r.before != 0 {
		from--
	}
	var err error
	r.batch, err = o.kafka.FetchFrom(ctx, o.Topic, o.part.Number, from, behindBytes)
	var gone *stream.OutOfRangeError
	if errors.As(err, &gone) && from < r.from && gone.Start == r.from { // the record before has left the log
		r.before = 0
		r.batch, err = o.kafka.FetchFrom(ctx, o.Topic, o.part.Number, r.from, behindBytes)
	}
	return err
}

// behindRead takes what was fetched for the endpoints with room.
func (o *owner) behindRead(r behindRead) error {
	s := &o.second
	now := o.now()
	s.reading, s.after = false, now
	if o.stopping {
		return nil
	}
	if r.seen != nil {
		s.seen, s.at = r.seen, r.from
	}
	var gone *stream.OutOfRangeError
	switch {
	case errors.As(r.err, &gone) && gone.Start > r.from:
		o.lostBehind(gone.Start)
		return nil
	case errors.As(r.err, &gone):
		return o.raiseRecreated(o.Topic, r.from, errors.New("it ends before deliveries that were passed over"))
	case r.err != nil || r.batch.Next <= r.from && r.from < o.position:
		s.after = now + readAgain.Milliseconds()
		if !o.stopping {
			o.condition("behind", fmt.Errorf("deliveries that were passed over can't be read again: %w", cmp.Or(r.err, errNothing)))
		}
		return nil
	}
	o.condition("behind", nil)
	return o.takeBehind(&r, now)
}

var errNothing = errors.New("nothing was read")

// reread is one batch of the second reader on its way.
type reread struct {
	now int64
	// for are the endpoints that are read for.
	endpoints map[uint64]*queue.Endpoint
	// last is the record before the one at hand, which next is the offset of; before is its hash.
	last   *stream.Record
	next   int64
	before uint64
}

// Hash is that of the record before next, 0 where it is not known.
func (b *reread) hash() uint64 {
	if b.last == nil {
		return b.before
	}
	return b.last.Hash()
}

// takeBehind takes the records of a batch up to the position, as far as there is room in the next commit.
func (o *owner) takeBehind(r *behindRead, now int64) error {
	b := reread{now: now, endpoints: o.readFor(r.from, r.batch.Next, now), next: r.from, before: r.before}
	for i := range r.batch.Records {
		rec := &r.batch.Records[i]
		if rec.Offset < r.from {
			if rec.Offset == r.from-1 && rec.Hash() != r.before {
				if o.AcceptLostDeliveries {
					o.log.Warn("deliveries of another log that were passed over are skipped", zap.Int64("offset", r.from))
					b.before = 0
					continue
				}
				return o.raiseRecreated(o.Topic, r.from, errors.New("the record before deliveries that were passed over is another one"))
			}
			continue
		}
		if rec.Offset >= o.position || len(o.fresh) >= maxFresh || len(b.endpoints) == 0 {
			o.moveOn(&b)
			return nil
		}
		stop, err := o.takeAgain(&b, rec)
		if err != nil {
			return err
		}
		if stop {
			o.moveOn(&b)
			return nil
		}
		b.last, b.next = rec, rec.Offset+1
	}
	if b.next = min(r.batch.Next, o.position); b.last == nil || b.last.Offset != b.next-1 {
		b.last, b.before = nil, 0
	}
	o.moveOn(&b)
	return nil
}

// readFor chooses the endpoints with room that a batch concerns, the oldest first, as many as move in one commit. One whose
// offset lies below the batch got room since: the next is for it.
func (o *owner) readFor(from, end, now int64) map[uint64]*queue.Endpoint {
	var all []*queue.Endpoint
	for _, e := range o.second.behind {
		if at := e.Health.Behind.Offset; at >= from && at < end && o.hasRoom(e, now) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *queue.Endpoint) int { return cmp.Compare(a.Health.Behind.Offset, b.Health.Behind.Offset) })
	all = all[:min(len(all), maxMoved)]
	byHash := make(map[uint64]*queue.Endpoint, len(all))
	for _, e := range all {
		byHash[e.Hash] = e
	}
	return byHash
}

// takeAgain takes a delivery that was passed over, where its endpoint is read for. It stops before a delivery that has no
// room, where there is no other endpoint to read for: the window then ends there too, and is not filled again.
func (o *owner) takeAgain(b *reread, rec *stream.Record) (stop bool, err error) {
	k, err := scan.ScanKey(rec.Value)
	repeat := err == nil && o.second.seen.Has(k)
	e := b.endpoints[xxhash.Sum64(rec.Key)]
	if e != nil && rec.Offset >= e.Health.Behind.Offset && !repeat {
		if stop, err := o.takeFor(e, b, rec); stop || err != nil {
			return stop, err
		}
	} else if repeat && e != nil {
		o.Metrics.Repeats.Inc()
	}
	if err == nil {
		o.second.seen.Repeat(k)
	}
	return false, nil
}

func (o *owner) takeFor(e *queue.Endpoint, b *reread, rec *stream.Record) (stop bool, err error) {
	d, err := decodeOwn(*rec)
	if err != nil {
		e.Health.Behind.Count--
		o.reject(*rec, err)
		return false, nil
	}
	ref := queue.ReferenceOf(d, rec.Offset, max(o.wall(), d.NotBefore.UnixMilli()), o.MaxAge)
	waits, err := o.reconcile(&ref)
	switch {
	case err != nil:
		return false, err
	case waits && !o.takes(e, d, b.now):
		o.moveTo(e, rec.Offset, b.hash(), rec.Time.UnixMilli())
		e.Refilling = false
		delete(b.endpoints, e.Hash)
		return len(b.endpoints) == 0, nil
	}
	e.Health.Behind.Count--
	if waits {
		o.add(ref, decodeKept(*rec), b.now)
	}
	return false, nil
}

// moveTo moves the offset of an endpoint.
func (o *owner) moveTo(e *queue.Endpoint, offset int64, before uint64, since int64) {
	e.Health.Behind.Offset, e.Health.Behind.Before = offset, before
	e.Health.Behind.Since = max(e.Health.Behind.Since, since)
	o.move(e, false)
}

// moveOn moves the endpoints that everything was taken of up to where reading ended.
func (o *owner) moveOn(b *reread) {
	before := b.hash()
	since := int64(0)
	if b.last != nil {
		since = b.last.Time.UnixMilli()
	}
	for _, e := range b.endpoints {
		switch {
		case b.next >= o.position:
			o.level(e)
		case e.Health.Behind.Offset < b.next:
			o.moveTo(e, b.next, before, since)
		}
	}
	o.second.at = b.next
}

// openBehind finds the endpoints that are behind, and those of which the log has lost a part.
func (o *owner) openBehind(start int64) {
	for _, e := range o.queue.Endpoints {
		if e.Health.Behind.Is {
			o.second.behind = append(o.second.behind, e)
		}
	}
	o.lostBehind(start)
}

// lostBehind handles endpoints whose deliveries left the log before they were read again. Where the operator accepted the
// loss they are read on from the start of the log, and what is missing is counted once they are level.
func (o *owner) lostBehind(start int64) {
	for _, e := range o.second.behind {
		b := &e.Health.Behind
		if b.Offset >= start || e.Lost {
			continue
		}
		err := fmt.Errorf("of %d deliveries to %s that were passed over from offset %d on, those below %d have left the log", b.Count, e.Health.Name, b.Offset, start)
		if o.AcceptLostDeliveries {
			o.log.Warn("lost deliveries are skipped: " + err.Error())
			e.Skipped = true
			o.moveTo(e, start, 0, b.Since)
			continue
		}
		e.Lost = true
		o.Metrics.Gone.Inc()
		o.kafka.Incident(IncidentGone, b.Offset, err)
		o.condition("gone", err)
	}
}
