package delivery

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// commit is one step of recording: what is published first, then what the store
// changes, and what follows once both are done.
type commit struct {
	given    []stream.Record // dead letters and rejects: before the attempts that say so
	attempts []stream.Record
	from, to state.Watermark
	changes  state.Commit
	extra    extra
	// holds keeps extra.attempts as it is: attempts before it still matter.
	holds bool
	// gaveUp: it settles deliveries that no receiver has.
	gaveUp bool

	results   int
	givingUps []*lane
	position  int64
}

type committed struct {
	commit
	took time.Duration
	err  error
}

// extra is what travels in the watermark beside the position.
type extra struct {
	// pages is how many pages of references there may be.
	pages int
	// attempts is the offset from which an opening reads the attempts of the
	// partition: results may have been published of which the store knows nothing.
	attempts int64
	// attemptsHash is of the record before it, 0 where that is not known: it tells
	// attempts that were made anew from those that go on.
	attemptsHash uint64
}

// extraFormat is that of the pages as well.
const extraFormat = 2

func (e extra) encode() []byte {
	b := []byte{extraFormat}
	b = binary.AppendUvarint(b, uint64(e.pages))
	b = binary.AppendUvarint(b, uint64(e.attempts))
	return binary.BigEndian.AppendUint64(b, e.attemptsHash)
}

func parseExtra(b []byte) (extra, error) {
	if len(b) == 0 {
		return extra{}, errors.New("watermark holds something else than a position of deliveries")
	}
	if b[0] != extraFormat {
		return extra{}, fmt.Errorf("position of deliveries has format %d, this binary knows %d: let the version that wrote it deliver what waits, then delete the keys of this domain in Redis", b[0], extraFormat)
	}
	pages, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return extra{}, errors.New("watermark is cut short")
	}
	attempts, m := binary.Uvarint(b[1+n:])
	if m <= 0 {
		return extra{}, errors.New("watermark is cut short")
	}
	b = b[1+n+m:]
	if len(b) != 8 {
		return extra{}, errors.New("watermark is cut short")
	}
	return extra{pages: int(pages), attempts: int64(attempts), attemptsHash: binary.BigEndian.Uint64(b)}, nil
}

// record begins a commit where one is due: nobody waits for it but lanes after
// a giving-up, so results are collected for a moment.
func (o *owner) record(ctx context.Context, now int64) {
	if o.recording || o.asking {
		return
	}
	n := len(o.results) + len(o.rejects)
	due := n >= maxResults || n > 0 && now-o.oldest >= tick.Milliseconds() ||
		len(o.fresh) >= maxFresh/2 || now-o.recorded >= idle.Milliseconds()
	if o.stopping && o.queue.taken == 0 {
		due = !o.allRecorded()
	}
	if !due {
		return
	}
	o.recording, o.cutAt = true, now
	c := o.cut(now)
	o.workers.Go(func() {
		began := time.Now()
		err := o.publish(ctx, &c)
		o.committed <- committed{commit: c, took: time.Since(began), err: err}
	})
}

// allRecorded tells that a successor would find everything.
func (o *owner) allRecorded() bool {
	return !o.recording && len(o.results) == 0 && len(o.rejects) == 0 && len(o.fresh) == 0 && o.position == o.mark.Offset
}

// cut takes what the next commit holds: at most maxResults results, the
// references of everything outstanding below the position as these results
// leave them, and nothing of results that are not in it.
func (o *owner) cut(now int64) commit {
	n := min(len(o.results), maxResults)
	c := commit{from: o.mark, results: n, position: o.position, given: o.rejects, extra: o.extra()}
	o.rejects = nil
	for i := range o.results[:n] {
		r := &o.results[i]
		c.attempts = append(c.attempts, r.attempt)
		if r.dead != nil {
			c.given = append(c.given, *r.dead)
		}
		o.apply(r)
		if r.verdict.settlement.gaveUp() {
			c.gaveUp = true
			if r.it.lane != nil {
				c.givingUps = append(c.givingUps, r.it.lane)
			}
		}
	}
	o.results = slices.Clone(o.results[n:])
	o.oldest = now
	for _, it := range o.fresh {
		if !it.recorded {
			it.slot = o.pages.add(it.ref)
		}
	}
	o.fresh = o.fresh[:0]
	var left int
	c.changes.Puts, c.changes.Deletes, left = o.pages.changes(maxPages)
	c.extra.pages = o.pages.number()
	c.to = o.mark
	c.to.Offset, c.to.LastHash = o.position, o.last
	c.to.At = o.wall()
	c.to.Serial++
	// Pages that had no room in this commit still say what the attempts know better.
	c.holds = left > 0 || o.position < o.recovered.until
	if o.position >= c.to.Floor {
		c.to.Status = state.Ready
	}
	return c
}

// apply changes the reference of a result's delivery.
func (o *owner) apply(r *result) {
	it := r.it
	if r.verdict.settlement == Unsettled {
		it.ref.attempts, it.ref.due = counted(r.number), r.verdict.next.UnixMilli()
		if it.slot != noSlot {
			o.pages.set(it.slot, it.ref)
		}
		return
	}
	it.recorded = true
	if it.slot != noSlot {
		o.pages.remove(it.slot)
		it.slot = noSlot
	}
}

// extra is that of the watermark as the store has it. It was checked when it was read or is our own.
func (o *owner) extra() extra {
	e, _ := parseExtra(o.mark.Extra)
	return e
}

// publish makes a commit: what was given up first, so that no attempt says dead
// of what no dead letter holds; then the attempts, so that nothing is settled
// which they do not prove; then the store. Kafka and Redis are ours: both are
// waited for. Results and position of a commit never change once it was tried:
// one that may have happened is tried again the same.
//
// What is given up is so by the owner's word alone: whoever was fenced must not
// say it, and asks before.
func (o *owner) publish(ctx context.Context, c *commit) error {
	if _, err := o.place(ctx, c, c.given); err != nil {
		return fmt.Errorf("publish dead letters: %w", err)
	}
	after, err := o.place(ctx, c, c.attempts)
	if err != nil {
		return fmt.Errorf("publish attempts: %w", err)
	}
	if !c.holds && after.Offset >= c.extra.attempts {
		c.extra.attempts, c.extra.attemptsHash = after.Offset+1, after.Hash()
	}
	c.to.Extra = c.extra.encode()
	return o.commit(ctx, c)
}

// place appends records until each stands in the log, and tells the last of them, of offset -1 where there is none. A refusal (a topic that is missing, a right that was taken
// away) is ours like an absence, and is waited for: an owner that ended here
// would begin again at the old position and send everything once more.
func (o *owner) place(ctx context.Context, c *commit, recs []stream.Record) (last stream.Record, err error) {
	last.Offset = -1
	left := slices.Clone(recs)
	for wait := firstWait; len(left) > 0; wait = min(2*wait, lastWait) {
		if c.gaveUp {
			if err := o.owns(ctx, c.from); err != nil {
				return last, err
			}
		}
		placed, err := o.kafka.Append(ctx, left...)
		for i, p := range placed {
			if p.Err == nil && p.Offset > last.Offset {
				last = left[i]
				last.Offset = p.Offset
			}
		}
		switch {
		case err == nil:
			return last, nil
		case ctx.Err() != nil, errors.Is(err, stream.ErrClosed):
			return last, err
		}
		o.unrecorded(err)
		if !pause(ctx, wait) {
			return last, err
		}
		left = o.notPlaced(left, placed)
	}
	return last, nil
}

// notPlaced are the records to append again. One that was stamped ahead of the
// broker's clock gets the time of now, which is right once our clock is.
func (o *owner) notPlaced(recs []stream.Record, placed []stream.ProduceResult) []stream.Record {
	if len(placed) != len(recs) {
		return recs // nothing is known of any
	}
	left := recs[:0]
	for i, p := range placed {
		if p.Err == nil {
			continue
		}
		if errors.Is(p.Err, stream.ErrTimestampAhead) {
			recs[i].Time = o.Clock()
		}
		left = append(left, recs[i])
	}
	return left
}

// unrecorded notes why a commit is tried again; observe says it once that lasts.
func (o *owner) unrecorded(err error) {
	if o.failing.Swap(&err) == nil {
		o.log.Warn("results wait to be recorded", zap.Error(err))
	}
}

// pause waits; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// commit makes the store's step. Its answer may be lost: then the same step is
// tried until it is known whether it happened.
func (o *owner) commit(ctx context.Context, c *commit) error {
	unknown := false
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := o.within(ctx, func(ctx context.Context) error { return o.Store.Commit(ctx, o.part, c.from, c.to, c.changes) })
		if errors.Is(err, state.ErrFenced) && unknown {
			err = o.within(ctx, func(ctx context.Context) error {
				_, err := o.Store.Load(ctx, o.part, c.to, nil)
				return err
			})
		}
		if err == nil || errors.Is(err, state.ErrFenced) {
			return err
		}
		o.unrecorded(err)
		unknown = true
		if !pause(ctx, wait) {
			return fmt.Errorf("commit: %w: %w", ctx.Err(), err)
		}
	}
}

// within bounds one call to the store.
func (o *owner) within(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return call(ctx)
}

// wasRecorded follows a commit up.
func (o *owner) wasRecorded(c committed) error {
	o.recording = false
	o.failing.Store(nil)
	o.Slots.recorded(c.results)
	o.Metrics.unrecorded.Sub(float64(c.results))
	switch {
	case errors.Is(c.err, state.ErrFenced):
		o.Metrics.fenced.Inc()
		return fmt.Errorf("%w: %w", stream.ErrRejoin, c.err)
	case c.err != nil:
		return c.err
	}
	o.Metrics.commitSeconds.Observe(c.took.Seconds())
	now := o.now()
	o.mark, o.recorded = c.to, now
	o.kafka.Worked(o.mark.Offset)
	if o.mark.Offset >= o.recovered.until {
		o.recovered = recovered{}
	}
	for _, l := range c.givingUps {
		o.queue.committed(l, now)
	}
	o.tellGroup(now)
	return nil
}

// tellGroup moves the group's offset along, for those who look at lag; nothing
// of ours ever starts from it.
func (o *owner) tellGroup(now int64) {
	if now-o.toldGroup < idle.Milliseconds() || o.mark.Offset == o.groupOffset || !o.telling.CompareAndSwap(false, true) {
		return
	}
	o.toldGroup, o.groupOffset = now, o.mark.Offset
	offset := o.mark.Offset
	o.workers.Go(func() {
		defer o.telling.Store(false)
		err := o.within(o.send, func(ctx context.Context) error { return o.kafka.Position(ctx, offset) })
		if err != nil {
			o.log.Debug("group's offset not moved", zap.Error(err))
		}
	})
}
