package foldtest

import (
	"slices"
	"testing"

	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
	"github.com/tollgate/tollgate/pkg/state/snapshot/snapshottest"
	"github.com/tollgate/tollgate/pkg/stream"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// Memory is a backend without servers.
type Memory struct {
	store     *memstate.Store
	log       Journal
	outcomes  Journal
	snapshots *snapshottest.Memory
}

// NewMemory returns an empty backend.
func NewMemory() *Memory {
	return &Memory{store: memstate.New(), log: &slice{}, outcomes: &slice{}, snapshots: &snapshottest.Memory{}}
}

// Partition is the only one.
func (m *Memory) Partition() state.Partition { return state.Partition{Domain: "simulation", Count: 1} }

// Store keeps its state.
func (m *Memory) Store() state.Store { return m.store }

// Dump copies the store.
func (m *Memory) Dump() any { return m.store.Dump() }

// Restore sets it back.
func (m *Memory) Restore(dump any) {
	d, _ := dump.(memstate.Dump)
	m.store.Restore(d)
}

// Log is the partition's log.
func (m *Memory) Log() Journal { return m.log }

// Outcomes are what was published.
func (m *Memory) Outcomes() Journal { return m.outcomes }

// Snapshots are those written.
func (m *Memory) Snapshots() fold.Snapshots { return m.snapshots }

// ScanStep implements Backend.
func (m *Memory) ScanStep() int { return 1 }

// Oldest is where the newest complete snapshot begins.
func (m *Memory) Oldest() int64 {
	w, _ := m.snapshots.Watermark(m.Partition())
	return w.Offset
}

// slice is a journal in memory.
type slice struct {
	start   int64
	records []stream.Record // all there ever were
}

func (s *slice) Append(records ...stream.Record) error {
	for _, r := range records {
		r.Offset, r.Partition = int64(len(s.records)), 0
		s.records = append(s.records, r)
	}
	return nil
}

func (s *slice) Read(from int64, n int) ([]stream.Record, error) {
	from = max(from, s.start)
	if from >= int64(len(s.records)) {
		return nil, nil
	}
	return slices.Clone(s.records[from:min(from+int64(n), int64(len(s.records)))]), nil
}

func (s *slice) Range() (start, end int64) { return s.start, int64(len(s.records)) }

func (s *slice) Trim(start int64) { s.start = max(s.start, start) }

// untrimmed is the same log with what was cut off.
func untrimmed(t testing.TB, j Journal) Journal {
	s, ok := j.(*slice)
	if !ok {
		t.Fatal("only a log in memory can be cut and read whole afterwards")
	}
	return &slice{records: s.records}
}

// Written are all snapshot records, in the order written.
func (m *Memory) Written() []*statev1.SnapshotRecord { return m.snapshots.Written() }

// DropEntries loses what snapshots hold, and keeps their marks.
func (m *Memory) DropEntries() { m.snapshots.DropEntries() }

// DropSnapshots loses all of them.
func (m *Memory) DropSnapshots() { m.snapshots.Drop() }
