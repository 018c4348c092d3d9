package loop

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/claimlog"
	"github.com/tollgate/tollgate/pkg/delivery/internal/metrics"
	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/snapshot"
	"github.com/tollgate/tollgate/pkg/stream"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// Health receives the problems of a partition.
type Health interface {
	Set(name string, err error)
	Remove(name string)
}

// Metrics are the metrics of one channel, named after its service.
type Metrics = metrics.Metrics

// NewMetrics registers the metrics of a channel's service; an error names every metric that could not be registered.
func NewMetrics(reg prometheus.Registerer, service string) (*Metrics, error) {
	return metrics.New(reg, service)
}

// Channel is one way to notify receivers (webhook, e-mail, SMS), with everything it needs to process its partitions.
type Channel struct {
	// Name is the channel's name: its domain in the store, the source of its records, and the prefix of its names in
	// Health.
	Name string
	// Topic, Attempts, Dead, Rejected and Events are full names of topics; Events is that of ordered events.
	Topic, Attempts, Dead, Rejected, Events string
	// Partitions is the partition count of Topic and of Attempts.
	Partitions int32
	// Address is published to other replicas as the address of the owner.
	Address string

	Store     state.Store
	Directory delivery.Directory
	Sender    delivery.Sender
	Slots     *slots.Slots
	Reporter  delivery.Reporter
	Metrics   *Metrics
	Health    Health
	Log       *zap.Logger
	// Clock is the wall clock: it stamps records and decides whether a time in a record has come. It may be set back or
	// forward; intervals never use it.
	Clock func() time.Time

	// Backoff is between the attempts of a delivery; delivery.Standard where it is empty.
	Backoff delivery.Backoff
	// MaxAge is how far back the owner searches for unsettled deliveries when the store was lost.
	MaxAge time.Duration
	// WaitingMax bounds the references of a partition, EndpointWaitingMax those of an endpoint. Deliveries to an endpoint
	// at its bound are passed over, and read again once it has room.
	WaitingMax, EndpointWaitingMax int
	// SnapshotEvery is the least time between two snapshots of a partition; 0 writes none.
	SnapshotEvery time.Duration
	// AcceptLostDeliveries settles as dead, at the next opening, deliveries that retention removed from the log before
	// they were sent. It is the operator's decision.
	AcceptLostDeliveries bool

	kept kept
	// idles, where set, replaces idleEvery in tests of days.
	idles func() time.Duration
}

func (c *Channel) idle() time.Duration {
	if c.idles != nil {
		return c.idles()
	}
	return idleEvery
}

// Limits of the loop.
const (
	// tick is how long results are collected before they are recorded, and maxResults how many. Only ordering keys
	// after an undelivered settlement wait for it.
	tick       = 10 * time.Millisecond
	maxResults = 500
	// idleEvery is how often the watermark is committed without any change, so that a store that was set back is noticed.
	idleEvery = time.Second
	// grace is how long attempts in flight may go on after a revoke.
	grace = time.Second
	// maxFresh bounds the references that a commit adds: at most 256 pages, since a page that is filled has room for
	// half of its references. maxPages bounds the pages it changes, and maxRecords the records of endpoints, to a script
	// of less than 1 MiB.
	maxFresh   = 8192
	maxPages   = 320
	maxRecords = 128
	// turn is how many deliveries are taken before the loop looks at other work.
	turn = 256
	// firstHold and lastHold are the first and the longest hold of an endpoint after local failures.
	firstHold = time.Second
	lastHold  = 30 * time.Second
	// maxHold is the longest hold that a receiver may ask for.
	maxHold = time.Hour
	// pauseOver is the longest pause of the loop after which it need not check that it still owns the partition; it
	// turns at least once a second.
	pauseOver = 2 * time.Second
	// stepOver is the smallest step of the wall clock that matters.
	stepOver = time.Second
	// readAgain is between fetches of bodies that fail.
	readAgain = time.Second
	// storeTimeout bounds one call to the store.
	storeTimeout = 3 * time.Second
	// firstWait and lastWait are between tries to record.
	firstWait = 20 * time.Millisecond
	lastWait  = time.Second
	// patience is how long a local problem may last before health reports it.
	patience = 5 * time.Second
)

// Work processes one claimed partition until it drains; a consumer group of pkg/stream runs it. The error is why the
// partition was left; stream.ErrRejoin where another owner has it.
func (c *Channel) Work(ctx context.Context, client *stream.Client, producer *stream.Producer, claim *stream.Claim) error {
	l := &claimlog.ClaimLog{Client: client, Producer: producer, Claim: claim}
	l.Snapshots = snapshot.NewTopic(client, producer, claim.Alive, snapshotWindows...)
	return c.work(ctx, l, claim.Partition, claim.Draining())
}

// kafka is what the owner of a partition needs of Kafka.
type kafka interface {
	// Read sends the partition's deliveries from an offset on until stop.
	Read(ctx context.Context, from int64) (batches <-chan stream.Fetched, stop func())
	FetchFrom(ctx context.Context, topic string, partition int32, offset int64, maxBytes int) (stream.Batch, error)
	Offsets(ctx context.Context, topic string, partition int32) (start, end int64, err error)
	// OffsetAt is the offset of the first record stamped at or after a time, the end of the log where there is none.
	OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (int64, error)
	Produce(ctx context.Context, recs ...stream.Record) ([]stream.ProduceResult, error)
	// Position has the group's offset committed some time, which follows the store's. Monitoring of lag uses it, and
	// Committed returns it, −1 for none: a store behind it was set back.
	Position(offset int64)
	Committed() int64
	// WriteSnapshot appends records of a snapshot in their order; Newest reads the newest.
	WriteSnapshot(ctx context.Context, records ...*statev1.SnapshotRecord) error
	snapshot.Reader
	// Alive resets the watchdog. Worked reports that all deliveries below an offset are settled or stored; lag and
	// health follow it.
	Alive()
	Worked(offset int64)
	// Incident stops the partition until it is resolved; Report concerns one delivery.
	Incident(code string, offset int64, err error)
	Report(code string, offset int64, err error)
}
