package consume

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
)

// Bounds of the memory that batches are unpacked into, in bytes.
type Bounds struct {
	// Batch bounds one, All those of every partition and group together.
	Batch, All int
}

// Consumer reads from a cluster, for all groups of a process.
type Consumer struct {
	*cluster.Cluster
	metrics *metrics
	bounds  Bounds

	unpacked         *memory // of readers, from unpacking to when their worker comes back
	unpackedDirectly *memory // of fetches outside readers, while they unpack
}

// New makes a Consumer.
func New(c *cluster.Cluster, bounds Bounds, reg prometheus.Registerer) (*Consumer, error) {
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	return &Consumer{Cluster: c, metrics: m, bounds: bounds, unpacked: newMemory(bounds.All),
		unpackedDirectly: newMemory(bounds.Batch)}, nil
}

// Codes of incidents this package raises, beside the reasons of a DamagedError.
const (
	IncidentOutOfRange = "OFFSET_OUT_OF_RANGE"
	IncidentStuck      = "STUCK"
)

// Package stream documents these errors.
var (
	ErrNotMonotonic = errors.New("commit would move the group back")
	ErrRevoked      = errors.New("partition is revoked")
	ErrRejoin       = errors.New("rejoin the group")
	ErrStuck        = errors.New("partition's work is stuck")
)

// OutOfRangeError means that the log does not hold the offset asked for:
// retention has removed it, or the log ends below it. It is an incident; nothing
// moves on by itself.
type OutOfRangeError struct {
	Topic     string
	Partition int32
	From      int64
	// Start and End are what the log holds: its first offset, and the one after its last.
	Start, End int64
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("offset %d of %s/%d is out of range: the log holds %d to %d", e.From, e.Topic, e.Partition,
		e.Start, e.End)
}

type metrics struct {
	fetched      *prometheus.CounterVec
	passedOver   *prometheus.CounterVec
	commits      *prometheus.CounterVec
	commitErrors *prometheus.CounterVec
	rebalances   *prometheus.CounterVec
	claims       *prometheus.GaugeVec
	lag          *lagMetrics
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	r := cluster.Registry{Registerer: reg}
	m := &metrics{
		fetched: r.Counter("records_fetched_total", "Records read.", "topic"),
		passedOver: r.Counter("offsets_passed_over_total",
			"Offsets without a record for readers (control batches, aborted transactions, batches that can't be read) "+
				"that were deliberately passed.", "topic"),
		commits:      r.Counter("commits_total", "Group offsets committed.", "topic"),
		commitErrors: r.Counter("commit_errors_total", "Attempts to commit a group offset that failed.", "topic"),
		rebalances:   r.Counter("generations_total", "Group generations this process took part in.", "group"),
		claims:       r.Gauge("claims", "Partitions this process holds.", "group"),
		lag:          cluster.Register(&r, newLagMetrics()),
	}
	return m, r.Err()
}
