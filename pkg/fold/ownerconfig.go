package fold

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/foreign"
	"github.com/tollgate/tollgate/pkg/fold/internal/meter"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Log is one partition of a log as its owner uses it.
type Log interface {
	// Range is where the log begins and ends now.
	Range(ctx context.Context) (start, end int64, err error)
	// Fetch reads from an offset: what is there, at once; at the log's end it waits, at most as long as wait,
	// or until wake is closed, and returns an empty batch. *stream.OutOfRangeError where the log does not hold the
	// offset.
	Fetch(ctx context.Context, from int64, wait time.Duration, wake <-chan struct{}) (stream.Batch, error)
	// At reads one record, where it is still there.
	At(ctx context.Context, offset int64) (stream.Record, bool, error)
	// Append adds a control record at the end.
	Append(ctx context.Context, e *event.Event) error
	// Committed is the group's offset, the published offset: as it was at assignment, then what has become of CommitSoon;
	// -1 where there is none.
	Committed() int64
	// CommitSoon moves the group's offset outside of the owner's turn. Commit moves it now: by an owner that leaves.
	CommitSoon(offset int64)
	Commit(ctx context.Context, offset int64) error
	// Wait returns when wake is closed, and after a second at most; stream.ErrRevoked when the partition is lost.
	Wait(ctx context.Context, wake <-chan struct{}) error
	// Progress shows a watchdog that the owner is at work; Worked, that it has done everything below an offset, which is what
	// the log's lag follows.
	Progress()
	Worked(offset int64)
	// Incident and Settle begin and end what a person is alerted of.
	Incident(code string, offset int64, err error)
	// Report notes what a person should know of one record, behind which the partition goes on.
	Report(code string, offset int64, err error)
	Settle(code string)
}

// Publisher is where outcomes go.
type Publisher interface {
	// Produce returns once all are acknowledged by all replicas.
	Produce(ctx context.Context, records ...stream.Record) error
}

// ForeignPublisher is where outcomes for topics of others go.
type ForeignPublisher = foreign.Publisher

// Level is the version of the logic that this binary applies. A partition at a higher one is left to newer binaries. A log of a
// lower one is not read: what follows from it would be decided otherwise, or bear other ids than what was published.
// DESIGN.md lists them.
const Level = 4

// Codes of incidents: states that need a person.
const (
	IncidentGap       = "STATE_GAP"         // part of the log is gone that the state needs
	IncidentRecreated = reason.LogRecreated // the log is not the one the state is of
	IncidentLevel     = "LEVEL_TOO_HIGH"    // written by a newer binary
	IncidentFormat    = "FORMAT_UNKNOWN"    // written by another version, and not to be read by this one
	IncidentPanic     = "APPLY_PANIC"       // a record or timer made the fold panic
	IncidentRecord    = "RECORD_UNUSABLE"   // a record can't be decoded or does not fit
	IncidentBehind    = "LOG_ENDANGERED"    // what is not applied yet is older than half the log's retention
	IncidentSnapshot  = "SNAPSHOT_OLD"      // the last snapshot is older than half their retention
	IncidentRevision  = "REVISION_MISSING"  // a revision that the log names can't be had
	IncidentTime      = "LOG_TIME_AHEAD"    // a record is stamped far ahead of the log and of the clock
)

// Metrics of all partitions of one engine.
type Metrics = meter.Metrics

// NewMetrics registers them for one domain of a service.
func NewMetrics(service, domain string, reg prometheus.Registerer) *Metrics {
	return meter.New(service, domain, reg)
}

// OwnerConfig is what an owner works with.
type OwnerConfig[B, C any] struct {
	// Service names it in control records it appends: "safeguard".
	Service   string
	Partition state.Partition
	// Address of its gRPC server.
	Address string
	// Topic of the log, and where rejected records go, both with prefix.
	Topic, Rejected string

	Fold      Fold[B, C]
	Options   Options[C]
	Log       Log
	Store     state.Store
	Publisher Publisher
	// Foreign is nil where what is emitted for topics of others goes to Publisher, as all else.
	Foreign   ForeignPublisher
	Revisions state.Revisions[C]
	Snapshots Snapshots
	Clock     func() time.Time
	Logger    *zap.Logger
	Metrics   *Metrics
	// Appender is where Call puts calls, where Options.Commands is set. At most CallsWaiting wait at once, 1,000 where
	// it is 0.
	Appender     Appender
	CallsWaiting int
	// Published, where set, receives outcomes once they are acknowledged, and again of those that are repeated: for
	// metrics and logs, never for state.
	Published func(outcomes []stream.Record)
	// Applied, where set, receives each event of a traceparent once what follows from it is published, and
	// again where it is repeated; not while the state is rebuilt. It is for spans, never for state.
	Applied func(Applied)
	// Begin, where set, begins a commit beside the batches that follow; else each is made where it is begun.
	Begin func(commit func() error) Flight
	// Alive, where set, shows a watchdog within a batch that the owner is at work.
	Alive func()

	// Cache is how many records are kept in memory.
	Cache int
	// Batch is how many log records one commit holds at most.
	Batch int
	// DueStep is how many subjects of a due list are worked between events; 500 where it is 0.
	DueStep int
	// Visit, where set, receives each step once its batch is committed: in a replay.
	Visit func(Step[B])
	// A snapshot is begun after SnapshotEvery, or after SnapshotEvents records; none is where SnapshotEvery is 0.
	SnapshotEvery  time.Duration
	SnapshotEvents int64
	// LogRetention and SnapshotRetention are how long the topics keep what a rebuild needs; half of it gone is an
	// incident. 0: not watched.
	LogRetention, SnapshotRetention time.Duration
}
