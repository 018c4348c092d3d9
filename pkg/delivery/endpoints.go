package delivery

import (
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
)

// named is a target and its name.
type named struct {
	name string
	to   Target
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
		o.byHash[endpointHash(name)] = named{name, t}
	}
	now := o.now()
	renewed, inactive := map[*endpoint]bool{}, map[*endpoint]bool{}
	o.scheduled = o.scheduled[:0]
	for _, e := range o.queue.endpoints {
		renewed[e] = o.configure(e, now)
		inactive[e] = e.target == nil
	}
	o.queue.makeDue(now, func(it *item) bool {
		// A delivery with a NotBefore still waits for it.
		return it.held || inactive[it.endpoint] || renewed[it.endpoint] && it.attempts > 0
	})
	o.forgetEndpoints()
}

// configure applies the configuration to an endpoint; true where it changed so that what failed may succeed now.
func (o *owner) configure(e *endpoint, now int64) (renewed bool) {
	t, active := o.byHash[e.hash]
	if !active {
		e.target, e.paused, e.closedUntil = nil, false, 0
		o.release(e)
		o.queue.list(e, now)
		return false
	}
	o.queue.identify(e, t.name, tenantOf(t.name, e))
	h := &e.health
	e.target, e.limit = t.to, max(1, t.to.Concurrency())
	if print := t.to.Fingerprint(); h.Fingerprint != print {
		renewed = h.Fingerprint != 0
		h.Fingerprint = print
	}
	if renewed {
		h.Close()
		h.HoldUntil = health.Never
		e.slots = health.Slots{}
		o.release(e)
		o.touch(e, true)
	}
	renewed = o.activate(e, t.to.Activation(), now) || renewed
	e.paused = t.to.Paused()
	if t.to.Schedule() != nil {
		o.scheduled = append(o.scheduled, e)
	}
	o.applyStops(e, now)
	return renewed
}

// tenantOf is the tenant of an endpoint whose name has one; before the body of a delivery is read, others have their own.
func tenantOf(name string, e *endpoint) string {
	if rest, ok := strings.CutPrefix(name, "tenants/"); ok {
		tenant, _, _ := strings.Cut(rest, "/")
		return tenant
	}
	return e.share.Tenant
}

// activate begins a new activation; true where it ended a suspension. One below the known is of a configuration that was set back, where that is the newest.
func (o *owner) activate(e *endpoint, activation, now int64) (resumed bool) {
	h := &e.health
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
		o.log.Info("endpoint reactivated", zap.String("endpoint", e.name), zap.Int64("activation", activation))
		o.announceReactivated(e, was)
	}
	return was != health.NotSuspended
}

// applyStops notes whether the endpoint is stopped, and lets it resume with a probe first.
func (o *owner) applyStops(e *endpoint, now int64) {
	h := &e.health
	from := now
	e.closedUntil, e.scheduleAt = 0, forever
	if s := e.target.Schedule(); s != nil {
		wall := o.Clock()
		next := s.Change(wall)
		if !next.IsZero() {
			e.scheduleAt = o.at(next.UnixMilli())
		}
		if !s.Open(wall) {
			e.closedUntil = e.scheduleAt
		}
	}
	was := h.Stops.Stopped()
	if e.stopped() {
		h.Stops.Begin(from)
		e.stoppedFor = e.paused || h.Suspended != health.NotSuspended
	} else {
		h.Stops.End(now)
		if was && e.stoppedFor && !h.Open && e.waiting > 0 {
			h.Probe(now)
		}
	}
	if was != h.Stops.Stopped() {
		h.Stops.Forget(now - o.MaxAge.Milliseconds())
		o.touch(e, true)
	}
	o.queue.list(e, now)
}

// tendEndpoints applies the schedules that open or close, and reports numbers that changed.
func (o *owner) tendEndpoints(now int64) {
	for _, e := range o.scheduled {
		if e.target != nil && e.scheduleAt <= now {
			o.applyStops(e, now)
		}
	}
	if now-o.tended < idle.Milliseconds() {
		return
	}
	o.tended = now
	for _, e := range o.queue.endpoints {
		if e.health.Exhausted.Count > 0 {
			o.announceExhausted(e, now)
		}
		if e.waiting != e.reportedWaiting && (e.record != noRecord || e.stopped()) {
			o.unreported(e, false)
		}
	}
	o.observeEndpoints(now)
}

// touch notes that the record of an endpoint changed; urgent: its state did.
func (o *owner) touch(e *endpoint, urgent bool) {
	if !e.dirty {
		e.dirty = true
		o.dirty = append(o.dirty, e)
	}
	e.urgent = e.urgent || urgent
}

// forgetEndpoints forgets those that are configured no more, where nothing waits for them.
func (o *owner) forgetEndpoints() {
	if !o.Directory.Current(o.targets.Revision) {
		return
	}
	for hash, e := range o.queue.endpoints {
		if e.target != nil || e.waiting > 0 || e.taken > 0 || e.listed || e.health.Behind.Is {
			continue
		}
		e.health = health.New(e.name, 0)
		if e.record != noRecord {
			o.touch(e, false)
		}
		o.queue.sleep(e, forever)
		delete(o.queue.endpoints, hash)
	}
}

// judge applies the result of an attempt to its endpoint.
func (o *owner) judge(e *endpoint, r *result, now int64) {
	h := &e.health
	probe, wasOpen := e.probe == r.it, h.Open
	change := h.Apply(health.Result{
		Kind: r.shows, At: now, Hold: r.hold, Probe: probe, Quiet: isSystem(r.d.Event.Type),
		Delivery: r.d.ID, Status: r.status, Error: health.Short(r.why),
	})
	e.slots.Apply(r.shows, e.limit)
	if r.shows == health.Success {
		e.succeededAt.Store(now)
		if wasOpen {
			e.slots.Restart()
		}
	}
	if r.shows != health.Success || change.State || e.record != noRecord {
		o.touch(e, change.State)
	}
	if change.Notice > 0 {
		o.announceFailing(e, r.d, change.Notice)
	}
	if change.Suspended {
		o.announceSuspended(e, r.d)
	}
	if h.Suspended != health.NotSuspended && !h.Stops.Stopped() && e.target != nil {
		o.log.Warn("endpoint suspended", zap.String("endpoint", e.name), zap.Stringer("reason", h.Suspended), zap.Int64("failures", h.Failures))
		o.applyStops(e, now)
	}
}

// claimSlot and returnSlot are the queue's ways to the slots of the process.
func (o *owner) claimSlot(e *endpoint) bool { return o.Slots.Take(&e.share) }
func (o *owner) returnSlot(e *endpoint)     { o.Slots.Give(&e.share, false) }

// born completes a new endpoint.
func (o *owner) born(e *endpoint) {
	e.share = slots.Share{Owner: o.share, Endpoint: e.hash}
	if o.targets != nil {
		o.configure(e, o.now())
	}
}

// takeGrants gives their turn to endpoints that were granted a slot of the process.
func (o *owner) takeGrants(now int64) {
	for _, s := range o.Slots.Granted(o.share) {
		e := o.queue.endpoints[s.Endpoint]
		if e == nil {
			o.Slots.Give(s, false)
			continue
		}
		o.queue.grant(e, now)
	}
}

// circumstancesOf are those of an attempt that begins.
func (o *owner) circumstancesOf(it *item, d *Delivery, now int64) circumstances {
	c := circumstances{maxAge: o.MaxAge, aged: time.UnixMilli(o.aged(now)), schedule: it.endpoint.target.Schedule()}
	if it.since == health.Never {
		it.since = now
		for n := range int(it.attempts) { // before this opening: since then at least its waits passed
			it.since -= wait(d.ID, n+1).Milliseconds()
		}
	}
	stops := it.endpoint.health.Stops
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	c.tried = ms(now - it.since - stops.Within(it.since, now))
	c.stopped = ms(stops.Within(begins(d).UnixMilli()-o.drift, now))
	return c
}

// withdrawn is the settlement of a delivery whose turn came and that is not wanted any more: it expired, is too old, or a
// newer one replaces it.
func (o *owner) withdrawn(it *item, d *Delivery) decision {
	if v := outdated(d, o.Clock(), time.UnixMilli(o.aged(o.now())), o.MaxAge); v.settlement != Unsettled {
		return v
	}
	if newest := it.endpoint.newest[it.ref.Collapse]; it.ref.Collapse != 0 && newest != it && newest != nil && newest.ref.Offset > it.ref.Offset {
		return decision{settlement: Superseded, reason: "collapsed"}
	}
	return decision{}
}
