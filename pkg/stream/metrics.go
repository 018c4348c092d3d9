package stream

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a process's streams. Topics outside Tollgate's own table, which
// notifications may name, are counted as "other": labels are closed sets.
type metrics struct {
	known map[string]string // full topic name -> label

	produced      *prometheus.CounterVec
	produceErrors *prometheus.CounterVec
	requests      *prometheus.CounterVec
	exchanges     *prometheus.CounterVec
	retries       *prometheus.CounterVec
	fetched       *prometheus.CounterVec
	passedOver    *prometheus.CounterVec
	commits       *prometheus.CounterVec
	commitErrors  *prometheus.CounterVec
	incidents     *prometheus.CounterVec
	rebalances    *prometheus.CounterVec
	claims        *prometheus.GaugeVec
	lag           *lagMetrics
}

const otherTopic = "other"

func newMetrics(reg prometheus.Registerer, prefix string) (*metrics, error) {
	m := &metrics{known: map[string]string{}}
	for _, t := range Topics(1) {
		m.known[prefix+"."+t.Name] = t.Name
	}
	var faults []error
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v, err := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_stream_" + name, Help: help}, labels))
		faults = append(faults, err)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v, err := register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tollgate_stream_" + name, Help: help}, labels))
		faults = append(faults, err)
		return v
	}
	m.produced = counter("records_produced_total", "Records acknowledged by all in-sync replicas.", "topic")
	m.produceErrors = counter("produce_errors_total", "Records refused for good, by kind.", "topic", "kind")
	m.requests = counter("produce_requests_total", "Batches that were acknowledged; several may have been in one request.", "topic")
	m.exchanges = counter("broker_requests_total", "Fetch and produce requests that were answered, of several partitions each.", "request")
	m.retries = counter("retries_total", "Requests repeated after a temporary error, by kind of request.", "topic", "request")
	m.fetched = counter("records_fetched_total", "Records read.", "topic")
	m.passedOver = counter("offsets_passed_over_total", "Offsets without a record for readers (control batches, aborted transactions, batches nobody can read) that were deliberately passed.", "topic")
	m.commits = counter("commits_total", "Group offsets committed.", "topic")
	m.commitErrors = counter("commit_errors_total", "Attempts to commit a group offset that failed.", "topic")
	m.incidents = counter("incidents_total", "Incidents raised, by kind.", "kind")
	m.rebalances = counter("generations_total", "Group generations this process took part in.", "group")
	m.claims = gauge("claims", "Partitions this process holds.", "group")
	lag, err := register(reg, newLagMetrics())
	m.lag = lag
	faults = append(faults, err)
	return m, errors.Join(faults...)
}

// topic is a topic's label.
func (m *metrics) topic(full string) string {
	if l, ok := m.known[full]; ok {
		return l
	}
	return otherTopic
}

// register adds a collector, or returns the one of the same description that is
// there already: several services in one process share a registry.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if same, ok := there.ExistingCollector.(C); ok {
			return same, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("register metric: %w", err)
	}
	return c, nil
}

// errorKind is the label of a permanent produce error.
func errorKind(err error) string {
	switch {
	case errors.Is(err, ErrTooLarge):
		return "too_large"
	case errors.Is(err, ErrTimestampAhead):
		return "timestamp_ahead"
	case errors.Is(err, ErrUnknownTopic):
		return "unknown_topic"
	case errors.Is(err, ErrClosed):
		return "closed"
	}
	return "refused"
}
