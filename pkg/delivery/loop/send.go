package loop

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

// result is the result of an attempt, ready to be recorded.
type result struct {
	it *queue.Item
	// unfinished: the attempt was broken off, and nothing is recorded.
	unfinished bool
	// localFailure: the request could not be made; nothing is recorded, and the endpoint is held.
	localFailure error
	decision     delivery.Decision
	number       int
	// counted is how many attempts the delivery has used with this one.
	counted int
	due     int64 // of the next attempt, where it is unsettled
	attempt stream.Record
	// dead is the dead letter where the delivery is dead or cancelled.
	dead *stream.Record
	// d is its delivery; shows, hold, status and why are what the attempt showed of the endpoint.
	d     *delivery.Delivery
	of    *queue.Endpoint // whose record contains it, where that is so
	shows health.Kind
	fault delivery.Fault
	hold  time.Duration
	// activation is the job's, print the fingerprint of its target.
	activation int64
	print      uint64
	status     int
	why        string
	class      string
	took       time.Duration
	age        time.Duration // at the first attempt
}

// workerIdle is how long a sender waits for its next attempt before it ends.
const workerIdle = 10 * time.Second

// dispatch gives out slots while there are free slots and items that can use them.
func (o *owner) dispatch(now int64) {
	if o.sendsNothing() {
		return
	}
	if len(o.awaitingBody) < maxAwaitingBody {
		o.queue.ResumePassed(now)
	}
	for o.queue.Turns.N > 0 && !o.ownershipUnknown {
		it := o.queue.Next(len(o.awaitingBody) < maxAwaitingBody, now)
		if it == nil {
			return
		}
		o.begin(it, o.queue.TakeBody(it), now)
	}
}

// begin sends a delivery that has a slot, or decides why not.
func (o *owner) begin(it *queue.Item, d *delivery.Delivery, now int64) {
	if d == nil {
		o.awaitingBody = append(o.awaitingBody, it)
		return
	}
	e := o.queue.Of(it)
	o.queue.Identify(e, d.Endpoint, d.Tenant)
	if o.checkPause(o.now()); o.ownershipUnknown {
		o.putBack(it, d, now, now)
		return
	}
	if d.Revision > o.targets.Revision {
		o.holdForRevision(it, d.Revision, fmt.Sprintf("was planned by revision %d, the newest known is %d", d.Revision, o.targets.Revision), now)
		return
	}
	to, active := o.targets.ByName[d.Endpoint]
	if !active && !o.Directory.Current(o.targets.Revision) {
		// A later revision may make it active, and a cancelled delivery is lost to its receiver.
		o.holdForRevision(it, 0, fmt.Sprintf("is for an endpoint that is not active in revision %d, which may not be the newest", o.targets.Revision), now)
		return
	}
	o.unhold(it)
	if !active {
		reason := "endpoint_deleted"
		if o.targets.Disabled[d.Endpoint] {
			reason = "endpoint_disabled"
		}
		o.settle(o.withoutAttempt(it, d, delivery.Decision{Settlement: delivery.Cancelled, Reason: reason}))
		return
	}
	if v := o.withdrawn(it, d); v.Settlement != delivery.Unsettled {
		o.settle(o.withoutAttempt(it, d, v))
		return
	}
	if it.Attempts == 0 && d.NotBefore.UnixMilli() > o.wall() { // the wall clock was set back, or is far off
		o.putBack(it, d, o.at(d.NotBefore.UnixMilli()), now)
		return
	}
	if o.queue.AwaitsCommit(it) {
		o.giveBack(it, now)
		o.queue.AwaitCommit(it)
		o.queue.Keep(it, d)
		return
	}
	if e.ScheduleAt <= now {
		o.applyStops(e, now)
	}
	held := e.Stopped() || max(e.Health.HoldUntil, e.LocalUntil) > now // a probe goes out before SendAt
	if it != e.Probe && (e.SendAt() > now || e.Probing() || e.Taken > e.Slots.Number(e.Limit)) || it == e.Probe && held {
		// The limit or the hold is newer than its slot. One past its deadline by the monotonic clock alone waits a moment.
		if queue.DeadlineOf(it, o.drift) <= now {
			it.Postpone(d, o.MaxAge)
			now += time.Second.Milliseconds()
		}
		o.putBack(it, d, now, o.now())
		return
	}
	e.Spend(now)
	o.Metrics.InFlight.Inc()
	j := job{it: it, d: d, to: to, n: int(it.Attempts) + 1, c: o.circumstancesOf(it, d, now), of: e, ordered: it.Key != 0, first: it.First(), activation: e.Health.Activation}
	select {
	case o.jobs <- j: // a sender is idle
	default:
		o.workers.Go(func() { o.sender(j) })
	}
}

// hold is a delivery that waits for a revision of the configuration.
type hold struct {
	it    *queue.Item
	since int64
	why   string
}

// current reports that it has been held without interruption.
func (o *owner) current(h hold) bool {
	return h.it.Held() && o.queue.HoldOf(h.it).Since == h.since
}

// holdForRevision keeps a delivery, without its body, until the configuration has a revision.
func (o *owner) holdForRevision(it *queue.Item, revision int64, why string, now int64) {
	if o.queue.Hold(it, revision, now) {
		o.holding++
		o.Metrics.Held.Inc()
		o.held.Push(hold{it: it, since: now, why: why})
	}
	o.putBack(it, nil, queue.Forever, now)
}

func (o *owner) unhold(it *queue.Item) {
	if o.queue.Unhold(it) {
		o.holding--
	}
}

// putBack lets an item with a slot wait until due; nothing was sent.
func (o *owner) putBack(it *queue.Item, d *delivery.Delivery, due, now int64) {
	o.giveBack(it, now)
	o.queue.Later(it, due, now)
	o.queue.Keep(it, d)
}

// giveBack frees the slot of an item; nothing was sent.
func (o *owner) giveBack(it *queue.Item, now int64) {
	o.Slots.Give(&o.queue.Of(it).Share, false)
	o.queue.Free(it, now)
}

// sender makes attempts, one after the other. The goroutine is kept because its stack has grown.
func (o *owner) sender(j job) {
	timer := time.NewTimer(workerIdle)
	defer timer.Stop()
	for {
		o.done <- o.attempt(j)
		timer.Reset(workerIdle)
		select {
		case j = <-o.jobs:
		case <-timer.C:
			return
		case <-o.send.Done():
			return
		}
	}
}

// attempt makes one attempt and its record.
func (o *owner) attempt(j job) *result {
	out := o.guarded(j)
	o.Metrics.InFlight.Dec()
	if out.Unfinished {
		return &result{it: j.it, unfinished: true}
	}
	if out.Result == delivery.LocalFailure {
		return &result{it: j.it, localFailure: fmt.Errorf("%s: %s", out.ErrorClass, out.Error)}
	}
	if out.Result == delivery.Withdrawn {
		return o.withoutAttempt(j.it, j.d, delivery.Decision{Settlement: delivery.Cancelled, Reason: out.Reason, Unwanted: true})
	}
	out.Activation = j.activation
	c := j.c
	took := out.Finished.Sub(out.Started)
	c.Tried, c.Aged = c.Tried+took, c.Aged.Add(took)
	c.HoldsOthers = j.ordered && j.of.SucceededAt.Load() > j.first
	v := delivery.Decide(j.d, j.n, &out, c)
	r := o.result(j.it, j.d, j.n, &out, v)
	r.shows, r.hold, r.status, r.fault = out.Shows(), min(out.RetryAfter, maxHold), out.Status, out.Fault
	r.activation, r.print = j.activation, j.to.Fingerprint()
	if r.why = out.Error; r.why == "" && out.Status > 0 && out.Result != delivery.Accepted {
		r.why = "status " + strconv.Itoa(out.Status)
	}
	r.took = out.Finished.Sub(out.Started)
	if j.n == 1 {
		r.age = max(0, out.Started.Sub(j.d.PlannedAt))
	}
	r.class = out.ErrorClass
	if out.Status > 0 {
		r.class = strconv.Itoa(out.Status/100) + "xx"
	}
	o.logAttempt(j.d, r, &out)
	return r
}

// guarded turns a panic of the channel into a failure: the delivery is tried again and is dead in the end, and the
// process goes on.
func (o *owner) guarded(j job) (out delivery.Outcome) {
	started := o.Clock()
	defer func() {
		if p := recover(); p != nil {
			o.log.Error("panic in an attempt", zap.String("delivery", j.d.ID), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			o.kafka.Report(reason.Panic, j.d.Offset, fmt.Errorf("attempt of %s panicked: %v", j.d.ID, p))
			out = delivery.Outcome{Started: started, Finished: o.Clock(), Fault: delivery.FaultOurs, ErrorClass: "panic", Error: fmt.Sprint(p)}
		}
	}()
	return o.Sender.Send(o.send, j.d, j.to, j.n)
}

// withoutAttempt is the result of a settlement without a request.
func (o *owner) withoutAttempt(it *queue.Item, d *delivery.Delivery, v delivery.Decision) *result {
	r := o.result(it, d, 0, nil, v)
	o.logAttempt(d, r, nil)
	return r
}

// result encodes the records of a result.
func (o *owner) result(it *queue.Item, d *delivery.Delivery, n int, out *delivery.Outcome, v delivery.Decision) *result {
	r := &result{it: it, d: d, number: n, counted: n, decision: v}
	if out != nil && out.Uncounted {
		r.counted--
	}
	m := delivery.AttemptMessage(d, n, out, v, o.token)
	at := o.Clock()
	if out != nil {
		at = out.Started
	}
	source := "tollgate/" + o.Name
	rec, err := delivery.AttemptRecord(o.Attempts, source, d, m, at)
	if err != nil {
		// No response of a receiver may prevent the recording of a result.
		o.log.Error("attempt recorded without its details", zap.String("delivery", d.ID), zap.Error(err))
		m = delivery.AttemptMessage(d, n, nil, v, o.token)
		rec, _ = delivery.AttemptRecord(o.Attempts, source, d, m, at)
	}
	r.attempt = rec
	if v.HasDeadLetter() {
		dead, err := delivery.DeadRecord(o.Dead, source, d, m, at)
		if err != nil {
			o.log.Error("dead letter without its delivery", zap.String("delivery", d.ID), zap.Error(err))
			dead, _ = delivery.DeadRecord(o.Dead, source, &delivery.Delivery{ID: d.ID}, m, at)
		}
		r.dead = &dead
	}
	return r
}

// Settle takes a result over: the slot is free at once; the result is recorded later.
func (o *owner) settle(r *result) {
	now := o.now()
	e := o.queue.Of(r.it)
	if r.unfinished || r.localFailure != nil {
		if r.localFailure != nil {
			o.holdEndpoint(e, r.localFailure, now)
		}
		o.putBack(r.it, nil, r.it.Due(), now)
		return
	}
	if r.number > 0 {
		o.localFailureOver(e)
		if r.fault != delivery.FaultOurs {
			o.applyResult(e, r, now)
		}
		if r.shows != health.Success {
			o.Metrics.Failures.WithLabelValues(r.fault.String()).Inc()
		}
	}
	if r.decision.Settlement == delivery.Dead {
		o.countExhausted(r, now)
	}
	o.Slots.Give(&e.Share, true)
	o.queue.Free(r.it, now)
	if len(o.results)+len(o.rejects) == 0 {
		o.oldest = now
	}
	r.d, r.due = nil, now+r.decision.Wait.Milliseconds()
	if e.Target == nil || r.print != e.Health.Fingerprint || r.activation != e.Health.Activation { // what waited when that changed was due at once
		r.due = now
	}
	o.results = append(o.results, r)
	o.Metrics.Unrecorded.Inc()
	if r.number > 0 {
		o.Metrics.Attempts.WithLabelValues(r.class).Inc()
		o.Metrics.AttemptSeconds.Observe(r.took.Seconds())
		if r.number == 1 {
			o.Metrics.AgeSeconds.Observe(r.age.Seconds())
		}
	}
	if r.decision.Settlement == delivery.Unsettled {
		o.Metrics.Retries.Inc()
		o.queue.Unrecorded(r.it)
		r.it.Attempts = pages.Counted(r.counted)
		o.queue.Later(r.it, r.due, now)
		o.queue.Keep(r.it, nil)
		return
	}
	o.Metrics.Settled.WithLabelValues(r.decision.Settlement.String()).Inc()
	o.queue.Settle(r.it, r.decision.Settlement.Undelivered(), r.decision.Settlement == delivery.Cancelled, now)
}

// settleMore takes over further results that arrived, before the loop turns.
func (o *owner) settleMore() {
	for range 255 {
		select {
		case r := <-o.done:
			o.settle(r)
		default:
			return
		}
	}
}

// reject sends a record that is not a delivery to the rejected topic, with the next commit.
func (o *owner) reject(r stream.Record, why error) {
	o.Metrics.Rejected.Inc()
	o.lines.rejected.Write(zap.WarnLevel, func() []zap.Field { return []zap.Field{zap.Int64("offset", r.Offset), zap.Error(why)} })
	r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
	o.publishLater(event.Rejected(o.Rejected, r, event.Identity{}, reason.DeliveryUnreadable, fault.Detail(why), r.Time))
}

// publishLater publishes a record with the next commit, before its attempts.
func (o *owner) publishLater(r stream.Record) {
	if len(o.results)+len(o.rejects) == 0 {
		o.oldest = o.now()
	}
	o.rejects = append(o.rejects, r)
}
