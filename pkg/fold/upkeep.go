package fold

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fold/internal/control"
	"github.com/tollgate/tollgate/pkg/fold/internal/limits"
	"github.com/tollgate/tollgate/pkg/state"
)

// upkeep is what an owner does between batches, busy or not, beside snapshots.
func (o *Owner[B, C]) upkeep(ctx context.Context) {
	o.announce(ctx)
	if offset, ok := o.publishedOffset(); ok {
		o.config.Log.CommitSoon(offset)
	}
	o.alarm()
}

// alarm reports in time that retention is about to remove what a rebuild needs.
func (o *Owner[B, C]) alarm() {
	now, c := o.config.Clock(), o.config
	if old := now.Sub(o.next); !o.next.IsZero() && c.LogRetention > 0 && old > c.LogRetention/2 {
		c.Log.Incident(IncidentBehind, o.w.Offset, fmt.Errorf("the next record is %s old, the log keeps %s: find out what holds the partition, or keep the log longer", old.Round(time.Minute), c.LogRetention))
	} else {
		c.Log.Settle(IncidentBehind)
	}
	if c.SnapshotRetention > 0 && o.w.SnapshotAt > 0 {
		if age := now.Sub(time.UnixMilli(o.w.SnapshotAt)); age > c.SnapshotRetention/2 {
			c.Log.Incident(IncidentSnapshot, o.w.Offset, fmt.Errorf("no snapshot was completed for %s, they are kept for %s: a loss of the store would need the log from its beginning", age.Round(time.Minute), c.SnapshotRetention))
		} else {
			c.Log.Settle(IncidentSnapshot)
		}
	}
}

// announce appends the newest configuration to the log, once it is at hand.
func (o *Owner[B, C]) announce(ctx context.Context) {
	o.changed = o.config.Revisions.Changed()
	newest := o.config.Revisions.Newest()
	now := o.config.Clock()
	if o.w.Status != state.Ready || newest.Number <= max(o.w.Revision.Number, o.appended) || now.Before(o.announceAt) {
		return
	}
	if err := o.config.Log.Append(ctx, control.NewRevision(o.config.Service, newest, Level, now)); err != nil {
		// Counting goes on under the revision in force; readiness reports that it is not the newest.
		o.announceAt = now.Add(retryAfter)
		o.config.Logger.Warn("revision not announced", zap.Int64("revision", newest.Number), zap.Error(err))
		return
	}
	o.appended = newest.Number
}

// retryAfter is how long upkeep that failed is left alone.
const retryAfter = 2 * time.Second

// idle is a turn at the log's end with nothing due.
func (o *Owner[B, C]) idle(ctx context.Context) error {
	now := o.config.Clock()
	if err := o.tick(ctx, now); err != nil {
		return err
	}
	if limits.Elapsed(now, o.ahead.StoredAt, limits.IdleCommit) || o.w.Offset > o.ahead.Stored.Offset {
		return o.ahead.Add(ctx, o.w, state.Commit{})
	}
	return nil
}

// tickEvery is the least time between two ticks, and so how late a timer is at most while nothing else moves the log's
// time.
const tickEvery = time.Second

// tick appends the time to the log when a timer is due by the owner's clock. Log time reaches it through the log, for
// every owner at the same place.
func (o *Owner[B, C]) tick(ctx context.Context, now time.Time) error {
	if o.w.DueMinute == 0 || o.due.InList() || !limits.Elapsed(now, o.tickedAt, tickEvery) {
		return nil
	}
	due, err := o.due.DueAt(ctx, &o.w, now.UnixMilli())
	if err != nil || !due {
		return err
	}
	o.tickedAt = now
	if err := o.config.Log.Append(ctx, control.NewTick(o.config.Service, now)); err != nil {
		o.config.Logger.Warn("tick not appended", zap.Error(err))
	}
	return nil
}

// untilTick is how long the owner may wait for records before a tick is due, or its watermark.
func (o *Owner[B, C]) untilTick() time.Duration {
	now := o.config.Clock()
	at, ok := o.due.FirstByClock(now.UnixMilli())
	if !ok {
		return limits.IdleCommit
	}
	first := time.UnixMilli(at)
	if again := o.tickedAt.Add(tickEvery); again.After(first) {
		first = again
	}
	return min(max(first.Sub(now), time.Millisecond), limits.IdleCommit)
}

// publishedOffset is what the group's offset can move to: the watermark, once everything due by its log time was published.
// What lies below is never published again.
func (o *Owner[B, C]) publishedOffset() (offset int64, further bool) {
	o.committed = max(o.committed, o.config.Log.Committed())
	if !o.due.Outstanding(&o.w) {
		o.settled = o.w.Offset
	}
	offset = min(o.settled, o.ahead.Stored.Offset)
	return offset, o.w.Status == state.Ready && offset > o.committed
}

// lastCommitTimeout bounds the commit of the group's offset by an owner that leaves: a coordinator that does not answer
// costs repeats after a loss of the store, and does not hold the partition.
const lastCommitTimeout = 2 * time.Second

// leaveOffset moves the group's offset for the next owner.
func (o *Owner[B, C]) leaveOffset(ctx context.Context) {
	if offset, ok := o.publishedOffset(); ok {
		ctx, cancel := context.WithTimeout(ctx, lastCommitTimeout)
		defer cancel()
		_ = o.config.Log.Commit(ctx, offset) // the stream counts what fails; an earlier offset is as right
	}
}
