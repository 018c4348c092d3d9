package loop

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/delivery"
)

// Metrics are the metrics of one channel, named after its service.
type Metrics struct {
	attempts       *prometheus.CounterVec
	settled        *prometheus.CounterVec
	attemptSeconds prometheus.Histogram
	ageSeconds     prometheus.Histogram
	commitSeconds  prometheus.Histogram
	inFlight       prometheus.Gauge
	waiting        *prometheus.GaugeVec
	behind         *prometheus.GaugeVec
	oldest         *prometheus.GaugeVec
	endpoints      *prometheus.GaugeVec
	failures       *prometheus.CounterVec
	unrecorded     prometheus.Gauge
	retries        prometheus.Counter
	repeats        prometheus.Counter
	rejected       prometheus.Counter
	gone           prometheus.Counter
	rebuilds       prometheus.Counter
	fenced         prometheus.Counter
	held           prometheus.Counter
	notMade        prometheus.Counter
	mismatched     prometheus.Counter
	ignored        prometheus.Counter
	snapshots      prometheus.Counter
	snapshotErrors prometheus.Counter
}

// NewMetrics registers the metrics of a channel's service; an error names every metric that could not be registered.
func NewMetrics(reg prometheus.Registerer, service string) (*Metrics, error) {
	var errs []error
	name := func(s string) string { return "tollgate_" + service + "_" + s }
	add := func(c prometheus.Collector) {
		if err := reg.Register(c); err != nil {
			errs = append(errs, fmt.Errorf("register metric: %w", err))
		}
	}
	counter := func(n, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name(n), Help: help})
		add(c)
		return c
	}
	gauge := func(n, help string) prometheus.Gauge {
		c := prometheus.NewGauge(prometheus.GaugeOpts{Name: name(n), Help: help})
		add(c)
		return c
	}
	histogram := func(n, help string, buckets []float64) prometheus.Histogram {
		c := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name(n), Help: help, Buckets: buckets})
		add(c)
		return c
	}
	m := &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("attempts_total"), Help: "Attempts, by class of answer (2xx, 4xx …) or of error."}, []string{"result"}),
		settled:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("deliveries_total"), Help: "Deliveries settled, by how they ended."}, []string{"settlement"}),

		failures:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("failures_total"), Help: "Failed attempts, by whose failure it is: receiver, ours, slow, gone, throttled."}, []string{"fault"}),
		waiting:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("waiting"), Help: "Deliveries of a partition that were read and are not settled."}, []string{"partition"}),
		behind:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("behind"), Help: "Deliveries of a partition that are read again later, because too many of their endpoint wait."}, []string{"partition"}),
		oldest:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("oldest_waiting_seconds"), Help: "Since when the oldest delivery of a partition that waits could have been sent."}, []string{"partition"}),
		endpoints: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("endpoints"), Help: "Endpoints with deliveries that wait or failed, by state: healthy, failing, circuit_open, held (Retry-After), paused, closed (schedule), suspended."}, []string{"state"}),

		attemptSeconds: histogram("attempt_seconds", "How long an attempt took.", prometheus.ExponentialBuckets(0.001, 2, 16)),
		ageSeconds:     histogram("age_seconds", "From a delivery's planning to the beginning of its first attempt.", prometheus.ExponentialBuckets(0.001, 2.5, 16)),
		commitSeconds:  histogram("record_seconds", "How long it took to record a group of results: attempts to Kafka, references to the store.", prometheus.ExponentialBuckets(0.0005, 2, 16)),
		inFlight:       gauge("in_flight", "Attempts under way."),
		unrecorded:     gauge("unrecorded", "Results that wait to be recorded."),
		retries:        counter("retries_total", "Failed attempts that are repeated later."),
		repeats:        counter("repeats_total", "Deliveries that were planned twice and dropped."),
		rejected:       counter("rejected_total", "Records that could not be decoded as deliveries."),
		gone:           counter("gone_total", "Deliveries that retention removed before they were settled."),
		rebuilds:       counter("rebuilds_total", "Openings of a partition whose stored position was lost."),
		fenced:         counter("fenced_total", "Partitions lost to another owner, or because the store was set back."),
		held:           counter("held_total", "Deliveries held until a revision of the configuration arrives or is known to be the newest."),
		notMade:        counter("requests_not_made_total", "Requests that could not be made because something of this process was missing: a file descriptor, a port, a name server. They use no attempt."),
		mismatched:     counter("mismatched_total", "Deliveries withheld because the log holds another delivery at their offset."),
		ignored:        counter("settlements_ignored_total", "Settlements by a fenced owner that were found when a partition was opened, and ignored."),
		snapshots:      counter("snapshots_total", "Snapshots of partitions written to state.snapshots."),
		snapshotErrors: counter("snapshot_errors_total", "Snapshots of partitions that were abandoned."),
	}
	for _, c := range []prometheus.Collector{m.attempts, m.settled, m.failures, m.waiting, m.behind, m.oldest, m.endpoints} {
		add(c)
	}
	for _, state := range stateNames {
		m.endpoints.WithLabelValues(state)
	}
	for _, fault := range delivery.FaultNames {
		m.failures.WithLabelValues(fault)
	}
	return m, errors.Join(errs...)
}
