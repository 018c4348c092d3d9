package loop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/snapshot"
	"github.com/tollgate/tollgate/pkg/stream"
)

// snapshotTimeout bounds the writing of one snapshot.
const snapshotTimeout = 30 * time.Second

// Snapshots decides when the owner writes a snapshot. Its records take as many bytes of the log at most as were written or
// read since the last one, so that they never double the work.
type snapshots struct {
	// size is that of the last snapshot, in bytes; since counts the bytes of the log that an opening from it would read.
	size, since int64
	// notBefore is the earliest time of the next.
	notBefore int64
	writing   bool
	done      chan snapshotDone
}

type snapshotDone struct {
	offset int64
	err    error
}

// snapshotDue reports whether the commit that is being cut is a good moment. An owner waits for SnapshotEvery after its
// opening: what an owner before it published late then lies before the snapshot. A partition in which nothing happens writes
// one before retention takes the last.
func (o *owner) snapshotDue(now int64) bool {
	s := &o.snapshots
	if o.SnapshotEvery == 0 || s.writing || o.stopping || now < s.notBefore || o.mark.Status != state.Ready {
		return false
	}
	if s.since > 0 && s.since >= s.size {
		return true
	}
	return o.position > 0 && o.wall()-o.mark.SnapshotAt >= stream.SnapshotRetention.Milliseconds()/4
}

// entries are all entries of the store once every change is in it.
func (o *owner) entries() []state.Entry {
	all := o.pages.All()
	for _, e := range o.queue.Endpoints {
		if e.Record != queue.NoRecord {
			all = append(all, o.entryOf(e))
		}
	}
	return all
}

// writeSnapshot writes the snapshot of a commit that was made.
func (o *owner) writeSnapshot(entries []state.Entry, now int64) {
	if entries == nil {
		return
	}
	setEnds(entries, o.published.Offset)
	o.snapshots.writing = true
	o.snapshots.size, o.snapshots.since = 0, 0
	for _, e := range entries {
		o.snapshots.size += int64(len(e.Key) + len(e.Value))
	}
	o.snapshots.notBefore = now + o.SnapshotEvery.Milliseconds()
	s := snapshot.Snapshot{Watermark: o.mark, Entries: entries}
	o.workers.Go(func() {
		ctx, cancel := context.WithTimeout(o.send, snapshotTimeout)
		defer cancel()
		records := s.Records(o.part)
		end := len(records) - 1
		err := o.kafka.WriteSnapshot(ctx, records[:end]...)
		if err == nil { // the end mark proves that all others are in the log
			err = o.kafka.WriteSnapshot(ctx, records[end])
		}
		o.snapshots.done <- snapshotDone{offset: s.Watermark.Offset, err: err}
	})
}

// snapshotWritten takes over the result of writing.
func (o *owner) snapshotWritten(d snapshotDone) {
	o.snapshots.writing = false
	if d.err != nil {
		o.Metrics.SnapshotErrors.Inc()
		o.log.Warn("snapshot abandoned", zap.Error(d.err))
		return
	}
	o.Metrics.Snapshots.Inc()
	o.snapshotAt, o.snapshotOffset = o.wall(), d.offset
	o.log.Debug("snapshot written", zap.Int64("offset", d.offset), zap.Int64("bytes", o.snapshots.size))
}

// restoreLost restores a snapshot where the store was lost or set back. The group's offset follows the store's, so one behind
// it was set back.
func (o *owner) restoreLost(ctx context.Context, start, end int64) (bool, error) {
	lost := o.mark.Status == state.Blank || o.mark.Status == state.Restoring
	if o.SnapshotEvery == 0 || !lost && o.kafka.Committed() <= o.mark.Offset {
		return false, nil
	}
	return o.restore(ctx, lost, start, end)
}

// restore starts a partition whose store was lost or set back from the newest snapshot from which both logs go on; false
// where there is none. The whole snapshot is read before anything in the store is changed.
func (o *owner) restore(ctx context.Context, lost bool, start, end int64) (bool, error) {
	oldest, newest, err := o.kafka.Offsets(ctx, o.Attempts, o.part.Number)
	if err != nil {
		return false, fmt.Errorf("find the attempts' ends: %w", err)
	}
	s, err := snapshot.Read(ctx, o.kafka, o.part, func(w state.Watermark) (bool, error) {
		e, err := pages.ParseExtra(w.Extra)
		if err != nil || w.Offset < start || w.Offset > end || !lost && w.Offset <= o.mark.Offset {
			return false, nil //nolint:nilerr // one of another format is as none
		}
		same, err := o.sameLog(ctx, o.Topic, w.Offset, w.LastHash, start, end)
		if err != nil || !same {
			return false, err
		}
		return o.sameLog(ctx, o.Attempts, e.Attempts, e.AttemptsHash, oldest, newest)
	})
	if err == nil && s != nil {
		err = checkEntries(s.Entries)
	}
	if errors.Is(err, snapshot.ErrDamaged) {
		o.log.Warn("snapshot not used: the position is found in the log", zap.Error(err))
		return false, nil
	}
	if err != nil || s == nil {
		return false, err
	}
	to := s.Watermark
	e, _ := pages.ParseExtra(to.Extra)
	e.Owner = to.Token
	if err := o.clear(ctx, e); err != nil {
		return false, err
	}
	if err := o.putEntries(ctx, s.Entries); err != nil {
		return false, err
	}
	to.Token, to.Address, to.Before, to.Serial = o.mark.Token, o.mark.Address, o.mark.Before, o.mark.Serial
	to.Extra, to.PublishedOffset, to.Status = e.Encode(), end, state.Rebuilding
	if err := o.writeWatermark(ctx, to, state.Commit{}); err != nil {
		return false, err
	}
	o.log.Info("snapshot restored", zap.Int("entries", len(s.Entries)), zap.Int64("offset", to.Offset), zap.Int64("end", end))
	return true, nil
}

// checkEntries refuses entries that no opening could load.
func checkEntries(entries []state.Entry) error {
	p := pages.New(nil)
	for _, e := range entries {
		var err error
		if strings.HasPrefix(e.Key, recordPrefix) {
			_, err = health.Decode(e.Value, 0)
		} else {
			_, err = p.Load(nil, e.Value)
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", snapshot.ErrDamaged, e.Key, err)
		}
	}
	return nil
}

// clear deletes the pages that the store may have, and those of the snapshot. Its status is Restoring meanwhile: after a
// crash it begins again. A page beyond is never loaded before it was written.
func (o *owner) clear(ctx context.Context, of pages.Extra) error {
	had, _ := pages.ParseExtra(o.mark.Extra) // none where the store was lost
	to := o.mark
	to.Status = state.Restoring
	if err := o.writeWatermark(ctx, to, state.Commit{}); err != nil {
		return err
	}
	keys := pages.Keys(0, max(had.Pages, of.Pages))
	for place := range max(had.Records, of.Records) {
		keys = append(keys, recordKey(place))
	}
	for chunk := range slices.Chunk(keys, maxPages) {
		if err := o.writeWatermark(ctx, o.mark, state.Commit{Deletes: chunk}); err != nil {
			return err
		}
		o.kafka.Alive()
	}
	return nil
}

// putEntries writes the entries of a snapshot into the store, as many at a time as a commit takes.
func (o *owner) putEntries(ctx context.Context, entries []state.Entry) error {
	for len(entries) > 0 {
		n, size := 0, 0
		for n < min(len(entries), maxPages) && (n == 0 || size < state.MaxBytes/2) {
			size += len(entries[n].Key) + len(entries[n].Value)
			n++
		}
		if err := o.writeWatermark(ctx, o.mark, state.Commit{Puts: entries[:n]}); err != nil {
			return err
		}
		o.kafka.Alive()
		entries = entries[n:]
	}
	return nil
}

// snapshotWindows are how far back the newest snapshot is looked for first: under load they come each minute.
var snapshotWindows = []time.Duration{5 * time.Minute, time.Hour}
