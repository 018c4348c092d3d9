package fold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fold/internal/duelist"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// upkeep is what an owner does between batches, busy or not.
func (o *Owner[B, C]) upkeep(ctx context.Context) error {
	o.announce(ctx)
	if elapsed(o.config.Clock(), o.committedAt, o.config.FloorEvery) {
		if err := o.floor(ctx, false); err != nil {
			return err
		}
	}
	o.alarm()
	return o.snapshotStep(ctx)
}

// elapsed tells whether an interval is over: by the monotonic clock, where both times have it, and, where one was kept
// without it, also when the wall clock was set back meanwhile, since nobody knows then.
func elapsed(now, since time.Time, interval time.Duration) bool {
	d := now.Sub(since)
	return d >= interval || d < 0
}

// alarm says in time that retention is about to take what a rebuild needs.
func (o *Owner[B, C]) alarm() {
	now, c := o.config.Clock(), o.config
	old := time.Duration(0)
	if !o.next.IsZero() {
		old = now.Sub(o.next)
	}
	if c.LogRetention > 0 && old > c.LogRetention/2 {
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
	if err := o.config.Log.Append(ctx, newRevision(o.config.Service, newest, Level, now)); err != nil {
		// Counting goes on under the revision in force; readiness says that it is not the newest.
		o.announceAt = now.Add(retryAfter)
		o.config.Logger.Warn("revision not announced", zap.String("domain", o.place.partition.Domain), zap.Int32("partition", o.place.partition.Number),
			zap.Int64("revision", newest.Number), zap.Error(err))
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
	if err := o.floor(ctx, false); err != nil {
		return err
	}
	if elapsed(now, o.storedAt, idleCommit) || o.w.Offset > o.stored.Offset {
		return o.commitAs(ctx, func(*state.Watermark) {})
	}
	return nil
}

// tickEvery is the least time between two ticks, and so how late a timer is at most while nothing else moves the log's
// time.
const tickEvery = time.Second

// tick appends the time to the log when a timer is due by the owner's clock. Log time reaches it through the log, for
// every owner at the same place.
func (o *Owner[B, C]) tick(ctx context.Context, now time.Time) error {
	d := &o.due
	if o.w.DueMinute == 0 || d.list != nil || !elapsed(now, o.tickedAt, tickEvery) {
		return nil
	}
	due, err := o.dueAt(ctx, now.UnixMilli())
	if err != nil || !due {
		return err
	}
	o.tickedAt = now
	if err := o.config.Log.Append(ctx, NewTick(o.config.Service, now)); err != nil {
		o.config.Logger.Warn("tick not appended", zap.String("domain", o.place.partition.Domain), zap.Int32("partition", o.place.partition.Number), zap.Error(err))
	}
	return nil
}

// dueAt says whether a timer is due by a time of the clock: one of a whole list, or within the minute of that time.
func (o *Owner[B, C]) dueAt(ctx context.Context, now int64) (bool, error) {
	d, by := &o.due, duelist.Reached(now)
	if by > d.ahead {
		_, list, err := o.findDue(ctx, max(o.w.DueMinute, d.ahead+1), by)
		if err != nil || list != nil {
			return list != nil, err
		}
		d.ahead = by
	}
	soon, err := o.clockMinute(ctx, by+1)
	return err == nil && soon.DueBy(now), err
}

// clockMinute is what is due within a minute that the clock is in.
func (o *Owner[B, C]) clockMinute(ctx context.Context, minute int64) (*duelist.List, error) {
	if o.due.soon.Minute == minute {
		return &o.due.soon, nil
	}
	return &o.due.next, o.readMinute(ctx, &o.due.next, minute)
}

// untilTick is how long the owner may wait for records before a tick is due, or its watermark.
func (o *Owner[B, C]) untilTick() time.Duration {
	now := o.config.Clock()
	m := &o.due.next
	if minute := duelist.Reached(now.UnixMilli()) + 1; o.due.soon.Minute == minute {
		m = &o.due.soon
	} else if m.Minute != minute {
		return idleCommit // not read yet
	}
	at, ok := m.First()
	if !ok {
		return idleCommit
	}
	first := time.UnixMilli(at)
	if again := o.tickedAt.Add(tickEvery); again.After(first) {
		first = again
	}
	return min(max(first.Sub(now), time.Millisecond), idleCommit)
}

// floorTimeout bounds a commit of the group's offset: a coordinator that does not answer makes the floor lag, which
// costs repeats after a loss, and this partition as long each time.
const floorTimeout = 2 * time.Second

// floor moves the group's offset to the watermark, once everything due by its log time has been told: what lies below
// is never told again.
func (o *Owner[B, C]) floor(ctx context.Context, last bool) error {
	if !o.due.outstanding(&o.w) {
		o.settled = o.w.Offset
	}
	offset := min(o.settled, o.stored.Offset)
	if o.w.Status != state.Ready || offset <= o.committed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, floorTimeout)
	defer cancel()
	o.committedAt = o.config.Clock()
	err := o.config.Log.Commit(ctx, offset)
	switch {
	case err == nil:
		o.committed = offset
	case errors.Is(err, stream.ErrRevoked) && !last:
		return err
	default:
		o.config.Metrics.floorErrors.Inc()
	}
	return nil
}
