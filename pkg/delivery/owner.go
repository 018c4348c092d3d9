package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

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

	mark  state.Watermark // as the store has it
	queue *queue
	pages *pages
	seen  *window
	// position is the next offset to read; what lies below is settled or outstanding.
	position int64
	// recovered is what the attempts told at opening of deliveries not read yet.
	recovered recovered

	// ahead is what was read and not taken yet, next where the log goes on after it.
	ahead    []stream.Record
	next     int64
	fresh    []*item // taken since the last commit
	results  []result
	rejects  []stream.Record // published with the next commit
	oldest   int64           // when the first of results and rejects came, ms
	recorded int64           // when the last commit was made, ms
	bodies   int64           // bytes of what waits with its body
	// bodiless waits without, by offset: its body may come along with a neighbour's.
	bodiless map[int64]*item
	unread   []*item // hold a slot and wait for their bodies
	// The next fetch of bodies begins at readFrom or above, not before readAfter
	// (ms); unreadable is where the last one failed.
	readFrom, readAfter, unreadable int64
	targets                         *Targets
	held                            ring[hold] // in the order they were held, those that no longer are included
	holding                         int        // how many are
	gone                            int        // parked, since the log does not hold them any more
	waiting                         int        // as last told to the metrics

	stopping  bool // draining: nothing new is sent
	recording bool
	cutAt     int64 // when the commit on its way was cut, ms
	// failing is why it is tried again; nil while nothing failed.
	failing atomic.Pointer[error]
	reading bool
	blocked error // why reading forward has ended

	jobs      chan job
	done      chan result
	committed chan committed
	readBack  chan readBack
	wake      chan struct{}
	changed   <-chan struct{}

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
		part:  state.Partition{Domain: c.Name, Number: number, Count: c.Partitions},
		log:   c.Log.With(zap.Int32("partition", number)),
		queue: newQueue(), pages: newPages(), seen: newWindow(),
		jobs: make(chan job), done: make(chan result, c.Slots.maxInFlight),
		committed: make(chan committed, 1), readBack: make(chan readBack, 1), wake: make(chan struct{}, 1),
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
	o.Metrics.lagSeconds.DeleteLabelValues(o.label())
	o.Health.Remove(o.healthName())
}

func (o *owner) run(ctx context.Context) error {
	batches, stop := o.kafka.Read(o.send, o.position)
	defer stop()
	o.follow()
	var (
		draining = o.draining
		graceful <-chan time.Time
		timer    = time.NewTimer(idle)
	)
	defer timer.Stop()
	for {
		now := o.now()
		o.kafka.Progress()
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
			o.take(f)
		case <-more:
			o.takeSome()
		case r := <-o.done:
			o.settle(r)
			o.settleMore()
		case b := <-o.readBack:
			o.bodiesRead(b)
		case c := <-o.committed:
			if err := o.wasRecorded(c); err != nil {
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

// now is the wall clock in ms: due times are compared with it, nothing is derived from it.
func (o *owner) now() int64 { return o.Clock().UnixMilli() }

// deadline is when the loop has something to do though nothing comes, in ms.
func (o *owner) deadline(now int64) int64 {
	at := o.recorded + idle.Milliseconds()
	if len(o.results)+len(o.rejects) > 0 {
		at = min(at, o.oldest+tick.Milliseconds())
	}
	if o.recording {
		at = now + idle.Milliseconds()
	}
	if !o.reading && len(o.unread) > 0 {
		at = min(at, o.readAfter)
	}
	if due, ok := o.queue.nextDue(); ok && !o.silent() {
		at = min(at, due)
	}
	return max(at, now)
}

// silent tells that nothing is sent: at the end, without a configuration, and
// while what was sent before is being found out. A partition that is full while it recovers must send, or
// it would never end.
func (o *owner) silent() bool {
	return o.stopping || o.targets == nil || o.recovering() && !o.full()
}

func (o *owner) full() bool { return o.queue.outstanding >= o.MaxReferences }

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
func (o *owner) take(f stream.Fetched) {
	if f.Err != nil {
		o.stopped(f.Err)
		return
	}
	o.ahead, o.next = f.Records, f.Next
	o.Metrics.lagRecords.Set(float64(max(0, f.End-f.Next)))
	age := 0.0
	if n := len(f.Records); n > 0 && f.Next < f.End {
		age = float64(o.now()-f.Records[n-1].Time.UnixMilli()) / 1000
	}
	o.Metrics.lagSeconds.WithLabelValues(o.label()).Set(max(0, age))
	o.takeSome()
}

// takeSome works a part of what was read.
func (o *owner) takeSome() {
	now := o.now()
	n := min(len(o.ahead), turn)
	for i := range o.ahead[:n] {
		o.takeOne(o.ahead[i], now)
	}
	o.ahead = o.ahead[n:]
	if len(o.ahead) == 0 {
		o.ahead, o.position = nil, max(o.position, o.next)
	}
}

func (o *owner) takeOne(r stream.Record, now int64) {
	o.position = r.Offset + 1
	d, err := Decode(r)
	if err != nil {
		o.reject(r, err, now)
		return
	}
	if o.seen.repeat(keyOf(d.ID, d.ReplayJob)) {
		o.Metrics.repeats.Inc()
		return
	}
	ref := reference{offset: r.Offset, due: now, endpoint: endpointHash(d.Endpoint), lane: laneHash(d)}
	if !d.NotBefore.IsZero() {
		ref.due = max(now, d.NotBefore.UnixMilli())
	}
	if !o.recovered.apply(&ref) {
		return // settled before the store was lost
	}
	it := o.queue.add(ref, noSlot, d, now)
	o.fresh = append(o.fresh, it)
	o.dispatch(now)
	o.keepBody(it)
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
	}
	o.queue.hasten(o.now(), func(it *item) bool {
		// What was told not to go before a time still does not.
		return it.held || inactive[it.endpoint] || changed[it.endpoint] && it.attempts > 0
	})
}

// condition notes what is wrong, or with nil no longer wrong, with the partition.
func (o *owner) condition(name string, err error) {
	if err == nil {
		if _, ok := o.conditions[name]; !ok {
			return
		}
		delete(o.conditions, name)
	} else {
		o.conditions[name] = err
	}
	all := make([]error, 0, len(o.conditions))
	for _, name := range [...]string{"opening", "recovering", "configuration", "held", "position", "bodies", "gone", "full", "unrecorded", "record"} {
		if err, ok := o.conditions[name]; ok {
			all = append(all, err)
		}
	}
	joined := errors.Join(all...)
	text := fmt.Sprint(joined)
	if text == o.told {
		return
	}
	o.told = text
	o.Health.Set(o.healthName(), joined)
}

func (o *owner) healthName() string { return fmt.Sprintf("%s/%d", o.Name, o.part.Number) }

func (o *owner) label() string { return fmt.Sprint(o.part.Number) }

// observe tells metrics and health what changed in this turn of the loop.
func (o *owner) observe(now int64) {
	if n := o.queue.outstanding; n != o.waiting {
		o.Metrics.waiting.Add(float64(n - o.waiting))
		o.waiting = n
	}
	if full := o.full(); full != (o.conditions["full"] != nil) {
		if full {
			o.Metrics.full.Inc()
			o.condition("full", fmt.Errorf("%d deliveries wait: nothing more is read until some are settled", o.queue.outstanding))
		} else {
			o.Metrics.full.Dec()
			o.condition("full", nil)
		}
	}
	if unrecorded := o.Slots.full(); unrecorded != (o.conditions["unrecorded"] != nil) {
		if unrecorded {
			o.condition("unrecorded", errors.New("results can't be recorded: nothing is sent until they are"))
		} else {
			o.condition("unrecorded", nil)
		}
	}
	for o.held.n > 0 && !o.held.first().still() {
		o.held.pop()
	}
	if o.held.n > 0 && now-o.held.first().since >= patience.Milliseconds() {
		o.condition("held", fmt.Errorf("%d deliveries are held: the oldest was planned by revision %d, known is %d",
			o.holding, o.held.first().revision, o.targets.Revision))
	} else {
		o.condition("held", nil)
	}
	switch late := o.recording && now-o.cutAt >= patience.Milliseconds(); {
	case late:
		why := errors.New("no answer yet")
		if err := o.failing.Load(); err != nil {
			why = *err
		}
		o.condition("record", fmt.Errorf("results are not recorded: %w", why))
	case !o.recording:
		o.condition("record", nil)
	}
	if o.conditions["recovering"] != nil && !o.recovering() {
		o.condition("recovering", nil)
		o.log.Info("position found again", zap.Int64("position", o.position), zap.Int("waiting", o.queue.outstanding))
	}
}
