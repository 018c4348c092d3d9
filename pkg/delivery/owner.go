package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
)

// owner works one partition. Everything in it belongs to the goroutine of run;
// senders, the recorder and the body reader get copies and answer on channels.
type owner struct {
	*Channel
	kafka    kafka
	part     state.Partition
	draining <-chan struct{}
	log      *zap.Logger
	// rejected are the lines of records that are no deliveries.
	rejected *display.Limited

	mark  state.Watermark // as the store has it
	token []byte          // mark's, which stands in each attempt
	queue *queue
	pages *pages
	seen  *window
	// position is the next offset to read; what lies below is settled or outstanding.
	position int64
	// last is the hash of the record before position, 0 where there is none.
	last uint64
	// recovered is what the attempts told at opening of deliveries not read yet.
	recovered recovered

	// ahead is what was read and not taken yet, next where the log goes on after it.
	ahead    []stream.Record
	next     int64
	fresh    []*item // taken since the last commit
	results  []result
	rejects  []stream.Record // published with the next commit
	oldest   int64           // when the first of results and rejects came
	recorded int64           // when the last commit was made
	bodies   int64           // bytes of what waits with its body
	// bodiless waits without, by offset: its body may come along with a neighbour's.
	bodiless map[int64]*item
	unread   []*item // hold a slot and wait for their bodies
	// The next fetch of bodies begins at readFrom or above, not before readAfter;
	// unreadable is where the last one failed.
	readFrom, readAfter, unreadable int64
	targets                         *Targets
	held                            ring[hold] // in the order they were held, those that no longer are included
	holding                         int        // how many are
	gone, mismatched                int        // parked: the log holds them no more, or something else in their place
	// lacking counts endpoints held for want of something of ours, since when and why.
	lacking      int
	lackingSince int64
	lacks        error
	waiting      int // as last told to the metrics

	stopping  bool // draining: nothing new is sent
	recording bool
	cutAt     int64 // when the commit on its way was cut
	// failing is why it is tried again; nil while nothing failed.
	failing atomic.Pointer[error]
	reading bool
	blocked error // why reading forward has ended

	jobs      chan job
	done      chan result
	committed chan committed
	readBack  chan readBack
	wake      chan struct{}
	fence     chan error
	changed   <-chan struct{}

	began    time.Time // origin of now
	turnedAt int64     // when the loop turned last
	drift    int64     // of the wall clock from now, ms
	// doubt: the loop stood still for so long that somebody else may have the
	// partition by now; nothing is sent or settled until the store says no.
	doubt, asking bool
	askAfter      int64

	send    context.Context // of attempts
	abandon context.CancelFunc
	workers sync.WaitGroup

	conditions map[string]error
	told       string

	toldGroup, groupOffset int64
	telling                atomic.Bool
}

// job is one attempt to be made.
type job struct {
	it *item
	d  *Delivery
	to Target
	n  int
}

// work runs a partition until it drains, is fenced, or something of ours fails.
func (c *Channel) work(ctx context.Context, k kafka, number int32, draining <-chan struct{}) error {
	o := &owner{
		Channel: c, kafka: k, draining: draining,
		part:     state.Partition{Domain: c.Name, Number: number, Count: c.Partitions},
		log:      c.Log.With(zap.Int32("partition", number)),
		rejected: display.NewLimited(c.Log.With(zap.Int32("partition", number)), "record rejected", 20),
		queue:    newQueue(), pages: newPages(), seen: newWindow(),
		jobs: make(chan job), done: make(chan result, c.Slots.maxInFlight),
		committed: make(chan committed, 1), readBack: make(chan readBack, 1), wake: make(chan struct{}, 1),
		fence: make(chan error, 1), began: time.Now(),
		conditions: map[string]error{}, bodiless: map[int64]*item{},
	}
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

// close ends what run left behind: senders come back at once, unrecorded.
func (o *owner) close() {
	o.abandon()
	o.workers.Wait()
	for range len(o.done) {
		<-o.done
	}
	unrecorded := len(o.results)
	if o.recording {
		unrecorded += (<-o.committed).results
	}
	o.Slots.forget(o.queue.taken, unrecorded)
	o.Metrics.unrecorded.Sub(float64(unrecorded))
	if o.conditions["full"] != nil {
		o.Metrics.full.Dec()
	}
	o.Metrics.waiting.Sub(float64(o.waiting))
	o.Health.Remove(o.healthName())
}

func (o *owner) run(ctx context.Context) error {
	batches, stop := o.kafka.Read(o.send, o.position)
	defer stop()
	o.turnedAt, o.doubt = o.now(), true // opening may have taken long
	o.follow()
	var (
		draining = o.draining
		graceful <-chan time.Time
		timer    = time.NewTimer(idle)
	)
	defer timer.Stop()
	for {
		now := o.now()
		o.kafka.Alive()
		o.turned(now)
		o.askFence(ctx, now)
		o.queue.wake(now)
		o.dispatch(now)
		o.readBodies(now)
		o.record(ctx, now)
		o.observe(now)
		if o.stopping && o.queue.taken == 0 && o.allRecorded() {
			return nil
		}
		forward, more := batches, (<-chan struct{})(nil)
		switch {
		case !o.readsOn():
			forward = nil
		case len(o.ahead) > 0:
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
			if err := o.wasRecorded(c); err != nil {
				return err
			}
		case err := <-o.fence:
			if err := o.fenceAnswered(err); err != nil {
				return err
			}
		case <-o.changed:
			o.follow()
		case <-o.wake:
		case <-timer.C:
		case <-draining:
			// Nothing new; what is in flight may still be answered.
			draining, o.stopping = nil, true
			o.unreadBack()
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

// deadline is when the loop has something to do though nothing comes.
func (o *owner) deadline(now int64) int64 {
	at := o.recorded + idle.Milliseconds()
	if len(o.results)+len(o.rejects) > 0 {
		at = min(at, o.oldest+tick.Milliseconds())
	}
	if o.recording || o.asking {
		at = now + idle.Milliseconds()
	}
	if !o.reading && len(o.unread) > 0 {
		at = min(at, o.readAfter)
	}
	if due, ok := o.queue.nextDue(); ok && !o.silent() {
		at = min(at, due)
	}
	if o.doubt && !o.asking && !o.recording {
		at = min(at, o.askAfter)
	}
	return max(at, now)
}

// silent tells that nothing is sent: at the end, without a configuration, while
// somebody else may have the partition, and while what was sent before is being found out. A partition that is full
// while it recovers must send, or it would never end.
func (o *owner) silent() bool {
	return o.stopping || o.doubt || o.targets == nil || o.recovering() && !o.full()
}

func (o *owner) full() bool { return o.queue.outstanding >= o.WaitingMax }

func (o *owner) recovering() bool { return o.mark.Status != state.Ready && o.position < o.mark.Floor }

// readsOn tells whether the next batch is taken.
func (o *owner) readsOn() bool {
	return !o.stopping && !o.full() && len(o.fresh) < maxFresh && o.blocked == nil
}

// always is ready.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// take begins with a batch that was read forward.
func (o *owner) take(f stream.Fetched) error {
	if f.Err != nil {
		o.stopped(f.Err)
		return nil //nolint:nilerr // reading has ended, and health says so; what waits is still sent
	}
	o.ahead, o.next = f.Records, f.Next
	return o.takeSome()
}

// takeSome works a part of what was read.
func (o *owner) takeSome() error {
	now := o.now()
	n := min(len(o.ahead), turn)
	for i := range o.ahead[:n] {
		if err := o.takeOne(o.ahead[i], now); err != nil {
			return err
		}
	}
	if n > 0 {
		o.last = o.ahead[n-1].Hash()
	}
	o.ahead = o.ahead[n:]
	if len(o.ahead) == 0 {
		if o.next > o.position { // offsets without records
			o.position, o.last = o.next, 0
		}
		o.ahead = nil
	}
	return nil
}

func (o *owner) takeOne(r stream.Record, now int64) error {
	o.position = r.Offset + 1
	d, err := Decode(r)
	if err != nil {
		o.reject(r, err, now)
		return nil
	}
	if o.seen.repeat(keyOf(d.ID, d.ReplayJob)) {
		o.Metrics.repeats.Inc()
		return nil
	}
	ref := reference{
		offset: r.Offset, due: max(o.wall(), d.NotBefore.UnixMilli()),
		id: idHash(d.ID, d.ReplayJob), endpoint: endpointHash(d.Endpoint), lane: laneHash(d),
	}
	waits, err := o.reconcile(&ref)
	if err != nil || !waits { // settled before the store was lost
		return err
	}
	it := o.queue.add(ref, noSlot, d, o.at(ref.due), now)
	o.fresh = append(o.fresh, it)
	o.dispatch(now)
	o.keepBody(it)
	return nil
}

// stopped handles the end of reading forward. A log that does not hold the
// position is an incident, which the claim has raised: what was lost is never
// passed over in silence. What waits is still sent.
func (o *owner) stopped(err error) {
	if errors.Is(err, stream.ErrRevoked) {
		return // draining tells the same
	}
	o.blocked = err
	var gone *stream.OutOfRangeError
	if errors.As(err, &gone) && gone.Start > gone.From {
		o.Metrics.gone.Add(float64(gone.Start - gone.From))
		err = fmt.Errorf("%d deliveries have left the log unread: %w", gone.Start-gone.From, err)
	}
	o.condition("position", err)
}

// follow takes over the newest configuration.
func (o *owner) follow() {
	o.targets, o.changed = o.Directory.Newest()
	if o.targets == nil {
		o.condition("configuration", errors.New("no configuration yet: nothing is sent"))
		return
	}
	o.condition("configuration", nil)
	prints := make(map[uint32]uint64, len(o.targets.ByName))
	for name, t := range o.targets.ByName {
		prints[endpointHash(name)] = t.Fingerprint()
	}
	changed, inactive := map[*endpoint]bool{}, map[*endpoint]bool{}
	for hash, e := range o.queue.endpoints {
		print, active := prints[hash]
		inactive[e] = !active
		changed[e] = active && e.fingerprint != 0 && e.fingerprint != print
		e.fingerprint = print
		if !active || changed[e] {
			o.release(e)
		}
	}
	o.queue.hasten(o.now(), func(it *item) bool {
		// What was told not to go before a time still does not.
		return it.held || inactive[it.endpoint] || changed[it.endpoint] && it.attempts > 0
	})
}
