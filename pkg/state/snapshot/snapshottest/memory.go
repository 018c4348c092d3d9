// Package snapshottest keeps snapshots in memory, for tests and models.
package snapshottest

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/state"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// Memory keeps snapshot records in memory, in the order written. The zero value holds none.
type Memory struct {
	mu      sync.Mutex
	records []*statev1.SnapshotRecord
}

// Write appends records.
func (m *Memory) Write(_ context.Context, records ...*statev1.SnapshotRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		m.records = append(m.records, proto.CloneOf(r))
	}
	return nil
}

// Newest is that of snapshot.Topic.
func (m *Memory) Newest(_ context.Context, p state.Partition, accept func(*statev1.SnapshotRecord_Begin) (bool, error), each func(*statev1.SnapshotRecord) error) (bool, error) {
	all := m.Written()
	from, id, err := newest(all, p, accept)
	if err != nil || id == "" {
		return false, err
	}
	for _, r := range all[from:] {
		if r.GetSnapshot() != id {
			continue
		}
		if err := each(r); err != nil {
			return true, err
		}
		if _, last := r.GetPart().(*statev1.SnapshotRecord_End_); last {
			break
		}
	}
	return true, nil
}

func newest(all []*statev1.SnapshotRecord, p state.Partition, accept func(*statev1.SnapshotRecord_Begin) (bool, error)) (from int, id string, err error) {
	begun := make(map[string]int)
	from = -1
	for i, r := range all {
		if r.GetDomain() != p.Domain || r.GetPartition() != p.Number {
			continue
		}
		switch part := r.GetPart().(type) {
		case *statev1.SnapshotRecord_Begin_:
			ok, err := accept(part.Begin)
			if err != nil {
				return 0, "", err
			}
			if ok {
				begun[r.GetSnapshot()] = i
			}
		case *statev1.SnapshotRecord_End_:
			if at, ok := begun[r.GetSnapshot()]; ok && at > from {
				from, id = at, r.GetSnapshot()
			}
		}
	}
	return from, id, nil
}

// Watermark is that of the newest complete snapshot of a partition; false where there is none.
func (m *Memory) Watermark(p state.Partition) (state.Watermark, bool) {
	all := m.Written()
	from, id, err := newest(all, p, func(*statev1.SnapshotRecord_Begin) (bool, error) { return true, nil })
	if err != nil || id == "" {
		return state.Watermark{}, false
	}
	w, err := state.DecodeWatermark(all[from].GetBegin().GetWatermark())
	return w, err == nil
}

// Written are all records, in the order written.
func (m *Memory) Written() []*statev1.SnapshotRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.records)
}

// DropEntries loses what snapshots hold, and keeps their marks.
func (m *Memory) DropEntries() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = slices.DeleteFunc(m.records, func(r *statev1.SnapshotRecord) bool { return r.GetEntries() != nil })
}

// Drop loses all of them.
func (m *Memory) Drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = nil
}
