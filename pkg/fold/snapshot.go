package fold

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fold/internal/image"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/snapshot"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// Gone reports that what stands under a record's key is a tombstone: of a record that was deleted while a snapshot was
// taken, see internal/image.
func Gone(stored []byte) bool { return image.Gone(stored) }

// Snapshots is where snapshots are kept: a topic.
type Snapshots interface {
	// Write returns once the records are acknowledged by all replicas.
	Write(ctx context.Context, records ...*statev1.SnapshotRecord) error
	// Newest reads the newest snapshot of a partition that has an end mark and whose begin mark is accepted, its
	// records in the order written. found is false where there is none.
	Newest(ctx context.Context, p state.Partition, accept func(*statev1.SnapshotRecord_Begin) (bool, error), each func(*statev1.SnapshotRecord) error) (found bool, err error)
}

// writeTimeout bounds one write of a snapshot, which stands in the way of counting: one that can't be written in time
// is abandoned.
const writeTimeout = 5 * time.Second

// image is the partition as snapshots read and restore it.
func (o *Owner[B, C]) image() image.Partition {
	return image.Partition{
		Walk: func(ctx context.Context, cursor string, count int) ([]string, string, error) {
			return o.config.Store.Walk(ctx, o.place.partition, record.Prefix, cursor, count)
		},
		Load: func(ctx context.Context, keys []string) ([][]byte, error) {
			if err := o.ahead.Flush(ctx); err != nil { // what is read must be of the offset
				return nil, err
			}
			return o.config.Store.Load(ctx, o.place.partition, o.ahead.Stored, keys)
		},
		Commit: func(ctx context.Context, c state.Commit) error { return o.commit(ctx, o.w, c) },
	}
}

// snapshotStep begins a snapshot when it is time, or goes on with it.
func (o *Owner[B, C]) snapshotStep(ctx context.Context) error {
	if o.w.Status != state.Ready || o.w.Offset == 0 {
		return nil
	}
	if o.snap == nil {
		if !o.snapshotDue(o.config.Clock()) {
			return nil
		}
		if err := o.ahead.Flush(ctx); err != nil {
			return err
		}
		o.snap = image.NewReading(rand.Text(), o.rules != nil)
		return o.writeSnapshot(ctx, &statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_Begin_{Begin: &statev1.SnapshotRecord_Begin{Watermark: o.w.Encode()}}})
	}
	if o.snap.Read {
		return o.endSnapshot(ctx)
	}
	entries, err := o.snap.Step(ctx, o.image(), o.w.Offset, o.w.Epoch)
	if errors.Is(err, state.ErrWalk) {
		o.abandon(err)
		return nil
	}
	if err != nil {
		return err
	}
	for len(entries) > 0 {
		n := snapshot.Fitting(entries)
		err = o.writeSnapshot(ctx, &statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_Entries_{Entries: &statev1.SnapshotRecord_Entries{Entries: entries[:n]}}})
		if err != nil || o.snap == nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// snapshotDue reports whether it is time: when enough is new, and once in a while when nothing is, before retention takes
// the last one. It is time at the same moments of the clock for all partitions: what walks their records together costs the
// store as much as one.
func (o *Owner[B, C]) snapshotDue(now time.Time) bool {
	last, every := time.UnixMilli(o.w.SnapshotAt), o.config.SnapshotEvery
	if last.Sub(now) > every { // by a clock that was far ahead
		last = now.Add(-max(every, o.config.SnapshotRetention))
	}
	switch fresh := o.w.Offset - o.w.SnapshotOffset; {
	case every == 0 || now.Before(o.snapshotAt):
		return false
	case fresh > 0:
		return last.Before(now.Truncate(every)) || fresh >= o.config.SnapshotEvents
	default:
		return o.config.SnapshotRetention > 0 && now.Sub(last) >= o.config.SnapshotRetention/4
	}
}

// endSnapshot writes the end mark once all that was published before the last record was read is below the published offset: an
// outcome of an event that a later state already holds would not be published again, or be published with other content.
func (o *Owner[B, C]) endSnapshot(ctx context.Context) error {
	if o.committed < o.snap.At {
		return nil
	}
	err := o.writeSnapshot(ctx, &statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_End_{End: &statev1.SnapshotRecord_End{PublishedOffset: o.committed, Count: o.snap.Count}}})
	if err != nil || o.snap == nil {
		return err
	}
	o.config.Logger.Info("snapshot written", zap.Int64("entries", o.snap.Count), zap.Int64("published_offset", o.committed))
	o.config.Metrics.SnapshotTaken(o.place.partition.Number, o.snap.Timers)
	reached, stale := o.snap.At, o.snap.Stale
	o.snap = nil
	err = o.commitAs(ctx, func(w *state.Watermark) {
		w.SnapshotAt, w.SnapshotOffset = o.config.Clock().UnixMilli(), reached
	})
	if err != nil {
		return err
	}
	return image.Sweep(ctx, o.image(), stale)
}

func (o *Owner[B, C]) writeSnapshot(ctx context.Context, r *statev1.SnapshotRecord) error {
	r.Domain, r.Partition, r.Snapshot = o.place.partition.Domain, o.place.partition.Number, o.snap.ID
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := o.config.Snapshots.Write(ctx, r); err != nil {
		o.abandon(err)
	}
	return nil
}

func (o *Owner[B, C]) abandon(why error) {
	o.snap, o.snapshotAt = nil, o.config.Clock().Add(time.Minute)
	o.config.Metrics.SnapshotErrors.Inc()
	o.config.Logger.Warn("snapshot abandoned", zap.Error(why))
}

// restore reads the newest snapshot from which the log still goes on.
func (o *Owner[B, C]) restore(ctx context.Context, start, end, published int64) (bool, error) {
	var (
		begin          state.Watermark
		begun, ended   bool
		entries, count int64
		began          = o.config.Clock()
	)
	found, err := o.config.Snapshots.Newest(ctx, o.place.partition, o.acceptable(ctx, start, end), func(r *statev1.SnapshotRecord) error {
		switch part := r.GetPart().(type) {
		case *statev1.SnapshotRecord_Begin_:
			if begun { // written twice, after a lost answer
				return nil
			}
			var err error
			if begin, err = state.DecodeWatermark(part.Begin.GetWatermark()); err != nil {
				return fmt.Errorf("%w: %w", snapshot.ErrDamaged, err)
			}
			begun = true
			return o.clear(ctx)
		case *statev1.SnapshotRecord_Entries_:
			if !begun {
				return fmt.Errorf("%w: it has no begin mark", snapshot.ErrDamaged)
			}
			entries += int64(len(part.Entries.GetEntries()))
			return image.Restore(ctx, o.image(), begin, part.Entries.GetEntries())
		case *statev1.SnapshotRecord_End_:
			published, count, ended = max(published, part.End.GetPublishedOffset()), part.End.GetCount(), true
		}
		return nil
	})
	if err == nil && found && (!ended || entries < count) {
		err = fmt.Errorf("%w: %d entries of %d, end mark %t", snapshot.ErrDamaged, entries, count, ended)
	}
	if errors.Is(err, snapshot.ErrDamaged) {
		o.config.Log.Incident(IncidentRecord, begin.Offset, err)
	}
	if err != nil || !found {
		return false, err
	}
	err = o.commitAs(ctx, func(w *state.Watermark) {
		token, address, serial := w.Token, w.Address, w.Serial
		*w = begin
		w.Token, w.Address, w.Serial, w.DuePosition = token, address, serial, 0
		w.SnapshotAt, w.SnapshotOffset = begin.At, begin.Offset
		w.PublishedOffset, w.Status = max(published, begin.PublishedOffset), state.Ready
		if w.Offset < w.PublishedOffset {
			w.Status = state.Rebuilding
		}
	})
	if err != nil {
		return false, err
	}
	o.config.Log.Settle(IncidentRecord)
	o.config.Logger.Info("snapshot restored", zap.Int64("entries", entries), zap.Int64("offset", begin.Offset), zap.Int64("published_offset", o.w.PublishedOffset), zap.Duration("took", o.config.Clock().Sub(began)))
	return true, nil
}

// acceptable reports whether the log goes on from a snapshot: it holds the offset, and the record before is the one the
// snapshot was taken behind.
func (o *Owner[B, C]) acceptable(ctx context.Context, start, end int64) func(*statev1.SnapshotRecord_Begin) (bool, error) {
	return func(b *statev1.SnapshotRecord_Begin) (bool, error) {
		o.config.Log.Progress()
		w, err := state.DecodeWatermark(b.GetWatermark())
		if err == nil && w.Level < Level {
			err = levelError("the snapshot, by its level,", w.Level)
		}
		if _, other := errors.AsType[*state.FormatError](err); other {
			err = fmt.Errorf("%w: %w", snapshot.ErrDamaged, err)
			o.config.Log.Incident(IncidentFormat, 0, err)
			return false, err
		}
		if err != nil || w.Offset < start || w.Offset > end || w.Level > Level {
			return false, nil //nolint:nilerr // one that can't be read is not acceptable; there may be others
		}
		return o.sameLog(ctx, w, start)
	}
}
