package delivery

import (
	"time"

	"go.uber.org/zap"
)

// missing holds an endpoint whose request could not be made for want of
// something of ours. No attempt is used and nothing is recorded: it says nothing
// about the receiver. The others go on, since a connection that is kept needs no
// descriptor and no name server.
func (o *owner) missing(e *endpoint, why error, now int64) {
	o.Metrics.ours.Inc()
	o.lacks = why
	if e.until > 0 { // one of those that were on their way when it began
		return
	}
	if e.faults == 0 {
		if o.lacking == 0 {
			o.lackingSince = now
		}
		o.lacking++
		o.log.Warn("request not made", zap.String("endpoint", e.name), zap.Error(why))
	}
	o.queue.hold(e, now+min(firstHold<<e.faults, lastHold).Milliseconds())
	e.faults = min(e.faults+1, 16)
}

// found notes that a request to an endpoint could be made.
func (o *owner) found(e *endpoint) {
	if e.faults == 0 {
		return
	}
	e.faults = 0
	if o.lacking--; o.lacking == 0 {
		o.lacks = nil
		o.log.Info("requests are made again", zap.Duration("after", time.Duration(o.now()-o.lackingSince)*time.Millisecond))
	}
}

// release ends the hold of an endpoint that is another one now.
func (o *owner) release(e *endpoint) {
	o.found(e)
	if e.until > 0 {
		e.until = 1 // wake ends it
	}
}
