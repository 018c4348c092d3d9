// Package image reads the records of a partition for a snapshot, while events are applied between the reads, and writes
// them back.
package image

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// Partition is what is read and written: an owner's, at the watermark that it committed last.
type Partition struct {
	Walk func(ctx context.Context, cursor string, count int) (keys []string, next string, err error)
	Load func(ctx context.Context, keys []string) ([][]byte, error)
	// Commit changes keys, and nothing else of the watermark.
	Commit func(ctx context.Context, c state.Commit) error
}

// ScanStep is how many keys are looked at between two batches, of the whole store: it stops everybody else while it
// looks.
const ScanStep = 300

// Reading is a snapshot on its way. Its records are of different moments; each carries the offset of what was last
// applied to it, so that the log from the begin mark on completes them.
//
// What an event does to its subject's record may follow from what it does to records of rules, never the other way. So
// a subject's record is read later than those of its rules: an event that is applied again to a rule's record is
// either applied again to its subject's too, or was applied to it before.
type Reading struct {
	ID string
	// Read: all records were, the last of them when the log was applied up to At.
	Read  bool
	At    int64
	Count int64
	// Timers of the records, without the engine's own.
	Timers int64
	// Stale are the keys of tombstones that an earlier one has left.
	Stale []string

	rules   bool // those of rules are being read
	cursor  string
	deleted map[string]int64 // record key -> last offset applied
}

// NewReading begins one; rules is whether records of rules may stand.
func NewReading(id string, rules bool) *Reading { return &Reading{ID: id, rules: rules} }

// Step reads some records and what stands beside them, in one moment; offset and epoch are the partition's.
func (r *Reading) Step(ctx context.Context, p Partition, offset int64, epoch uint32) ([]*statev1.SnapshotRecord_Entry, error) {
	keys, next, err := p.Walk(ctx, r.cursor, ScanStep)
	if err != nil {
		return nil, fmt.Errorf("find records for the snapshot: %w", err)
	}
	r.cursor = next
	if r.rules {
		keys = slices.DeleteFunc(keys, func(key string) bool { return !record.IsRule(key) })
	} else {
		keys = slices.DeleteFunc(keys, record.IsRule)
	}
	if len(keys) == 0 && next != "" {
		return nil, nil
	}
	entries, err := r.read(ctx, p, keys)
	if err != nil {
		return nil, err
	}
	switch {
	case next != "":
	case r.rules:
		r.rules = false
	default:
		entries = append(entries, r.tombstones(epoch)...)
		r.Read, r.At = true, offset
	}
	r.Count += int64(len(entries))
	return entries, nil
}

func (r *Reading) read(ctx context.Context, p Partition, keys []string) ([]*statev1.SnapshotRecord_Entry, error) {
	var entries []*statev1.SnapshotRecord_Entry
	// Once without keys too: a store that was emptied before the scan has none, and a snapshot of it would pass for
	// whole.
	for first := true; first || len(keys) > 0; first = false {
		n := min(len(keys), state.MaxKeys)
		values, err := p.Load(ctx, keys[:n])
		if err != nil {
			return nil, fmt.Errorf("read records for the snapshot: %w", err)
		}
		var beside []string
		for i, v := range values {
			switch {
			case v == nil:
				continue
			case Gone(v):
				r.Stale = append(r.Stale, keys[i])
				continue
			}
			entries = append(entries, &statev1.SnapshotRecord_Entry{Key: keys[i], Value: v})
			n, err := record.Timers(v)
			if err != nil {
				return nil, err
			}
			r.Timers += int64(n)
			more, err := record.BesideKeys(keys[i][len(record.Prefix):], v)
			if err != nil {
				return nil, err
			}
			beside = append(beside, more...)
		}
		for len(beside) > 0 {
			n := min(len(beside), state.MaxKeys)
			values, err := p.Load(ctx, beside[:n])
			if err != nil {
				return nil, fmt.Errorf("read what stands beside records for the snapshot: %w", err)
			}
			for i, v := range values {
				if v != nil {
					entries = append(entries, &statev1.SnapshotRecord_Entry{Key: beside[i], Value: v})
				}
			}
			beside = beside[n:]
		}
		keys = keys[n:]
	}
	return entries, nil
}

// A record that stood when a snapshot began and is deleted before the snapshot comes to it would be nowhere in it:
// events between would find no record and make another one, out of what had long been decided. So a snapshot ends with a
// tombstone of each: a header without a record, with the offset up to which the log was applied to what there
// was. In a store it stands after a restore only, until the next snapshot sweeps it.

// Gone reports that what stands under a record's key is a tombstone.
func Gone(stored []byte) bool { return record.Flagged(stored, record.GoneFlag) }

// NoteDeleted keeps what was deleted while records are being read, with the last offset applied. A rule's record that is
// deleted while those of subjects are read stands in the snapshot as it was, or was made since: its tombstone would be
// later than its subject's record.
func (r *Reading) NoteDeleted(keys []string, applied int64) {
	if r == nil || r.Read {
		return
	}
	for _, k := range keys {
		if !strings.HasPrefix(k, record.Prefix) || !r.rules && record.IsRule(k) {
			continue
		}
		if r.deleted == nil {
			r.deleted = make(map[string]int64)
		}
		r.deleted[k] = applied
	}
}

// tombstones are those of a snapshot whose records were all read. One of a record that was read before it was deleted,
// or made anew since, is right too: whichever of the two is of a later offset holds.
func (r *Reading) tombstones(epoch uint32) []*statev1.SnapshotRecord_Entry {
	entries := make([]*statev1.SnapshotRecord_Entry, 0, len(r.deleted))
	for _, key := range slices.Sorted(maps.Keys(r.deleted)) {
		h := record.Header{Epoch: epoch, Applied: r.deleted[key], Gone: true}
		entries = append(entries, &statev1.SnapshotRecord_Entry{Key: key, Value: h.Append(nil)})
	}
	return entries
}

// Sweep deletes tombstones that are still some: the partition is beyond their offsets, and no snapshot is under way
// that began before.
func Sweep(ctx context.Context, p Partition, keys []string) error {
	for len(keys) > 0 {
		n := min(len(keys), state.MaxKeys-1)
		values, err := p.Load(ctx, keys[:n])
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
			if err := p.Commit(ctx, c); err != nil {
				return err
			}
		}
		keys = keys[n:]
	}
	return nil
}
