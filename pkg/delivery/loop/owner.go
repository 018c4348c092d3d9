package loop

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/metrics"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/delivery/internal/scan"
	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Owner processes one partition. All its fields belong to the goroutine of run; senders, the recorder and the body
// reader get copies and answer on channels.
type owner struct {
	*Channel
	kafka    kafka
	part     state.Partition
	draining <-chan struct{}
	log      *zap.Logger
	lines    lines

	mark  state.Watermark // as the store has it
	token []byte          // mark's, which stands in each attempt
	queue *queue.Queue
	pages *pages.Pages
	seen  *scan.Window // nil until it is filled; nothing is taken before
	// position is the next offset to read; deliveries below it are settled or outstanding.
	position int64
	// last is the hash of the record before position, 0 where there is none.
	last uint64
	// recovered is what the attempts hold, at opening, about deliveries that are not read yet.
	recovered scan.Recovered

	// readAhead holds records that were fetched and not taken yet; next is the offset after them.
	readAhead    []stream.Record
	next         int64
	fresh        []*queue.Item // taken since the last commit
	results      []*result
	rejects      []stream.Record // published with the next commit, with events about endpoints
	oldest       int64           // time of the first of results and rejects
	recorded     int64           // time of the last commit
	awaitingBody []*queue.Item   // hold a slot and wait for their bodies
	// The next fetch of bodies starts at readFrom or above, not before readAfter; unreadable is the offset where the
	// last one failed.
	readFrom, readAfter, unreadable int64
	targets                         *delivery.Targets
	older                           bool             // an activation of the configuration is below the known one, and waits until the configuration is current
	held                            queue.Ring[hold] // in the order they were held, including those that are held no more
	holding                         int              // how many are held now
	gone, mismatched                int              // withheld: the log lost them, or holds another delivery at their offset
	// failingLocally counts endpoints held after local failures; since when, and the last failure.
	failingLocally      int
	failingLocallySince int64
	localFailure        error
	label               string // of its metrics
	waiting             int    // as last added to the metric

	// Share is this partition's part in the slots of the process.
	share     *slots.Owner
	places    pages.Places
	published queue.End           // by the last commit
	dirty     []*queue.Endpoint   // whose records changed since the last commit
	scheduled []*queue.Endpoint   // that have a schedule
	states    [metrics.States]int // endpoints by state, as last added to the metric
	oldestAt  int64               // when the age of the oldest was looked for last
	tended    int64               // when the endpoints were looked over last
	// toReport are endpoints whose health is to be reported, not before reportAfter; nor before retryReport, after a report
	// that failed.
	toReport                 []*queue.Endpoint
	reporting                bool
	reportAfter, retryReport int64
	reports                  chan reportDone

	opened    bool
	stopping  bool // draining: no new attempt starts
	recording bool
	cutAt     int64 // time at which the commit under way was cut
	// failing is the error for which the commit is tried again; nil while it has not failed.
	failing atomic.Pointer[error]
	reading bool
	blocked error // why reading ended

	jobs      chan job
	done      chan *result
	window    chan *scan.Window
	committed chan committed
	readBack  chan readBack
	wake      chan struct{}
	fence     chan error
	changed   <-chan struct{}

	began time.Time // origin of now
	// logTime is the newest time of a record, in ms of the wall clock, at logTimeAt.
	logTime, logTimeAt int64
	lastTurn           int64 // when the loop turned last
	drift              int64 // of the wall clock from now, ms
	// ownershipUnknown: the loop paused for so long that another owner may have the partition; nothing is sent or
	// settled until the store confirms this owner.
	ownershipUnknown, checkingFence bool
	checkFenceAfter                 int64

	send    context.Context // of attempts
	abandon context.CancelFunc
	workers sync.WaitGroup

	conditions map[string]error
	reported   string

	second    secondReader
	snapshots snapshots
	// snapshotAt and snapshotOffset are of the last snapshot of this owner.
	snapshotAt, snapshotOffset int64
}

// job is one attempt to make.
type job struct {
	it *queue.Item
	d  *delivery.Delivery
	to delivery.Target
	n  int
	c  delivery.Circumstances
	// of is its endpoint; first is when its first attempt began, for the head of an ordering key.
	of      *queue.Endpoint
	ordered bool
	first   int64
	// activation is the endpoint's as it begins: of a configuration that was set back the target has a lower one.
	activation int64
}

// work processes a partition until it drains, is fenced, or the store or Kafka fails for good.
func (c *Channel) work(ctx context.Context, k kafka, number int32, draining <-chan struct{}) error {
	o := &owner{
		Channel: c, kafka: k, draining: draining,
		part:  state.Partition{Domain: c.Name, Number: number, Count: c.Partitions},
		log:   c.Log.With(zap.Int32("partition", number)),
		lines: newLines(c.Log.With(zap.Int32("partition", number))),
		jobs:  make(chan job), done: make(chan *result, c.Slots.Max()), window: make(chan *scan.Window, 1),
		committed: make(chan committed, 1), readBack: make(chan readBack, 1), wake: make(chan struct{}, 1),
		fence: make(chan error, 1), reports: make(chan reportDone, 1), began: time.Now(),
		conditions: map[string]error{}, label: strconv.Itoa(int(number)),
		waiting: -1, oldestAt: -oldestEvery.Milliseconds(), tended: -idleEvery.Milliseconds(),
		second:    secondReader{done: make(chan behindRead, 1), seen: scan.NewWindow()},
		snapshots: snapshots{notBefore: c.SnapshotEvery.Milliseconds(), done: make(chan snapshotDone, 1)},
	}
	o.share = slots.NewOwner(o.wake)
	o.beginQueue()
	o.send, o.abandon = context.WithCancel(ctx)
	defer o.close()
	if err := o.open(ctx); err != nil {
		return fmt.Errorf("open partition %d of %s: %w", number, c.Name, err)
	}
	if err := o.run(ctx); err != nil {
		return fmt.Errorf("work partition %d of %s: %w", number, c.Name, err)
	}
	return nil
}

// close ends what run started: senders return at once, and their results are not recorded.
func (o *owner) close() {
	o.abandon()
	o.workers.Wait()
	for range len(o.done) {
		<-o.done
	}
	if o.opened && o.seen != nil && o.position == o.mark.Offset { // else the window has deliveries that are read again
		o.kept.put(o.part.Number, o.mark, o.seen)
	}
	unrecorded := len(o.results)
	if o.recording {
		unrecorded += (<-o.committed).results
	}
	o.Slots.Forget(o.share, unrecorded)
	o.Metrics.Unrecorded.Sub(float64(unrecorded))
	o.unobserve()
	o.Health.Remove(o.healthName())
}

func (o *owner) run(ctx context.Context) error {
	batches, stop := o.kafka.Read(o.send, o.position)
	defer stop()
	o.lastTurn, o.ownershipUnknown = o.now(), true // opening may have taken long
	o.follow()
	var (
		draining = o.draining
		graceful <-chan time.Time
		timer    = time.NewTimer(o.idle())
	)
	defer timer.Stop()
	for {
		now := o.now()
		o.kafka.Alive()
		o.checkClock(now)
		o.checkFence(ctx, now)
		o.queue.SettleReplaced(now)
		o.queue.Wake(now)
		o.tendEndpoints(now)
		o.takeGrants(now)
		o.dispatch(now)
		o.readBodies(now)
		o.readBehind(now)
		o.record(ctx, now)
		o.report(now)
		o.observe(now)
		if o.stopping && o.queue.Taken == 0 && o.allRecorded() {
			return nil
		}
		forward, more := batches, (<-chan struct{})(nil)
		switch {
		case !o.readsOn():
			forward = nil
		case len(o.readAhead) > 0:
			forward, more = nil, always
		}
		timer.Reset(time.Duration(o.deadline(now)-now) * time.Millisecond)
		select {
		case f, ok := <-forward:
			if !ok {
				batches = nil
				continue
			}
			if err := o.take(f); err != nil {
				return err
			}
		case <-more:
			if err := o.takeSome(); err != nil {
				return err
			}
		case r := <-o.done:
			o.settle(r)
			o.settleMore()
		case b := <-o.readBack:
			o.bodiesRead(b)
		case c := <-o.committed:
			if err := o.commitDone(c); err != nil {
				return err
			}
		case r := <-o.reports:
			o.reportEnded(r)
		case r := <-o.second.done:
			if err := o.behindRead(r); err != nil {
				return err
			}
		case o.seen = <-o.window:
			o.condition("window", nil)
		case s := <-o.snapshots.done:
			o.snapshotWritten(s)
		case err := <-o.fence:
			if err := o.fenceChecked(err); err != nil {
				return err
			}
		case <-o.changed:
			o.follow()
		case <-o.wake:
		case <-timer.C:
		case <-draining:
			// No new attempt starts; attempts in flight may still finish.
			draining, o.stopping = nil, true
			o.releaseAwaitingBody()
			t := time.NewTimer(grace)
			defer t.Stop()
			graceful = t.C
		case <-graceful:
			graceful = nil
			o.abandon()
		case <-ctx.Done():
			return fmt.Errorf("drained too late: %w", context.Cause(ctx))
		}
	}
}

// Deadline is when the loop has work to do even if no channel is ready.
func (o *owner) deadline(now int64) int64 {
	at := o.recorded + o.idle().Milliseconds()
	if len(o.results)+len(o.rejects) > 0 {
		at = min(at, o.oldest+tick.Milliseconds())
	}
	if o.recording || o.checkingFence {
		at = now + o.idle().Milliseconds()
	}
	if !o.reading && len(o.awaitingBody) > 0 {
		at = min(at, o.readAfter)
	}
	if o.mayReadBehind() {
		at = min(at, o.second.after)
	}
	if due, ok := o.queue.NextDue(); ok && !o.sendsNothing() {
		at = min(at, due)
	}
	if o.ownershipUnknown && !o.checkingFence && !o.recording {
		at = min(at, o.checkFenceAfter)
	}
	return max(at, now)
}

// sendsNothing reports that sending is paused: while draining, without a configuration, while another owner may have
// the partition, and during a rebuild.
func (o *owner) sendsNothing() bool {
	return o.stopping || o.ownershipUnknown || o.targets == nil || o.recovering()
}

func (o *owner) recovering() bool {
	return o.mark.Status != state.Ready && o.position < o.mark.PublishedOffset
}

// readsOn reports whether the next batch is taken.
func (o *owner) readsOn() bool {
	return !o.stopping && o.seen != nil && len(o.fresh) < maxFresh && o.second.moved < maxMoved && o.blocked == nil
}

// always is a channel that is always ready.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
