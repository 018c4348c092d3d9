// Package meter holds the metrics of an engine.
package meter

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/fold/internal/pending"
)

// Metrics of all partitions of one engine. Rejections are counted by reason, which is a closed set of codes.
type Metrics struct {
	events, duplicates, tooLate, futureTimestamp, evicted, timers, outcomes prometheus.Counter
	rejected                                                                *prometheus.CounterVec
	batches                                                                 prometheus.Histogram
	commitSeconds, publishSeconds                                           prometheus.Histogram
	SnapshotErrors, Fenced                                                  prometheus.Counter
	calls                                                                   *prometheus.CounterVec
	callSeconds                                                             prometheus.Histogram
	CallsWaiting                                                            prometheus.Gauge
	superseded, rulesLeft, snapshots                                        prometheus.Counter
	timersOf                                                                timers
}

// timers are those of the partitions that are owned here.
type timers struct {
	mu      sync.Mutex
	pending map[int32]int64
	overdue map[int32]time.Duration
}

// SnapshotTaken counts a snapshot of a partition, and notes how many timers it has.
func (m *Metrics) SnapshotTaken(partition int32, timers int64) {
	m.snapshots.Inc()
	m.timersOf.mu.Lock()
	defer m.timersOf.mu.Unlock()
	m.timersOf.pending[partition] = timers
}

// TimersOverdue notes for how long the first timer of a partition has been due, at most 0 where none is.
func (m *Metrics) TimersOverdue(partition int32, by time.Duration) {
	m.timersOf.mu.Lock()
	defer m.timersOf.mu.Unlock()
	m.timersOf.overdue[partition] = max(by, 0)
}

// Left forgets the timers of a partition that is not owned here any more.
func (m *Metrics) Left(partition int32) {
	m.timersOf.mu.Lock()
	defer m.timersOf.mu.Unlock()
	delete(m.timersOf.pending, partition)
	delete(m.timersOf.overdue, partition)
}

func (t *timers) sum() (n float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.pending {
		n += float64(p)
	}
	return n
}

func (t *timers) longest() (s float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, by := range t.overdue {
		s = max(s, by.Seconds())
	}
	return s
}

// New registers them for one domain of a service.
func New(service, domain string, reg prometheus.Registerer) *Metrics {
	labels := prometheus.Labels{"domain": domain}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "tollgate", Subsystem: service, Name: name, Help: help, ConstLabels: labels})
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "tollgate", Subsystem: service, Name: name, Help: help, ConstLabels: labels, Buckets: buckets})
		reg.MustRegister(h)
		return h
	}
	seconds := prometheus.ExponentialBuckets(0.0002, 2, 14)
	m := &Metrics{
		events:          counter("events_total", "Records of the log that were applied, without control records."),
		duplicates:      counter("duplicates_total", "Events that had been counted before, at another offset."),
		tooLate:         counter("too_late_to_deduplicate_total", "Events older than the window in which a repeat is known again; they were counted."),
		futureTimestamp: counter("future_timestamp_total", "Events whose own time was more than five minutes in the future; they count as of now."),
		evicted:         counter("dedup_evicted_total", "Remembered ids that had to go before the window's end, because a subject had too many."),
		timers:          counter("timers_total", "Timers that fired."),
		outcomes:        counter("outcomes_total", "Records published, repeats included."),
		batches:         histogram("batch_events", "Log records per commit.", prometheus.ExponentialBuckets(1, 2, 13)),
		commitSeconds:   histogram("commit_seconds", "Time of one Fenced commit.", seconds),
		publishSeconds:  histogram("publish_seconds", "Time to publish the outcomes of one batch.", seconds),
		snapshots:       counter("snapshots_total", "Snapshots written to their end mark."),
		SnapshotErrors:  counter("snapshot_errors_total", "Snapshots abandoned because they could not be written in time."),
		callSeconds:     histogram("call_seconds", "Time of one call, from its arrival to its answer.", seconds),
		superseded:      counter("calls_superseded_total", "Records of calls that do nothing: copies, and those an earlier owner appended late."),
		rulesLeft:       counter("state_full_total", "Records of rules that events selected beyond the 200, or 512 KiB, that one may change; they were left as they are."),
		Fenced:          counter("fenced_total", "Commits refused because the partition had another owner or the store was set back."),
	}
	m.rejected = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "tollgate", Subsystem: service, Name: "rejected_total",
		Help: "Events sent to the rejected topic, by reason.", ConstLabels: labels}, []string{"reason"})
	reg.MustRegister(m.rejected)
	m.calls = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "tollgate", Subsystem: service, Name: "calls_total",
		Help: "Calls made here, by what became of them.", ConstLabels: labels}, []string{"result"})
	m.CallsWaiting = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "tollgate", Subsystem: service, Name: "calls_waiting",
		Help: "Calls that wait for their answer.", ConstLabels: labels})
	m.timersOf.pending, m.timersOf.overdue = map[int32]int64{}, map[int32]time.Duration{}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "tollgate", Subsystem: service, Name: name, Help: help, ConstLabels: labels}, value)
	}
	reg.MustRegister(m.calls, m.CallsWaiting,
		gauge("timers_pending", "Timers of the partitions owned here, as of the last snapshot of each.", m.timersOf.sum),
		gauge("timers_overdue_seconds", "For how long the first timer has been due that has not fired, of all partitions owned here.", m.timersOf.longest))
	return m
}

// Counts are those of one batch.
type Counts struct {
	Events, Duplicates, TooLate, FutureTimestamp, Evicted, Timers, Superseded, RulesLeft int

	Rejected map[string]int // by reason
}

// Batch counts a batch of n log records.
func (m *Metrics) Batch(n int, c *Counts) {
	if n > 0 {
		m.batches.Observe(float64(n))
	}
	m.events.Add(float64(c.Events))
	m.duplicates.Add(float64(c.Duplicates))
	m.tooLate.Add(float64(c.TooLate))
	m.futureTimestamp.Add(float64(c.FutureTimestamp))
	m.evicted.Add(float64(c.Evicted))
	m.timers.Add(float64(c.Timers))
	m.superseded.Add(float64(c.Superseded))
	m.rulesLeft.Add(float64(c.RulesLeft))
	for reason, n := range c.Rejected {
		m.rejected.WithLabelValues(reason).Add(float64(n))
	}
}

// Published counts n outcomes that were acknowledged.
func (m *Metrics) Published(n int, took time.Duration) {
	m.outcomes.Add(float64(n))
	m.publishSeconds.Observe(took.Seconds())
}

// Committed counts a commit.
func (m *Metrics) Committed(took time.Duration) { m.commitSeconds.Observe(took.Seconds()) }

// Called counts one call; those that were not appended have no duration.
func (m *Metrics) Called(result pending.Result, took time.Duration) {
	m.calls.WithLabelValues(string(result)).Inc()
	switch result {
	case pending.Elsewhere, pending.NotReady, pending.Late, pending.Throttled, pending.Failed:
	default:
		m.callSeconds.Observe(took.Seconds())
	}
}
