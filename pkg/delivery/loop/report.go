package loop

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
)

const (
	// reportEvery is between two reports of an endpoint whose state stays the same; reportAgain after one that failed.
	reportEvery = 10 * time.Second
	// refreshEvery is when what is not healthy is reported again: a report of an owner that stood still may have come later.
	refreshEvery = 5 * time.Minute
	reportAgain  = 5 * time.Second
	// reportTimeout bounds one call, maxReports its endpoints.
	reportTimeout = 10 * time.Second
	maxReports    = 1000
)

// Unreported notes that an endpoint is to be reported.
func (o *owner) unreported(e *queue.Endpoint, urgent bool) {
	if o.Reporter == nil || e.Name == "" {
		return
	}
	if urgent {
		e.UrgentReport = true
		o.reportAfter = 0
	}
	if !e.Unreported {
		e.Unreported = true
		o.toReport = append(o.toReport, e)
	}
}

// report starts a report of the endpoints that changed, where one is due. Only what is committed is reported: an owner
// that lost its partition reports nothing of its own.
func (o *owner) report(now int64) {
	if len(o.toReport) == 0 || o.reporting || now < max(o.reportAfter, o.retryReport) {
		return
	}
	var all []delivery.EndpointHealth
	var reported []*queue.Endpoint
	later := o.toReport[:0:0]
	o.reportAfter = queue.Forever
	for _, e := range o.toReport {
		due := e.ReportedAt + reportEvery.Milliseconds()
		if e.UrgentReport || e.ReportedAt == health.Never {
			due = now
		}
		if due > now || len(all) == maxReports {
			o.reportAfter = min(o.reportAfter, max(due, now))
			later = append(later, e)
			continue
		}
		e.Unreported, e.UrgentReport = false, false
		e.ReportedAt, e.ReportedWaiting = now, e.Waiting
		all, reported = append(all, o.healthOf(e, now)), append(reported, e)
	}
	o.toReport = later
	if len(all) == 0 {
		return
	}
	o.reportAfter = now
	o.reporting = true
	o.workers.Go(func() {
		ctx, cancel := context.WithTimeout(o.send, reportTimeout)
		defer cancel()
		err := o.Reporter.Report(ctx, all)
		o.reports <- reportDone{reported, err}
	})
}

// reportDone is the result of a report.
type reportDone struct {
	endpoints []*queue.Endpoint
	err       error
}

// reportDone takes the result over: what failed is reported again, with what is then the state.
func (o *owner) reportEnded(r reportDone) {
	o.reporting = false
	if r.err == nil {
		return
	}
	if o.send.Err() == nil {
		o.log.Warn("health of endpoints not reported", zap.Int("endpoints", len(r.endpoints)), zap.Error(r.err))
	}
	for _, e := range r.endpoints {
		o.unreported(e, true)
	}
	o.retryReport = o.now() + reportAgain.Milliseconds()
}

// healthOf is what is reported of an endpoint.
func (o *owner) healthOf(e *queue.Endpoint, now int64) delivery.EndpointHealth {
	h := &e.Health
	at := func(ms int64) time.Time {
		if ms == health.Never {
			return time.Time{}
		}
		return time.UnixMilli(ms + o.drift)
	}
	out := delivery.EndpointHealth{
		Name: e.Name, Activation: h.Activation, Suspended: h.Suspended.String(), Failures: h.Failures,
		FailingSince: at(h.FailingSince), LastSuccess: at(h.LastSuccess), LastStatus: h.LastStatus, LastError: h.LastError,
		CircuitOpen: h.Open, NextProbe: at(h.NextProbe), Waiting: waitingFor(e), Behind: h.Behind.Count, At: o.Clock(),
	}
	if h.HoldUntil > now {
		out.HoldUntil = at(h.HoldUntil)
	}
	switch {
	case h.Suspended != health.NotSuspended:
		out.Since = at(h.SuspendedSince)
	case h.Failures > 0:
		out.Since = out.FailingSince
	default:
		out.Since = out.LastSuccess
	}
	return out
}

// waitingFor is how many deliveries wait for an endpoint, those included that are read again later.
func waitingFor(e *queue.Endpoint) int64 { return int64(e.Waiting) + e.Health.Behind.Count }
