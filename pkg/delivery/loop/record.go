package loop

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/delivery/internal/scan"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// commit is one step of recording: records that are published first, then changes of the store, and what follows once
// both are done.
type commit struct {
	beforeAttempts []stream.Record // dead letters and rejects, published before the attempts
	attempts       []stream.Record
	from, to       state.Watermark
	changes        state.Commit
	extra          pages.Extra
	// keepsAttemptsOffset keeps extra.Attempts as it is: attempts before it are still needed.
	keepsAttemptsOffset bool
	// published is how far the attempts are published with it; passable, how far an opening may pass over them: beyond there
	// are results of endpoints whose records had no room.
	published, passable queue.End
	// recovered: after it, nothing that an opening found in the attempts is needed any more.
	recovered bool
	// undelivered: it settles deliveries that no receiver has.
	undelivered bool

	// Endpoints are those whose records it changes.
	endpoints []*queue.Endpoint
	// snapshot are all entries of the store after it, where a snapshot is due.
	snapshot []state.Entry

	results            int
	undeliveredPending []uint64 // ordering keys
	position           int64
}

type committed struct {
	commit
	took time.Duration
	err  error
}

// Record starts a commit where one is due. Only ordering keys after an undelivered settlement wait for it, so results
// are collected for a moment.
func (o *owner) record(ctx context.Context, now int64) {
	if o.recording || o.checkingFence {
		return
	}
	n := len(o.results) + len(o.rejects)
	due := n >= maxResults || n > 0 && now-o.oldest >= tick.Milliseconds() ||
		len(o.fresh) >= maxFresh/2 || len(o.dirty) >= maxRecords || now-o.recorded >= o.idle().Milliseconds()
	due = due || o.second.moved >= maxMoved
	if o.stopping && o.queue.Taken == 0 {
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

// allRecorded reports that a successor would find everything.
func (o *owner) allRecorded() bool {
	return !o.recording && len(o.results) == 0 && len(o.rejects) == 0 && len(o.fresh) == 0 && len(o.dirty) == 0 && o.position == o.mark.Offset
}

// cut takes the content of the next commit: at most maxResults results, the references of all items below the position
// as these results leave them, and nothing of later results.
func (o *owner) cut(now int64) commit {
	n := min(len(o.results), maxResults)
	c := commit{from: o.mark, results: n, position: o.position, beforeAttempts: o.rejects, extra: o.extra()}
	o.rejects = nil
	for i := range o.results[:n] {
		r := o.results[i]
		c.attempts = append(c.attempts, r.attempt)
		o.snapshots.since += int64(len(r.attempt.Value))
		if r.dead != nil {
			c.beforeAttempts = append(c.beforeAttempts, *r.dead)
		}
		if r.of != nil {
			r.of.Unpublished--
		}
		if r.decision.Settlement.Undelivered() {
			c.undelivered = true
			if r.it.Key != 0 {
				c.undeliveredPending = append(c.undeliveredPending, r.it.Key)
			}
		}
		o.apply(r) // the item is of no result any more
	}
	o.results = append(o.results[:0:0], o.results[n:]...)
	o.oldest = now
	for _, it := range o.fresh {
		if settled := o.queue.Stored(it); !settled {
			it.Slot = o.pages.Add(it.Number())
		}
	}
	o.fresh = nil // it may have been long
	var left int
	c.changes.Puts, c.changes.Deletes, left = o.pages.Changes(maxPages)
	c.endpoints = o.cutRecords(&c.changes, now)
	c.extra.Pages, c.extra.Records = o.pages.Number(), o.places.Number
	c.to = o.mark
	c.to.Offset, c.to.LastHash = o.position, o.last
	c.to.At = o.wall()
	c.to.LogTime = max(0, o.logTime+now-o.logTimeAt)
	c.to.Serial++
	// Pages that had no room in this commit still need their attempts.
	c.recovered = o.position >= o.recovered.Until && !o.behindRecovered()
	c.keepsAttemptsOffset = left > 0 || !c.recovered
	if o.position >= c.to.PublishedOffset {
		c.to.Status, c.extra.Owner = state.Ready, state.Token{}
	}
	c.to.SnapshotAt, c.to.SnapshotOffset = max(c.to.SnapshotAt, o.snapshotAt), max(c.to.SnapshotOffset, o.snapshotOffset)
	c.published, c.passable = o.published, queue.End{Offset: math.MaxInt64}
	for _, e := range o.dirty {
		if e.TouchedAt.Offset < c.passable.Offset {
			c.passable = e.TouchedAt
		}
	}
	if o.snapshotDue(now) {
		c.snapshot = o.entries()
	}
	return c
}

// apply changes the reference of a result's delivery.
func (o *owner) apply(r *result) {
	it := r.it
	if r.decision.Settlement == delivery.Unsettled {
		o.queue.Record(it, pages.Counted(r.counted), r.due)
		if it.Slot != pages.NoSlot {
			o.pages.Touch(it.Slot)
		}
		return
	}
	if it.Slot != pages.NoSlot {
		o.pages.Remove(it.Slot)
	}
	o.queue.Release(it)
}

// extra is the extra of the watermark in the store. It was checked when it was read, or this owner wrote it.
func (o *owner) extra() pages.Extra {
	e, _ := pages.ParseExtra(o.mark.Extra)
	return e
}

// publish makes a commit. Dead letters come first, so that no attempt shows dead without a dead letter; then the
// attempts, so that no delivery is settled without its attempt; then the store. It waits for Kafka and Redis. Results
// and position of a commit never change once it was tried: one that may have succeeded is tried again unchanged.
//
// An undelivered settlement rests on this owner's decision alone. A fenced owner must not make it, so the owner checks
// the fence before.
func (o *owner) publish(ctx context.Context, c *commit) error {
	if _, err := o.produce(ctx, c, c.beforeAttempts); err != nil {
		return fmt.Errorf("publish dead letters: %w", err)
	}
	after, err := o.produce(ctx, c, c.attempts)
	if err != nil {
		return fmt.Errorf("publish attempts: %w", err)
	}
	if after.Offset >= c.published.Offset {
		c.published = queue.End{Offset: after.Offset + 1, Hash: after.Hash()}
	}
	setEnds(c.changes.Puts, c.published.Offset)
	to := c.published
	if c.passable.Offset < to.Offset {
		to = c.passable
	}
	if !c.keepsAttemptsOffset && to.Offset > c.extra.Attempts {
		c.extra.Attempts, c.extra.AttemptsHash = to.Offset, to.Hash
	}
	c.to.Extra = c.extra.Encode()
	return o.commit(ctx, c)
}

// produce produces records until each is in the log, and returns the last of them, with offset -1 where there is none.
// A refusal by Kafka (a missing topic, a missing right) is waited for: an owner that ended here would start again at
// the old position and send everything once more.
func (o *owner) produce(ctx context.Context, c *commit, recs []stream.Record) (last stream.Record, err error) {
	last.Offset = -1
	left := slices.Clone(recs)
	for wait := firstWait; len(left) > 0; wait = min(2*wait, lastWait) {
		if c.undelivered {
			if err := o.confirmOwnership(ctx, c.from); err != nil {
				return last, err
			}
		}
		produced, err := o.kafka.Produce(ctx, left...)
		for i, p := range produced {
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
		o.noteRetry(err)
		if !pause.For(ctx, wait) {
			return last, err
		}
		left = o.notProduced(left, produced)
	}
	return last, nil
}

// notProduced are the records to produce again. A record whose timestamp the broker refused as future gets the current
// time, which is right once this clock is.
func (o *owner) notProduced(recs []stream.Record, produced []stream.ProduceResult) []stream.Record {
	if len(produced) != len(recs) {
		return recs // the result of each is unknown
	}
	left := recs[:0]
	for i, p := range produced {
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

// noteRetry stores why a commit is tried again; observe reports it once that lasts.
func (o *owner) noteRetry(err error) {
	if o.failing.Swap(&err) == nil {
		o.log.Warn("results wait to be recorded", zap.Error(err))
	}
}

// commit makes the step of the store. Where its answer was lost, it retries the same step until it is known whether the
// step happened.
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
		o.noteRetry(err)
		unknown = true
		if !pause.For(ctx, wait) {
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

// commitDone takes over the result of a commit.
func (o *owner) commitDone(c committed) error {
	o.recording = false
	o.failing.Store(nil)
	o.Slots.Recorded(c.results)
	o.Metrics.Unrecorded.Sub(float64(c.results))
	switch {
	case errors.Is(c.err, state.ErrFenced):
		o.Metrics.Fenced.Inc()
		return fmt.Errorf("%w: %w", stream.ErrRejoin, c.err)
	case c.err != nil:
		return c.err
	}
	o.Metrics.CommitSeconds.Observe(c.took.Seconds())
	now := o.now()
	o.mark, o.recorded, o.published = c.to, now, c.published
	o.kafka.Worked(o.mark.Offset)
	if c.recovered {
		o.recovered = scan.Recovered{}
	}
	for _, e := range c.endpoints {
		o.unreported(e, e.UrgentCut)
	}
	for _, key := range c.undeliveredPending {
		o.queue.Committed(key, now)
	}
	o.kafka.Position(o.mark.Offset)
	o.writeSnapshot(c.snapshot, now)
	return nil
}
