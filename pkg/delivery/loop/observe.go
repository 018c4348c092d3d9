package loop

import (
	"time"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
)

// States of endpoints, as a metric counts them.
const (
	stateHealthy = iota
	stateFailing
	stateOpen
	stateHeld
	statePaused
	stateClosed
	stateSuspended
	states
)

var stateNames = [states]string{"healthy", "failing", "circuit_open", "held", "paused", "closed", "suspended"}

func stateOf(e *queue.Endpoint, now int64) int {
	switch h := &e.Health; {
	case h.Suspended != health.NotSuspended:
		return stateSuspended
	case e.Paused:
		return statePaused
	case e.ClosedUntil > 0:
		return stateClosed
	case h.Open:
		return stateOpen
	case h.HoldUntil > now:
		return stateHeld
	case h.Failures > 0:
		return stateFailing
	}
	return stateHealthy
}

// observeEndpoints counts the endpoints by state, and what is behind.
func (o *owner) observeEndpoints(now int64) {
	var count [states]int
	behind := int64(0)
	for _, e := range o.queue.Endpoints {
		behind += e.Health.Behind.Count
		if e.Waiting > 0 || e.Record != queue.NoRecord {
			count[stateOf(e, now)]++
		}
	}
	o.countStates(count)
	o.Metrics.behind.WithLabelValues(o.label).Set(float64(behind))
	if now-o.oldestAt >= oldestEvery.Milliseconds() {
		o.oldestAt = now
		o.Metrics.oldest.WithLabelValues(o.label).Set(o.oldestAge().Seconds())
	}
}

// oldestEvery is between two looks for the oldest delivery: each goes over all that wait.
const oldestEvery = 10 * time.Second

func (o *owner) countStates(count [states]int) {
	for i, n := range count {
		if n != o.states[i] {
			o.Metrics.endpoints.WithLabelValues(stateNames[i]).Add(float64(n - o.states[i]))
		}
	}
	o.states = count
}

// unobserve takes this partition out of the metrics.
func (o *owner) unobserve() {
	o.countStates([states]int{})
	o.Metrics.waiting.DeleteLabelValues(o.label)
	o.Metrics.behind.DeleteLabelValues(o.label)
	o.Metrics.oldest.DeleteLabelValues(o.label)
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
