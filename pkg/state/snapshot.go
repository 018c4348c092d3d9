package state

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// Snapshots is where snapshots are kept: a topic.
type Snapshots interface {
	// Write returns once the records are acknowledged by all replicas.
	Write(ctx context.Context, records ...*statev1.SnapshotRecord) error
	// Newest reads the newest snapshot of a partition that has an end mark and
	// whose begin mark is accepted, its records in the order written. found is
	// false where there is none.
	Newest(ctx context.Context, p Partition, accept func(*statev1.SnapshotRecord_Begin) bool, each func(*statev1.SnapshotRecord) error) (found bool, err error)
}

// scanStep is how many keys are asked for between two batches.
const scanStep = 1000

// snapshotting is a snapshot on its way. Its records are of different moments;
// each carries the offset of what was last applied to it, so that the log from
// the begin mark on makes them whole again.
type snapshotting struct {
	id      string
	cursor  string
	scanned bool
	reached int64 // offset when the last record was read
	count   int64
}

// snapshotStep begins a snapshot when it is time, or goes on with it.
func (o *Owner[B, C]) snapshotStep(ctx context.Context) error {
	if o.w.Status != Ready || o.w.Offset == 0 {
		return nil
	}
	if o.snap == nil {
		if o.config.Clock().Sub(o.snapshotAt) < o.config.SnapshotEvery && o.w.Offset-o.snapshotBase < o.config.SnapshotEvents {
			return nil
		}
		if o.w.Offset == o.snapshotBase {
			o.snapshotAt = o.config.Clock() // nothing new to keep
			return nil
		}
		o.snap = &snapshotting{id: rand.Text()}
		return o.writeSnapshot(ctx, &statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_Begin_{Begin: &statev1.SnapshotRecord_Begin{Watermark: o.w.Encode()}}})
	}
	if o.snap.scanned {
		return o.endSnapshot(ctx)
	}
	keys, next, err := o.config.Store.Scan(ctx, o.place.partition, recordPrefix, o.snap.cursor, scanStep)
	if err != nil {
		return fmt.Errorf("scan for the snapshot: %w", err)
	}
	entries, err := o.readSnapshot(ctx, keys)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		o.snap.count += int64(len(entries))
		err = o.writeSnapshot(ctx, &statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_Entries_{Entries: &statev1.SnapshotRecord_Entries{Entries: entries}}})
	}
	if o.snap.cursor = next; next == "" {
		o.snap.scanned, o.snap.reached = true, o.w.Offset
	}
	return err
}

// readSnapshot reads records and, in the same moment, the ids sealed for them.
func (o *Owner[B, C]) readSnapshot(ctx context.Context, keys []string) ([]*statev1.SnapshotRecord_Entry, error) {
	var entries []*statev1.SnapshotRecord_Entry
	for len(keys) > 0 {
		n := min(len(keys), MaxKeys)
		values, err := o.config.Store.Load(ctx, o.place.partition, o.w, keys[:n])
		if err != nil {
			return nil, fmt.Errorf("read records for the snapshot: %w", err)
		}
		var seals []string
		for i, v := range values {
			if v == nil {
				continue
			}
			entries = append(entries, &statev1.SnapshotRecord_Entry{Key: keys[i], Value: v})
			sealed, err := sealKeys(keys[i][len(recordPrefix):], v)
			if err != nil {
				return nil, err
			}
			seals = append(seals, sealed...)
		}
		if len(seals) > 0 {
			values, err := o.config.Store.Load(ctx, o.place.partition, o.w, seals)
			if err != nil {
				return nil, fmt.Errorf("read sealed ids for the snapshot: %w", err)
			}
			for i, v := range values {
				if v != nil {
					entries = append(entries, &statev1.SnapshotRecord_Entry{Key: seals[i], Value: v})
				}
			}
		}
		keys = keys[n:]
	}
	return entries, nil
}

// endSnapshot writes the end mark once all that was told before the last
// record was read lies below the floor: an outcome of an event that a later
// state already holds would not be told again, or be told otherwise.
func (o *Owner[B, C]) endSnapshot(ctx context.Context) error {
	if o.committed < o.snap.reached {
		return nil
	}
	err := o.writeSnapshot(ctx, &statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_End_{End: &statev1.SnapshotRecord_End{Floor: o.committed, Count: o.snap.count}}})
	if err != nil {
		return err
	}
	o.config.Logger.Info("snapshot written", zap.String("domain", o.place.partition.Domain), zap.Int32("partition", o.place.partition.Number),
		zap.Int64("entries", o.snap.count), zap.Int64("floor", o.committed))
	o.config.Metrics.snapshots.Inc()
	o.snap, o.snapshotAt, o.snapshotBase = nil, o.config.Clock(), o.w.Offset
	return nil
}

func (o *Owner[B, C]) writeSnapshot(ctx context.Context, r *statev1.SnapshotRecord) error {
	r.Domain, r.Partition, r.Snapshot = o.place.partition.Domain, o.place.partition.Number, o.snap.id
	if err := o.config.Snapshots.Write(ctx, r); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

var errSnapshot = errors.New("snapshot can't be used")

// restore reads the newest snapshot from which the log still goes on.
func (o *Owner[B, C]) restore(ctx context.Context, start, end, floor int64) (bool, error) {
	var begin Watermark
	begun := false
	accept := func(b *statev1.SnapshotRecord_Begin) bool {
		w, err := DecodeWatermark(b.GetWatermark())
		return err == nil && w.Offset >= start && w.Offset <= end && w.Level <= Level
	}
	entries := 0
	began := time.Time{}
	found, err := o.config.Snapshots.Newest(ctx, o.place.partition, accept, func(r *statev1.SnapshotRecord) error {
		switch part := r.GetPart().(type) {
		case *statev1.SnapshotRecord_Begin_:
			var err error
			if begin, err = DecodeWatermark(part.Begin.GetWatermark()); err != nil {
				return fmt.Errorf("%w: %w", errSnapshot, err)
			}
			begun, began = true, o.config.Clock()
			return o.clear(ctx)
		case *statev1.SnapshotRecord_Entries_:
			if !begun {
				return fmt.Errorf("%w: it has no begin mark", errSnapshot)
			}
			entries += len(part.Entries.GetEntries())
			return o.restoreEntries(ctx, begin, part.Entries.GetEntries())
		case *statev1.SnapshotRecord_End_:
			floor = max(floor, part.End.GetFloor())
		}
		return nil
	})
	if err != nil || !found {
		return false, err
	}
	err = o.commitAs(ctx, func(w *Watermark) {
		token, address, serial := w.Token, w.Address, w.Serial
		*w = begin
		w.Token, w.Address, w.Serial, w.DuePosition = token, address, serial, 0
		w.Floor, w.Status = max(floor, begin.Floor), Ready
		if w.Offset < w.Floor {
			w.Status = Rebuilding
		}
	})
	if err != nil {
		return false, err
	}
	o.config.Logger.Info("snapshot restored", zap.String("domain", o.place.partition.Domain), zap.Int32("partition", o.place.partition.Number),
		zap.Int("entries", entries), zap.Int64("offset", begin.Offset), zap.Int64("floor", o.w.Floor), zap.Duration("took", o.config.Clock().Sub(began)))
	return true, nil
}

// restoreEntries writes records back and lists their timers anew.
func (o *Owner[B, C]) restoreEntries(ctx context.Context, begin Watermark, entries []*statev1.SnapshotRecord_Entry) error {
	var c Commit
	size := 0
	lists := make(map[int64][]byte)
	flush := func() error {
		for minute, list := range lists {
			c.Appends = append(c.Appends, Entry{dueKey(minute), list})
		}
		err := o.commit(ctx, o.w, c)
		c, size = Commit{}, 0
		clear(lists)
		return err
	}
	for _, e := range entries {
		key, value := e.GetKey(), e.GetValue()
		if len(key) > len(recordPrefix) && key[:len(recordPrefix)] == recordPrefix {
			h, body, err := decodeHeader(value)
			if err != nil {
				return fmt.Errorf("%w: %w", errSnapshot, err)
			}
			h.listed = 0
			if len(h.timers) > 0 {
				h.listed = max(minuteOf(h.timers[0].due), begin.DueMinute)
				lists[h.listed] = appendDue(lists[h.listed], key[len(recordPrefix):])
			}
			value = append(h.append(nil), body...)
		}
		c.Puts = append(c.Puts, Entry{key, value})
		size += len(key) + len(value)
		if len(c.Puts)+len(lists) >= MaxKeys-2 || size > MaxBytes/2 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(c.Puts) == 0 {
		return nil
	}
	return flush()
}

// sealKeys lists the keys of the ids sealed for a record.
func sealKeys(subject string, record []byte) ([]string, error) {
	if !hasSeals(record) {
		return nil, nil
	}
	h, _, err := decodeHeader(record)
	if err != nil {
		return nil, fmt.Errorf("read record of a subject: %w", err)
	}
	keys := make([]string, len(h.ids.seals))
	for i, x := range h.ids.seals {
		keys[i] = sealKey(subject, x.number)
	}
	return keys, nil
}
