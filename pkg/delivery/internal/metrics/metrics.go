// Package metrics holds what a channel's service counts of its deliveries.
package metrics

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/delivery"
)

// Metrics are the metrics of one channel, named after its service.
type Metrics struct {
	Attempts       *prometheus.CounterVec
	Settled        *prometheus.CounterVec
	AttemptSeconds prometheus.Histogram
	AgeSeconds     prometheus.Histogram
	CommitSeconds  prometheus.Histogram
	InFlight       prometheus.Gauge
	Waiting        *prometheus.GaugeVec
	Behind         *prometheus.GaugeVec
	Oldest         *prometheus.GaugeVec
	Endpoints      *prometheus.GaugeVec
	Failures       *prometheus.CounterVec
	Unrecorded     prometheus.Gauge
	Retries        prometheus.Counter
	Repeats        prometheus.Counter
	Rejected       prometheus.Counter
	Gone           prometheus.Counter
	Rebuilds       prometheus.Counter
	Fenced         prometheus.Counter
	Held           prometheus.Counter
	NotMade        prometheus.Counter
	Mismatched     prometheus.Counter
	Ignored        prometheus.Counter
	Snapshots      prometheus.Counter
	SnapshotErrors prometheus.Counter
}

// New registers the metrics of a channel's service; an error names every metric that could not be registered.
func New(reg prometheus.Registerer, service string) (*Metrics, error) {
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
		Attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("attempts_total"), Help: "Attempts, by class of answer (2xx, 4xx …) or of error."}, []string{"result"}),
		Settled:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("deliveries_total"), Help: "Deliveries settled, by how they ended."}, []string{"settlement"}),

		Failures:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("failures_total"), Help: "Failed attempts, by whose failure it is: receiver, ours, slow, gone, throttled."}, []string{"fault"}),
		Waiting:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("waiting"), Help: "Deliveries of a partition that were read and are not settled."}, []string{"partition"}),
		Behind:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("behind"), Help: "Deliveries of a partition that are read again later, because too many of their endpoint wait."}, []string{"partition"}),
		Oldest:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("oldest_waiting_seconds"), Help: "Since when the oldest delivery of a partition that waits could have been sent."}, []string{"partition"}),
		Endpoints: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("endpoints"), Help: "Endpoints with deliveries that wait or failed, by state: healthy, failing, circuit_open, held (Retry-After), paused, closed (schedule), suspended."}, []string{"state"}),

		AttemptSeconds: histogram("attempt_seconds", "How long an attempt took.", prometheus.ExponentialBuckets(0.001, 2, 16)),
		AgeSeconds:     histogram("age_seconds", "From a delivery's planning to the beginning of its first attempt.", prometheus.ExponentialBuckets(0.001, 2.5, 16)),
		CommitSeconds:  histogram("record_seconds", "How long it took to record a group of results: attempts to Kafka, references to the store.", prometheus.ExponentialBuckets(0.0005, 2, 16)),
		InFlight:       gauge("in_flight", "Attempts under way."),
		Unrecorded:     gauge("unrecorded", "Results that wait to be recorded."),
		Retries:        counter("retries_total", "Failed attempts that are repeated later."),
		Repeats:        counter("repeats_total", "Deliveries that were planned twice and dropped."),
		Rejected:       counter("rejected_total", "Records that could not be decoded as deliveries."),
		Gone:           counter("gone_total", "Deliveries that retention removed before they were settled."),
		Rebuilds:       counter("rebuilds_total", "Openings of a partition whose stored position was lost."),
		Fenced:         counter("fenced_total", "Partitions lost to another owner, or because the store was set back."),
		Held:           counter("held_total", "Deliveries held until a revision of the configuration arrives or is known to be the newest."),
		NotMade:        counter("requests_not_made_total", "Requests that could not be made because something of this process was missing: a file descriptor, a port, a name server. They use no attempt."),
		Mismatched:     counter("mismatched_total", "Deliveries withheld because the log holds another delivery at their offset."),
		Ignored:        counter("settlements_ignored_total", "Settlements by a fenced owner that were found when a partition was opened, and ignored."),
		Snapshots:      counter("snapshots_total", "Snapshots of partitions written to state.snapshots."),
		SnapshotErrors: counter("snapshot_errors_total", "Snapshots of partitions that were abandoned."),
	}
	for _, c := range []prometheus.Collector{m.Attempts, m.Settled, m.Failures, m.Waiting, m.Behind, m.Oldest, m.Endpoints} {
		add(c)
	}
	for _, state := range StateNames {
		m.Endpoints.WithLabelValues(state)
	}
	for _, fault := range delivery.FaultNames {
		m.Failures.WithLabelValues(fault)
	}
	return m, errors.Join(errs...)
}

// States of endpoints, as Endpoints counts them.
const (
	Healthy = iota
	Failing
	CircuitOpen
	Held
	Paused
	Closed
	Suspended
	// States is how many there are.
	States
)

// StateNames are the labels.
var StateNames = [States]string{"healthy", "failing", "circuit_open", "held", "paused", "closed", "suspended"}
