package loop

import (
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
)

// holdEndpoint holds an endpoint whose request could not be made because something of this process was missing. It uses
// no attempt and records nothing, because it shows nothing about the receiver. Other endpoints go on: a connection that
// is kept open needs no descriptor and no name server.
func (o *owner) holdEndpoint(e *queue.Endpoint, why error, now int64) {
	o.Metrics.NotMade.Inc()
	o.localFailure = why
	if e.LocalUntil > now { // this request was already under way when the hold began
		return
	}
	if e.LocalFailures == 0 {
		if o.failingLocally == 0 {
			o.failingLocallySince = now
		}
		o.failingLocally++
		o.log.Warn("request not made", zap.String("endpoint", e.Name), zap.Error(why))
	}
	e.LocalUntil = now + min(firstHold<<e.LocalFailures, lastHold).Milliseconds()
	o.queue.List(e, now)
	e.LocalFailures = min(e.LocalFailures+1, 16)
}

// localFailureOver notes that a request to an endpoint could be made.
func (o *owner) localFailureOver(e *queue.Endpoint) {
	if e.LocalFailures == 0 {
		return
	}
	e.LocalFailures = 0
	if o.failingLocally--; o.failingLocally == 0 {
		o.localFailure = nil
		o.log.Info("requests are made again", zap.Duration("after", time.Duration(o.now()-o.failingLocallySince)*time.Millisecond))
	}
}

// release ends the hold of an endpoint whose configuration changed.
func (o *owner) release(e *queue.Endpoint) {
	o.localFailureOver(e)
	e.LocalUntil = 0
}
