package image

import (
	"context"
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/pkg/fold/internal/duelist"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/snapshot"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// Restore writes entries of a snapshot back and lists their timers anew; begin is the watermark of its begin mark.
func Restore(ctx context.Context, p Partition, begin state.Watermark, entries []*statev1.SnapshotRecord_Entry) error {
	var c state.Commit
	size := 0
	lists := make(map[int64][]byte)
	flush := func() error {
		for minute, list := range lists {
			c.Appends = append(c.Appends, state.Entry{Key: duelist.Key(minute), Value: list})
		}
		err := p.Commit(ctx, c)
		c, size = state.Commit{}, 0
		clear(lists)
		return err
	}
	var gone []*statev1.SnapshotRecord_Entry
	for _, e := range entries {
		key, value := e.GetKey(), e.GetValue()
		// What stands beside records has no header: any of its bytes may look like a tombstone's.
		isRecord := strings.HasPrefix(key, record.Prefix)
		if isRecord && Gone(value) {
			gone = append(gone, e)
			continue
		}
		if len(c.Puts)+len(lists) >= state.MaxKeys-3 || size+len(key)+len(value) > state.MaxBytes/2 && len(c.Puts) > 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		if isRecord {
			h, body, err := record.DecodeHeader(value)
			if err != nil {
				return fmt.Errorf("%w: %w", snapshot.ErrDamaged, err)
			}
			h.Listed = 0
			if len(h.Timers) > 0 {
				h.Listed = max(h.Timers[0].Due, duelist.FirstOf(begin.DueMinute))
				minute := duelist.MinuteOf(h.Listed)
				lists[minute] = duelist.Append(lists[minute], key[len(record.Prefix):], h.Listed)
			}
			value = append(h.Append(nil), body...)
		}
		c.Puts = append(c.Puts, state.Entry{Key: key, Value: value})
		size += len(key) + len(value)
	}
	if len(c.Puts) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	return restoreTombstones(ctx, p, gone)
}

// restoreTombstones writes those back whose records were not read later.
func restoreTombstones(ctx context.Context, p Partition, gone []*statev1.SnapshotRecord_Entry) error {
	for len(gone) > 0 {
		n := min(len(gone), state.MaxKeys/64) // each may delete what stands beside its record: 32 segments of ids and more
		keys := make([]string, n)
		for i, e := range gone[:n] {
			keys[i] = e.GetKey()
		}
		stand, err := p.Load(ctx, keys)
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
		if err := p.Commit(ctx, c); err != nil {
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
