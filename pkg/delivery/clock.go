package delivery

import (
	"time"

	"go.uber.org/zap"
)

// now is what every interval and every due time in memory is counted in: ms
// since the partition was opened, which never go back. Due times that are kept,
// and those that stand in deliveries, are the wall clock's.
func (o *owner) now() int64 { return time.Since(o.began).Milliseconds() }

// wall is the wall clock in ms.
func (o *owner) wall() int64 { return o.Clock().UnixMilli() }

// at is when a time of the wall clock comes, by now. None is further away than
// the longest wait: a due time that was kept while the clock was wrong, or a
// NotBefore, is looked at again then.
func (o *owner) at(wall int64) int64 {
	return o.now() + min(wall-o.wall(), steps[len(steps)-1].Milliseconds())
}

// turned looks at how long ago the loop turned last, and whether the wall clock
// was set meanwhile.
func (o *owner) turned(now int64) {
	o.stoodStill(now)
	o.turnedAt = now
	drift := o.wall() - now
	if by := drift - o.drift; by < -stepOver.Milliseconds() || by > stepOver.Milliseconds() {
		if o.drift != 0 {
			o.log.Warn("the clock was set", zap.Duration("by", time.Duration(by)*time.Millisecond))
			// What waits for a time of day is looked at again; waits after failures are intervals.
			o.queue.hasten(now, func(it *item) bool { return it.attempts == 0 && !it.held })
		}
		o.drift = drift
	}
}

// stoodStill notes a pause since the loop turned last: it may come in the midst
// of a turn, so that each delivery asks once more before it is sent.
func (o *owner) stoodStill(now int64) {
	if now-o.turnedAt <= pauseOver.Milliseconds() {
		return
	}
	if !o.doubt {
		o.log.Warn("partition stood still", zap.Duration("for", time.Duration(now-o.turnedAt)*time.Millisecond))
	}
	o.doubt = true
}
