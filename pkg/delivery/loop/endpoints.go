package loop

import (
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
)

// named is a target and its name.
type named struct {
	name string
	to   delivery.Target
}

// follow applies the newest configuration.
func (o *owner) follow() {
	o.targets, o.changed = o.Directory.Newest()
	if o.targets == nil {
		o.condition("configuration", errors.New("no configuration yet: nothing is sent"))
		return
	}
	o.condition("configuration", nil)
	o.byHash = make(map[uint64]named, len(o.targets.ByName))
	for name, t := range o.targets.ByName {
		o.byHash[queue.EndpointHash(name)] = named{name, t}
	}
	now := o.now()
	renewed, inactive := map[*queue.Endpoint]bool{}, map[*queue.Endpoint]bool{}
	o.scheduled = o.scheduled[:0]
	for _, e := range o.queue.Endpoints {
		renewed[e] = o.configure(e, now)
		inactive[e] = e.Target == nil
	}
	o.queue.MakeDue(now, func(it *queue.Item) bool {
		// A delivery with a NotBefore still waits for it.
		return it.Held && it.HeldFor <= o.targets.Revision || inactive[it.Endpoint] || renewed[it.Endpoint] && it.Attempts > 0
	})
	o.forgetEndpoints()
}

// configure applies the configuration to an endpoint; true where it changed so that what failed may succeed now.
func (o *owner) configure(e *queue.Endpoint, now int64) (renewed bool) {
	t, active := o.byHash[e.Hash]
	if !active {
		e.Target, e.Paused, e.ClosedUntil = nil, false, 0
		o.release(e)
		o.queue.List(e, now)
		return false
	}
	o.queue.Identify(e, t.name, tenantOf(t.name, e))
	h := &e.Health
	e.Target, e.Limit = t.to, max(1, t.to.Concurrency())
	if print := t.to.Fingerprint(); h.Fingerprint != print {
		renewed = h.Fingerprint != 0
		h.Fingerprint = print
	}
	if renewed {
		h.Close()
		h.HoldUntil = health.Never
		e.Slots = health.Slots{}
		o.release(e)
		o.touch(e, true)
	}
	renewed = o.activate(e, t.to.Activation(), now) || renewed
	e.Paused = t.to.Paused()
	if t.to.Schedule() != nil {
		o.scheduled = append(o.scheduled, e)
	}
	o.applyStops(e, now)
	return renewed
}

// tenantOf is the tenant of an endpoint whose name has one; before the body of a delivery is read, others have their own.
func tenantOf(name string, e *queue.Endpoint) string {
	if rest, ok := strings.CutPrefix(name, "tenants/"); ok {
		tenant, _, _ := strings.Cut(rest, "/")
		return tenant
	}
	return e.Share.Tenant
}

// activate begins a new activation; true where it ended a suspension. One below the known is of a configuration that was set back, where that is the newest.
func (o *owner) activate(e *queue.Endpoint, activation, now int64) (resumed bool) {
	h := &e.Health
	if activation == h.Activation || activation < h.Activation && !o.Directory.Current(o.targets.Revision) {
		return false
	}
	if h.Activation == 0 && h.Suspended == health.NotSuspended {
		// Nothing is known of an earlier one: what failed counts for this one.
		h.Activation = activation
		return false
	}
	was := h.Activate(activation, now)
	o.touch(e, true)
	if was != health.NotSuspended {
		o.log.Info("endpoint reactivated", zap.String("endpoint", e.Name), zap.Int64("activation", activation))
		o.announceReactivated(e, was)
	}
	return was != health.NotSuspended
}

// applyStops notes whether the endpoint is stopped, and lets it resume with a probe first.
func (o *owner) applyStops(e *queue.Endpoint, now int64) {
	h := &e.Health
	from := now
	e.ClosedUntil, e.ScheduleAt = 0, queue.Forever
	if s := e.Target.Schedule(); s != nil {
		wall := o.Clock()
		next := s.Change(wall)
		if !next.IsZero() {
			e.ScheduleAt = o.at(next.UnixMilli())
		}
		if !s.Open(wall) {
			e.ClosedUntil = e.ScheduleAt
		}
	}
	was := h.Stops.Stopped()
	if e.Stopped() {
		h.Stops.Begin(from)
		e.StoppedFor = was && e.StoppedFor || e.Paused || h.Suspended != health.NotSuspended
	} else {
		h.Stops.End(now)
		if was && e.StoppedFor && !h.Open && e.Waiting > 0 {
			h.Probe(now)
		}
	}
	if was != h.Stops.Stopped() {
		h.Stops.Forget(now - o.MaxAge.Milliseconds())
		o.touch(e, true)
	}
	o.queue.List(e, now)
}

// tendEndpoints applies the schedules that open or close, and reports numbers that changed.
func (o *owner) tendEndpoints(now int64) {
	for _, e := range o.scheduled {
		if e.Target != nil && e.ScheduleAt <= now {
			o.applyStops(e, now)
		}
	}
	if now-o.tended < idle.Milliseconds() {
		return
	}
	o.tended = now
	o.kept.prune()
	for _, e := range o.queue.Endpoints {
		if e.Health.Exhausted.Count > 0 {
			o.announceExhausted(e, now)
		}
		if has := e.Record != queue.NoRecord || e.Stopped(); has && (e.Waiting != e.ReportedWaiting || now-e.ReportedAt >= refreshEvery.Milliseconds()) {
			o.unreported(e, false)
		}
	}
	o.observeEndpoints(now)
}

// touch notes that the record of an endpoint changed; urgent: its state did.
func (o *owner) touch(e *queue.Endpoint, urgent bool) {
	if !e.Dirty {
		e.Dirty = true
		o.dirty = append(o.dirty, e)
	}
	e.Urgent = e.Urgent || urgent
}

// forgetEndpoints forgets those that are configured no more, where nothing waits for them.
func (o *owner) forgetEndpoints() {
	if !o.Directory.Current(o.targets.Revision) {
		return
	}
	for hash, e := range o.queue.Endpoints {
		if e.Target != nil || e.Waiting > 0 || e.Taken > 0 || e.Listed || e.Health.Behind.Is {
			continue
		}
		e.Health = health.New(e.Name, 0)
		if e.Record != queue.NoRecord {
			o.touch(e, false)
		}
		o.queue.Sleep(e, queue.Forever)
		delete(o.queue.Endpoints, hash)
	}
}

// applyResult applies the result of an attempt to its endpoint.
func (o *owner) applyResult(e *queue.Endpoint, r *result, now int64) {
	h := &e.Health
	probe, wasOpen := e.Probe == r.it, h.Open
	change := h.Apply(health.Result{
		Kind: r.shows, At: now, Hold: r.hold, Probe: probe, Quiet: isSystem(r.d.Event.Type),
		Delivery: r.d.ID, Status: r.status, Error: health.Short(r.why),
	})
	e.Slots.Apply(r.shows, e.Limit)
	if r.shows == health.Success {
		e.SucceededAt.Store(now)
		if wasOpen {
			e.Slots.Restart()
		}
	}
	// The first result of an opening is reported too: the configuration may have what an earlier owner reported and a lost
	// store has forgotten.
	unknown := o.Reporter != nil && e.ReportedAt == health.Never
	if r.shows != health.Success || change.State || unknown || e.Record != queue.NoRecord {
		o.touch(e, change.State || unknown)
	}
	if change.Notice > 0 {
		o.announceFailing(e, r.d, change.Notice)
	}
	if change.Suspended {
		o.announceSuspended(e, r.d)
	}
	if h.Suspended != health.NotSuspended && !h.Stops.Stopped() && e.Target != nil {
		o.log.Warn("endpoint suspended", zap.String("endpoint", e.Name), zap.Stringer("reason", h.Suspended), zap.Int64("failures", h.Failures))
		o.applyStops(e, now)
	}
}

// claimSlot and returnSlot are the queue's ways to the slots of the process.
func (o *owner) claimSlot(e *queue.Endpoint) bool { return o.Slots.Take(&e.Share) }
func (o *owner) returnSlot(e *queue.Endpoint)     { o.Slots.Give(&e.Share, false) }

// Born completes a new endpoint.
func (o *owner) born(e *queue.Endpoint) {
	e.Share = slots.Share{Owner: o.share, Endpoint: e.Hash}
	if o.targets != nil {
		o.configure(e, o.now())
	}
}

// takeGrants gives their turn to endpoints that were granted a slot of the process.
func (o *owner) takeGrants(now int64) {
	for _, s := range o.Slots.Granted(o.share) {
		e := o.queue.Endpoints[s.Endpoint]
		if e == nil {
			o.Slots.Give(s, false)
			continue
		}
		o.queue.Grant(e, now)
	}
}

// circumstancesOf are those of an attempt that begins.
func (o *owner) circumstancesOf(it *queue.Item, d *delivery.Delivery, now int64) delivery.Circumstances {
	c := delivery.Circumstances{MaxAge: o.MaxAge, Aged: time.UnixMilli(o.aged(now)), Schedule: it.Endpoint.Target.Schedule()}
	if it.Since == health.Never {
		it.Since = now
		for n := range int(it.Attempts) { // before this opening: since then at least its waits passed
			it.Since -= delivery.Wait(d.ID, n+1).Milliseconds()
		}
		// Changes of the endpoint may have brought attempts forward: the first was not before it was planned.
		it.Since = max(it.Since, delivery.Begins(d).UnixMilli()-o.drift)
	}
	stops := it.Endpoint.Health.Stops
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	c.Tried = ms(now - it.Since - stops.Within(it.Since, now))
	c.Stopped = ms(stops.Within(delivery.Begins(d).UnixMilli()-o.drift, now))
	return c
}

// withdrawn is the settlement of a delivery whose turn came and that is not wanted any more: it expired, is too old, or a
// newer one replaces it.
func (o *owner) withdrawn(it *queue.Item, d *delivery.Delivery) delivery.Decision {
	if v := delivery.Outdated(d, o.Clock(), time.UnixMilli(o.aged(o.now())), o.MaxAge); v.Settlement != delivery.Unsettled {
		return v
	}
	if newest := it.Endpoint.Newest[it.Ref.Collapse]; it.Ref.Collapse != 0 && newest != it && newest != nil && newest.Ref.Offset > it.Ref.Offset {
		return delivery.Decision{Settlement: delivery.Superseded, Reason: "collapsed"}
	}
	return delivery.Decision{}
}

// beginQueue gives the owner an empty queue.
func (o *owner) beginQueue() {
	o.queue = queue.New()
	o.queue.Claim, o.queue.Unclaim, o.queue.Born = o.claimSlot, o.returnSlot, o.born
}
