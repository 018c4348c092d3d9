package loop

import (
	"time"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/metrics"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
)

func stateOf(e *queue.Endpoint, now int64) int {
	switch h := &e.Health; {
	case h.Suspended != health.NotSuspended:
		return metrics.Suspended
	case e.Paused:
		return metrics.Paused
	case e.ClosedUntil > 0:
		return metrics.Closed
	case h.Open:
		return metrics.CircuitOpen
	case h.HoldUntil > now:
		return metrics.Held
	case h.Failures > 0:
		return metrics.Failing
	}
	return metrics.Healthy
}

// observeEndpoints counts the endpoints by state, and what is behind.
func (o *owner) observeEndpoints(now int64) {
	var count [metrics.States]int
	behind := int64(0)
	for _, e := range o.queue.Endpoints {
		behind += e.Health.Behind.Count
		if e.Waiting > 0 || e.Record != queue.NoRecord {
			count[stateOf(e, now)]++
		}
	}
	o.countStates(count)
	o.Metrics.Behind.WithLabelValues(o.label).Set(float64(behind))
	if now-o.oldestAt >= oldestEvery.Milliseconds() {
		o.oldestAt = now
		o.Metrics.Oldest.WithLabelValues(o.label).Set(o.oldestAge().Seconds())
	}
}

// oldestEvery is between two looks for the oldest delivery: each goes over all that wait.
const oldestEvery = 10 * time.Second

func (o *owner) countStates(count [metrics.States]int) {
	for i, n := range count {
		if n != o.states[i] {
			o.Metrics.Endpoints.WithLabelValues(metrics.StateNames[i]).Add(float64(n - o.states[i]))
		}
	}
	o.states = count
}

// unobserve takes this partition out of the metrics.
func (o *owner) unobserve() {
	o.countStates([metrics.States]int{})
	o.Metrics.Waiting.DeleteLabelValues(o.label)
	o.Metrics.Behind.DeleteLabelValues(o.label)
	o.Metrics.Oldest.DeleteLabelValues(o.label)
}

// oldestAge is since when the delivery with the lowest offset could have been sent, as its reference shows.
func (o *owner) oldestAge() time.Duration {
	it := o.queue.Oldest()
	if it == nil {
		return 0
	}
	r := o.queue.Reference(it.Number(), o.drift)
	from := r.Due
	for n := range int(r.Attempts) {
		from -= o.Backoff.Step(n + 1).Milliseconds()
	}
	from = max(from, int64(r.Deadline)*1000-o.MaxAge.Milliseconds())
	return max(0, time.Duration(o.wall()-from)*time.Millisecond)
}
