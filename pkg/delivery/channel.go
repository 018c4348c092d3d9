package delivery

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Sender makes one attempt of a channel.
type Sender interface {
	// Send makes attempt number n (from 1) of d and waits for the answer. It
	// has its own deadline and returns soon after ctx ends, with an Outcome that
	// is Unfinished unless the answer was there. It is called from many
	// goroutines and must not change d.
	Send(ctx context.Context, d *Delivery, to Target, n int) Outcome
}

// Target is where deliveries of one endpoint go, as configured now.
type Target interface {
	// Concurrency is how many deliveries it takes at once.
	Concurrency() int
	// Fingerprint changes with whatever may turn a failure into a success (URL,
	// authentication, CA): what waits for its next attempt is then due at once.
	Fingerprint() uint64
}

// Targets are all that are active, as of a revision of the configuration. What
// waits for others is cancelled.
type Targets struct {
	Revision int64
	// ByName are they by resource name; not changed once handed over.
	ByName map[string]Target
	// Disabled are those that exist and are not active: it is only said so in a settlement.
	Disabled map[string]bool
}

// Directory is the configuration as a channel follows it.
type Directory interface {
	// Newest is what is in force, nil while none is known; and a channel that
	// is closed when that changes, or whether it is Current.
	Newest() (*Targets, <-chan struct{})
	// Current says that no revision above this one is known, nor can be unknown:
	// whoever gives them out is heard. Only then is a delivery cancelled.
	Current(revision int64) bool
}

// Health is where a partition says what is wrong with it.
type Health interface {
	Set(name string, err error)
	Remove(name string)
}

// Channel is one way of telling (webhook, e-mail, SMS): what it needs to work
// its partitions.
type Channel struct {
	// Name is the channel's: its domain in the store, the source of its records,
	// the beginning of its names in Health.
	Name string
	// Topic, Attempts, Dead and Rejected are full names.
	Topic, Attempts, Dead, Rejected string
	// Partitions is the partition count of Topic and of Attempts.
	Partitions int32
	// Address is told to other replicas as the owner's.
	Address string

	Store     state.Store
	Directory Directory
	Sender    Sender
	Slots     *Slots
	Metrics   *Metrics
	Health    Health
	Log       *zap.Logger
	// Clock is the wall clock: it stamps records and tells when a time that stands in one has come. It may be set
	// back or forward; intervals are never taken from it.
	Clock func() time.Time

	// MaxAge is how far back unsettled deliveries are searched for when the
	// store was lost.
	MaxAge time.Duration
	// WaitingMax bounds what waits of a partition; reading forward stops there.
	WaitingMax int
	// AcceptLostDeliveries settles, at the next opening, what retention has removed from
	// the log before it was sent; an operator's decision.
	AcceptLostDeliveries bool
}

// Limits of the loop.
const (
	// tick is how long results are collected before they are recorded, and
	// maxResults how many: nobody waits for that but lanes after a giving-up.
	tick       = 10 * time.Millisecond
	maxResults = 500
	// idle is how often the watermark is committed although nothing happened, so
	// that a store set back is noticed.
	idle = time.Second
	// grace is how long a revoke leaves what is in flight.
	grace = time.Second
	// maxFresh bounds what a commit adds: at most 256 pages, since a page that is
	// filled has room for half of its references. maxPages bounds what it changes,
	// to a script of less than 1 MiB.
	maxFresh = 8192
	maxPages = 480
	// turn is how many deliveries are taken before anything else is looked at.
	turn = 256
	// maxBodies bounds the bodies a partition keeps of what waits for a slot.
	maxBodies = 16 << 20
	// holdFor is when a delivery is looked at again that waits for a revision of
	// the configuration; a change of the configuration looks at once.
	holdFor = 30 * time.Second
	// firstHold and lastHold are for how long an endpoint is held whose requests
	// can't be made for want of something of ours.
	firstHold = time.Second
	lastHold  = 30 * time.Second
	// pauseOver is how long the loop may not have turned before it asks whether
	// it is the owner still; it turns once a second at least.
	pauseOver = 2 * time.Second
	// stepOver is by how much the wall clock must have been set for it to matter.
	stepOver = time.Second
	// readAgain is between fetches of bodies that fail.
	readAgain = time.Second
	// storeTimeout bounds one call to the store.
	storeTimeout = 3 * time.Second
	// firstWait and lastWait are between tries to record.
	firstWait = 20 * time.Millisecond
	lastWait  = time.Second
	// patience is how long something of ours may last before health says it.
	patience = 5 * time.Second
)

// Work works one claimed partition until it drains; it is what a group of
// pkg/stream runs.
func (c *Channel) Work(ctx context.Context, client *stream.Client, producer *stream.Producer, claim *stream.Claim) error {
	return c.work(ctx, &claimLog{client: client, producer: producer, claim: claim}, claim.Partition, claim.Draining())
}

// kafka is what a partition's work needs of Kafka.
type kafka interface {
	// Read brings the partition's deliveries from an offset on until stop.
	Read(ctx context.Context, from int64) (batches <-chan stream.Fetched, stop func())
	FetchFrom(ctx context.Context, topic string, partition int32, offset int64, maxBytes int) (stream.Batch, error)
	Offsets(ctx context.Context, topic string, partition int32) (start, end int64, err error)
	// OffsetAt is the first record stamped at or after a time, the log's end where there is none.
	OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (int64, error)
	Append(ctx context.Context, recs ...stream.Record) ([]stream.ProduceResult, error)
	// Position tells the group how far the partition is; only for those who look at lag.
	Position(ctx context.Context, offset int64) error
	// Alive tells the watchdog that the work goes on; Worked that all below an
	// offset is settled or kept: lag and health follow it.
	Alive()
	Worked(offset int64)
	// Incident stands and stops the partition, Report concerns one delivery.
	Incident(code string, offset int64, err error)
	Report(code string, offset int64, err error)
}

type claimLog struct {
	client   *stream.Client
	producer *stream.Producer
	claim    *stream.Claim
}

func (l *claimLog) Read(ctx context.Context, from int64) (<-chan stream.Fetched, func()) {
	r := l.claim.Reader(ctx, from, stream.FetchOptions{MaxBytes: 512 << 10})
	return r.C(), r.Close
}

func (l *claimLog) FetchFrom(ctx context.Context, topic string, partition int32, offset int64, maxBytes int) (stream.Batch, error) {
	var b stream.Batch
	var err error
	l.claim.Waiting(func() { b, err = l.client.FetchFrom(ctx, topic, partition, offset, maxBytes) })
	return b, err
}

func (l *claimLog) Offsets(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	l.claim.Waiting(func() { start, end, err = l.client.Offsets(ctx, topic, partition) })
	return start, end, err
}

func (l *claimLog) OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (offset int64, err error) {
	l.claim.Waiting(func() { offset, err = l.client.OffsetAt(ctx, topic, partition, at) })
	return offset, err
}

func (l *claimLog) Append(ctx context.Context, recs ...stream.Record) ([]stream.ProduceResult, error) {
	return l.producer.ProduceResults(ctx, recs...)
}

func (l *claimLog) Position(ctx context.Context, offset int64) error {
	if offset < l.claim.Committed() { // the store was set back, the group was not
		return nil
	}
	return l.claim.Commit(ctx, offset)
}

func (l *claimLog) Alive()              { l.claim.Alive() }
func (l *claimLog) Worked(offset int64) { l.claim.Worked(offset) }

func (l *claimLog) Incident(code string, offset int64, err error) {
	l.claim.Incident(code, offset, err)
}

func (l *claimLog) Report(code string, offset int64, err error) {
	l.claim.Report(code, offset, err)
}
