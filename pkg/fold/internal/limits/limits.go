// Package limits has what bounds an engine, as operators set it.
package limits

import (
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/state"
)

// IdleCommit is how long an owner may leave its watermark alone: a rewound store is noticed within it.
const IdleCommit = time.Second

// Limits bound what an engine holds and how often it does what costs.
type Limits struct {
	// CacheRecords is how many records one process keeps in memory, over all its partitions; each costs its length and
	// some 250 bytes.
	CacheRecords int `yaml:"cache_records" env:"TOLLGATE_STATE_CACHE_RECORDS"`
	// BatchRecords is how many records of the log one commit holds at most.
	BatchRecords int `yaml:"batch_records" env:"TOLLGATE_STATE_BATCH_RECORDS"`
	// PublishedOffsetEvery is how often the offsets of the group are committed, all partitions of a process together: what was published since is published again after a loss
	// of the store.
	PublishedOffsetEvery time.Duration `yaml:"published_offset_every" env:"TOLLGATE_STATE_PUBLISHED_OFFSET_EVERY"`
	// SnapshotEvery and SnapshotEvents: a partition is written to state.snapshots at each multiple of that time of the clock, all
	// of a process together, or after that many records of the process.
	SnapshotEvery  time.Duration `yaml:"snapshot_every" env:"TOLLGATE_STATE_SNAPSHOT_EVERY"`
	SnapshotEvents int64         `yaml:"snapshot_events" env:"TOLLGATE_STATE_SNAPSHOT_EVENTS"`
	// MaxStaleness is how old a partition's last commit may be for its stored records to be answered from, while its
	// owner can't be reached; an owner that works commits each second.
	MaxStaleness time.Duration `yaml:"max_staleness" env:"TOLLGATE_STATE_MAX_STALENESS"`
}

// Default fits a process with a GiB of memory.
func Default() Limits {
	return Limits{
		CacheRecords: 500_000, BatchRecords: 1500, PublishedOffsetEvery: time.Second, SnapshotEvery: 15 * time.Minute, SnapshotEvents: 20_000_000,
		MaxStaleness: 30 * time.Second,
	}
}

// Validate lists every fault.
func (l Limits) Validate() error {
	var faults []error
	if l.CacheRecords < 1 {
		faults = append(faults, errors.New("state.cache_records: at least 1"))
	}
	if l.BatchRecords < 1 || l.BatchRecords > state.MaxKeys/2+state.MaxKeys/4 {
		faults = append(faults, fmt.Errorf("state.batch_records: %d is not between 1 and %d", l.BatchRecords, state.MaxKeys/2+state.MaxKeys/4))
	}
	if l.PublishedOffsetEvery <= 0 {
		faults = append(faults, errors.New("state.published_offset_every: above 0"))
	}
	if l.SnapshotEvery < time.Minute {
		faults = append(faults, fmt.Errorf("state.snapshot_every: %s is below a minute", l.SnapshotEvery))
	}
	if l.SnapshotEvents < 1000 {
		faults = append(faults, fmt.Errorf("state.snapshot_events: %d is below 1000", l.SnapshotEvents))
	}
	if l.MaxStaleness < 2*IdleCommit {
		faults = append(faults, fmt.Errorf("state.max_staleness: %s is below %s, and an idle owner commits each second", l.MaxStaleness, 2*IdleCommit))
	}
	return errors.Join(faults...)
}
