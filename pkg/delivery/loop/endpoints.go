package loop

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
)

// follow applies the newest configuration.
func (o *owner) follow() {
	before := o.targets
	o.targets, o.changed = o.Directory.Newest()
	if o.targets == nil {
		o.condition("configuration", errors.New("no configuration yet: nothing is sent"))
		return
	}
	o.condition("configuration", nil)
	now := o.now()
	renewed, ended := map[*queue.Endpoint]bool{}, map[*queue.Endpoint]bool{}
	changed := o.changedSince(before)
	if o.older {
		o.older, changed = false, maps.Values(o.queue.Endpoints)
	}
	for e := range changed {
		switch o.configure(e, now) {
		case becameInactive:
			ended[e] = true
		case mayNowSucceed:
			renewed[e] = true
		}
	}
	if len(renewed)+len(ended)+o.holding > 0 {
		o.queue.MakeDue(now, func(it *queue.Item) bool {
			// One that waits for its NotBefore is put back once its body is read: after a restart nothing else distinguishes it
			// from one that failed and used no attempt.
			e := o.queue.Of(it)
			came := it.Held() && o.queue.HoldOf(it).For <= o.targets.Revision
			if came && (o.queue.HoldOf(it).For > 0 || e.Target != nil || o.Directory.Current(o.targets.Revision)) {
				o.unhold(it) // from here on it waits for its endpoint, which may be paused for long
			}
			return came || ended[e] || renewed[e] && !it.Held()
		})
	}
}

// changedSince are the endpoints whose configuration may be another than it was: a revision names them, where the one before
// it was applied.
func (o *owner) changedSince(before *delivery.Targets) iter.Seq[*queue.Endpoint] {
	if before == nil || o.targets.Changed == nil || o.targets.Since != before.Serial || o.targets == before {
		return maps.Values(o.queue.Endpoints)
	}
	return func(yield func(*queue.Endpoint) bool) {
		for _, name := range o.targets.Changed {
			if e := o.queue.Endpoints[delivery.EndpointHash(name)]; e != nil && !yield(e) {
				return
			}
		}
	}
}

// changeOf is what a configuration changed of an endpoint.
type changeOf uint8

const (
	nothingElse changeOf = iota
	// becameInactive: what waits for it is decided without a request. mayNowSucceed: what failed is tried again.
	becameInactive
	mayNowSucceed
)

// target is the configuration of an endpoint, nil where it is not active.
func (o *owner) target(e *queue.Endpoint) (name string, to delivery.Target) {
	if name = e.Name; name == "" {
		name = o.targets.NameOf(e.Hash)
	}
	return name, o.targets.ByName[name]
}

// configure applies the configuration to an endpoint.
func (o *owner) configure(e *queue.Endpoint, now int64) changeOf {
	name, to := o.target(e)
	if to == nil {
		if e.Configured && e.Target == nil {
			return nothingElse
		}
		e.Configured, e.Target, e.Paused, e.ClosedUntil = true, nil, false, 0
		o.release(e)
		o.queue.List(e, now)
		return becameInactive
	}
	if e.Target == to && e.Health.Activation == to.Activation() {
		return nothingElse
	}
	o.queue.Identify(e, name, tenantOf(name, e))
	renewed := false
	e.Configured = true
	h := &e.Health
	e.Target, e.Limit = to, max(1, to.Concurrency())
	if print := to.Fingerprint(); h.Fingerprint != print {
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
	renewed = o.activate(e, to.Activation(), now) || renewed
	e.Paused = to.Paused()
	if to.Schedule() != nil && !e.Scheduled {
		e.Scheduled = true
		o.scheduled = append(o.scheduled, e)
	}
	o.applyStops(e, now)
	if renewed {
		return mayNowSucceed
	}
	return nothingElse
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
	if activation == h.Activation {
		return false
	}
	if activation < h.Activation && !o.Directory.Current(o.targets.Revision) {
		o.older = true
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
	was, probes := h.Stops.Stopped(), h.ProbeAfter
	if e.Stopped() {
		h.Stops.Begin(from)
		h.ProbeAfter = was && h.ProbeAfter || e.Paused || h.Suspended != health.NotSuspended
	} else {
		h.Stops.End(now)
		if was && h.ProbeAfter && !h.Open && e.Waiting > 0 {
			h.Probe(now)
		}
		h.ProbeAfter = false
	}
	if was != h.Stops.Stopped() || probes != h.ProbeAfter {
		h.Stops.Forget(now - o.MaxAge.Milliseconds())
		o.touch(e, true)
	}
	o.queue.List(e, now)
}

// tendEndpoints applies the schedules that open or close, and reports numbers that changed.
func (o *owner) tendEndpoints(now int64) {
	o.scheduled = slices.DeleteFunc(o.scheduled, func(e *queue.Endpoint) bool {
		if e.Target == nil || e.Target.Schedule() == nil {
			e.Scheduled = false
		} else if e.ScheduleAt <= now {
			o.applyStops(e, now)
		}
		return !e.Scheduled
	})
	if now-o.tended < o.idle().Milliseconds() {
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
	o.forgetEndpoints()
}

// touch notes that the record of an endpoint changed; urgent: its state did.
func (o *owner) touch(e *queue.Endpoint, urgent bool) {
	if !e.Dirty {
		e.Dirty, e.TouchedAt = true, o.published
		o.dirty = append(o.dirty, e)
	}
	e.Urgent = e.Urgent || urgent
}

// forgetEndpoints forgets those that are configured no more, where nothing waits for them.
func (o *owner) forgetEndpoints() {
	if o.targets == nil || !o.Directory.Current(o.targets.Revision) {
		return
	}
	for _, e := range o.queue.Endpoints {
		if e.Target != nil || e.Health.Behind.Is || !o.queue.Forget(e) {
			continue
		}
		e.Health = health.New(e.Name, 0)
		if e.Record != queue.NoRecord {
			o.touch(e, false)
		}
	}
}

// applyResult applies the result of an attempt to its endpoint.
func (o *owner) applyResult(e *queue.Endpoint, r *result, now int64) {
	h := &e.Health
	e.Unpublished++
	r.of = e
	if r.print != h.Fingerprint { // another configuration had it, which shows nothing of this one
		return
	}
	probe, wasOpen := e.Probe == r.it, h.Open
	change := h.Apply(health.Result{
		Kind: r.shows, At: now, Hold: r.hold, Activation: r.activation, Probe: probe, Quiet: isSystem(r.d.Event.Type),
		Delivery: r.d.ID, Status: r.status, Error: health.Short(r.why),
	})
	e.Slots.Apply(r.shows, e.Limit)
	if r.shows == health.Success {
		e.SucceededAt.Store(now)
	}
	if wasOpen && !h.Open {
		e.Slots.Restart()
	}
	// The first result of an opening is reported too: the configuration may have what an earlier owner reported and a lost
	// store has forgotten.
	unknown := o.Reporter != nil && e.ReportedAt == health.Never
	if !r.shows.Works() || change.State || unknown || e.Record != queue.NoRecord {
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
	c := delivery.Circumstances{Backoff: o.Backoff, MaxAge: o.MaxAge, Aged: time.UnixMilli(o.aged(now)), Schedule: o.queue.Of(it).Target.Schedule()}
	first := it.First()
	if first == health.Never {
		first = now
	}
	// One that another clock stamped was not before its delivery was planned.
	first = max(first, delivery.Begins(d).UnixMilli()-o.drift)
	it.SetFirst(first)
	e := o.queue.Of(it)
	stops := e.Health.Stops
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	c.Tried = ms(now - first - stops.Within(first, now))
	c.Stopped = ms(stops.Within(delivery.Begins(d).UnixMilli()-o.drift, now))
	return c
}

// withdrawn is the settlement of a delivery whose turn came and that is not wanted any more: it expired, is too old, or a
// newer one replaces it.
func (o *owner) withdrawn(it *queue.Item, d *delivery.Delivery) delivery.Decision {
	if v := delivery.Outdated(d, o.Clock(), time.UnixMilli(o.aged(o.now())), o.MaxAge); v.Settlement != delivery.Unsettled {
		return v
	}
	if o.queue.Replaced(it) {
		return delivery.Decision{Settlement: delivery.Superseded, Reason: "collapsed"}
	}
	return delivery.Decision{}
}

// beginQueue gives the owner an empty queue.
func (o *owner) beginQueue() {
	o.queue = queue.New()
	o.pages = pages.New(func(number int32) pages.Reference { return o.queue.Reference(number, o.drift) })
	o.queue.Claim, o.queue.Unclaim, o.queue.Born = o.claimSlot, o.returnSlot, o.born
}
