package fold

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/snapshot"

	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// A record that stood when a snapshot began and is deleted before the snapshot comes to it would be nowhere in it:
// events between would find no record and make another one, out of what had long been decided. So a snapshot ends with a
// tombstone of each: a header without a record, with the offset up to which the log was applied to what there
// was. In a store it stands after a restore only, until the next snapshot sweeps it.

// Gone reports that what stands under a record's key is a tombstone.
func Gone(stored []byte) bool { return record.Flagged(stored, record.GoneFlag) }

// noteDeleted keeps what was deleted while records are being read, with the last offset applied.
func (s *snapshotting) noteDeleted(keys []string, applied int64) {
	if s == nil || s.scanned {
		return
	}
	for _, k := range keys {
		if strings.HasPrefix(k, record.Prefix) {
			if s.deleted == nil {
				s.deleted = make(map[string]int64)
			}
			s.deleted[k] = applied
		}
	}
}

// tombstones are those of a snapshot whose records were all read. One of a record that was read before it was deleted,
// or made anew since, is right too: whichever of the two is of a later offset holds.
func (s *snapshotting) tombstones(epoch uint32) []*statev1.SnapshotRecord_Entry {
	entries := make([]*statev1.SnapshotRecord_Entry, 0, len(s.deleted))
	for _, key := range slices.Sorted(maps.Keys(s.deleted)) {
		h := record.Header{Epoch: epoch, Applied: s.deleted[key], Gone: true}
		entries = append(entries, &statev1.SnapshotRecord_Entry{Key: key, Value: h.Append(nil)})
	}
	return entries
}

// restoreTombstones writes those back whose records were not read later.
func (o *Owner[B, C]) restoreTombstones(ctx context.Context, gone []*statev1.SnapshotRecord_Entry) error {
	for len(gone) > 0 {
		n := min(len(gone), state.MaxKeys/64) // each may delete what stands beside its record: 32 segments of ids and more
		keys := make([]string, n)
		for i, e := range gone[:n] {
			keys[i] = e.GetKey()
		}
		stand, err := o.config.Store.Load(ctx, o.place.partition, o.w, keys)
		if err != nil {
			return fmt.Errorf("read records beside tombstones: %w", err)
		}
		var c state.Commit
		for i, e := range gone[:n] {
			later, err := appliedLater(stand[i], e.GetValue())
			if err != nil {
				return fmt.Errorf("%w: %w", snapshot.ErrDamaged, err)
			}
			if later {
				continue
			}
			beside, err := record.BesideKeys(keys[i][len(record.Prefix):], stand[i])
			if err != nil {
				return fmt.Errorf("%w: %w", snapshot.ErrDamaged, err)
			}
			c.Puts = append(c.Puts, state.Entry{Key: e.GetKey(), Value: e.GetValue()})
			c.Deletes = append(c.Deletes, beside...)
		}
		if err := o.commit(ctx, o.w, c); err != nil {
			return err
		}
		gone = gone[n:]
	}
	return nil
}

// appliedLater reports that a record is of a later offset than a tombstone.
func appliedLater(stored, tombstone []byte) (bool, error) {
	if stored == nil {
		return false, nil
	}
	a, _, err := record.DecodeHeader(stored)
	if err != nil {
		return false, err
	}
	b, _, err := record.DecodeHeader(tombstone)
	return a.Applied > b.Applied, err
}

// sweep deletes tombstones that are still some: the partition is beyond their offsets, and no snapshot is under way
// that began before.
func (o *Owner[B, C]) sweep(ctx context.Context, keys []string) error {
	for len(keys) > 0 {
		n := min(len(keys), state.MaxKeys-1)
		values, err := o.config.Store.Load(ctx, o.place.partition, o.stored, keys[:n])
		if err != nil {
			return fmt.Errorf("read tombstones: %w", err)
		}
		var c state.Commit
		for i, v := range values {
			if Gone(v) {
				c.Deletes = append(c.Deletes, keys[i])
			}
		}
		if len(c.Deletes) > 0 {
			if err := o.commit(ctx, o.w, c); err != nil {
				return err
			}
		}
		keys = keys[n:]
	}
	return nil
}
