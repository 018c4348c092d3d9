// Package snapshot keeps snapshots of partitions' state on the topic state.snapshots. A snapshot is a begin mark with the
// partition's watermark, entries of the store, and an end mark; without its end mark it does not count.
package snapshot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/pkg/state"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// Snapshot is a whole snapshot, all of one moment.
type Snapshot struct {
	Watermark state.Watermark
	Entries   []state.Entry
}

// Fitting is how many of the entries one record of the topic takes, at least one.
func Fitting(entries []*statev1.SnapshotRecord_Entry) int {
	size := 0
	for i, e := range entries {
		if size += len(e.GetKey()) + len(e.GetValue()) + 16; size > state.MaxBytes/2 && i > 0 {
			return i
		}
	}
	return len(entries)
}

// Records are those of a whole snapshot under a fresh id. The end mark has the watermark's offset as published offset.
func (s *Snapshot) Records(p state.Partition) []*statev1.SnapshotRecord {
	id := rand.Text()
	var all []*statev1.SnapshotRecord
	add := func(r *statev1.SnapshotRecord) {
		r.Domain, r.Partition, r.Snapshot = p.Domain, p.Number, id
		all = append(all, r)
	}
	add(&statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_Begin_{Begin: &statev1.SnapshotRecord_Begin{Watermark: s.Watermark.Encode()}}})
	entries := make([]*statev1.SnapshotRecord_Entry, len(s.Entries))
	for i, e := range s.Entries {
		entries[i] = &statev1.SnapshotRecord_Entry{Key: e.Key, Value: e.Value}
	}
	for len(entries) > 0 {
		n := Fitting(entries)
		add(&statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_Entries_{Entries: &statev1.SnapshotRecord_Entries{Entries: entries[:n]}}})
		entries = entries[n:]
	}
	end := &statev1.SnapshotRecord_End{PublishedOffset: s.Watermark.Offset, Count: int64(len(s.Entries))}
	add(&statev1.SnapshotRecord{Part: &statev1.SnapshotRecord_End_{End: end}})
	return all
}

// ErrDamaged means that a snapshot can't be used.
var ErrDamaged = errors.New("snapshot can't be used")

// Reader reads the newest snapshot of a partition; see [Topic.Newest].
type Reader interface {
	Newest(ctx context.Context, p state.Partition, accept func(*statev1.SnapshotRecord_Begin) (bool, error), each func(*statev1.SnapshotRecord) error) (found bool, err error)
}

// Read returns the newest whole snapshot whose watermark is accepted, nil where there is none. It is for snapshots that fit
// into memory.
func Read(ctx context.Context, from Reader, p state.Partition, accept func(state.Watermark) (bool, error)) (*Snapshot, error) {
	var (
		s            Snapshot
		begun, ended bool
		count        int64
	)
	accepts := func(b *statev1.SnapshotRecord_Begin) (bool, error) {
		w, err := state.DecodeWatermark(b.GetWatermark())
		if _, other := errors.AsType[*state.FormatError](err); other {
			return false, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if err != nil { // there may be others
			return false, nil //nolint:nilerr // one that can't be read is not acceptable
		}
		return accept(w)
	}
	found, err := from.Newest(ctx, p, accepts, func(r *statev1.SnapshotRecord) error {
		switch part := r.GetPart().(type) {
		case *statev1.SnapshotRecord_Begin_:
			if begun { // written twice, after a lost answer
				return nil
			}
			var err error
			if s.Watermark, err = state.DecodeWatermark(part.Begin.GetWatermark()); err != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			begun = true
		case *statev1.SnapshotRecord_Entries_:
			for _, e := range part.Entries.GetEntries() {
				s.Entries = append(s.Entries, state.Entry{Key: e.GetKey(), Value: e.GetValue()})
			}
		case *statev1.SnapshotRecord_End_:
			count, ended = part.End.GetCount(), true
		}
		return nil
	})
	if err != nil || !found {
		return nil, err
	}
	// A record that was produced twice repeats its entries: the later ones are the same.
	if !begun || !ended || int64(len(s.Entries)) < count {
		return nil, fmt.Errorf("%w: %d entries of %d, begin mark %t, end mark %t", ErrDamaged, len(s.Entries), count, begun, ended)
	}
	return &s, nil
}
