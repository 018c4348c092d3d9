package loop

import (
	"math"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/pages"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
)

// now is the monotonic time since the partition was opened, in ms. Every interval and every due time in memory uses it.
// Stored due times and times in deliveries use the wall clock.
func (o *owner) now() int64 { return time.Since(o.began).Milliseconds() }

// wall is the wall clock in ms.
func (o *owner) wall() int64 { return o.Clock().UnixMilli() }

// Aged is the wall clock in ms as far as the log confirms it: the newest time of a record, and what passed since while the
// partition was owned. A clock that is ahead makes no delivery too old.
func (o *owner) aged(now int64) int64 {
	return min(o.wall(), o.logTime+now-o.logTimeAt)
}

// noteLogTime takes the time of a record over.
func (o *owner) noteLogTime(at, now int64) {
	if at > o.logTime+now-o.logTimeAt {
		o.logTime, o.logTimeAt = at, now
	}
}

// at converts a time of the wall clock into the time of now. The result is at most the longest backoff step away: a due
// time that was stored while the clock was wrong, or a NotBefore, is then looked at again.
func (o *owner) at(wall int64) int64 {
	return o.now() + min(wall-o.wall(), o.Backoff.Longest().Milliseconds())
}

// firstOf is when the first attempt of a reference began, as far as it is known.
func (o *owner) firstOf(r *pages.Reference) int64 {
	if r.First == 0 {
		return health.Never
	}
	return int64(r.First)*1000 - o.drift
}

// checkClock notices that the loop paused since its last turn, and that the wall clock was set.
func (o *owner) checkClock(now int64) {
	o.checkPause(now)
	o.lastTurn = now
	drift := o.wall() - now
	if by := drift - o.drift; by < -stepOver.Milliseconds() || by > stepOver.Milliseconds() {
		if o.drift != 0 {
			o.log.Warn("wall clock was set", zap.Duration("by", time.Duration(by)*time.Millisecond))
			// Deliveries that wait for a time of day are looked at again; waits after failures are intervals.
			o.queue.MakeDue(now, func(it *queue.Item) bool { return it.Attempts == 0 && !it.Held() })
		}
		o.drift = drift
	}
	if aged := o.aged(now) - now; aged < o.queue.Drift-stepOver.Milliseconds() || aged > o.queue.Drift+stepOver.Milliseconds() {
		o.queue.Drift = aged
		for _, e := range o.queue.Endpoints {
			e.Look = math.MinInt64 // deadlines are times of day
			if e.Target != nil && e.Target.Schedule() != nil {
				o.applyStops(e, now)
			}
			o.queue.List(e, now)
		}
	}
}

// checkPause notices a pause since the last turn of the loop. A pause may occur within a turn, so each delivery checks
// once more before it is sent.
func (o *owner) checkPause(now int64) {
	if now-o.lastTurn <= max(pauseOver, 2*o.idle()).Milliseconds() {
		return
	}
	if !o.ownershipUnknown {
		o.log.Warn("partition was paused", zap.Duration("for", time.Duration(now-o.lastTurn)*time.Millisecond))
	}
	o.ownershipUnknown = true
}
