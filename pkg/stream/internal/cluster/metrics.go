package cluster

import (
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a process's streams. Topics outside Tollgate's own table, which
// notifications may name, are counted as "other": labels are closed sets.
type metrics struct {
	prefix string
	known  map[string]string // full topic name -> label

	answered  *prometheus.CounterVec
	retries   *prometheus.CounterVec
	incidents *prometheus.CounterVec
}

const otherTopic = "other"

func newMetrics(reg prometheus.Registerer, prefix string, topics []string) (*metrics, error) {
	m := &metrics{prefix: prefix, known: map[string]string{}}
	for _, t := range topics {
		m.known[prefix+"."+t] = t
	}
	r := Registry{Registerer: reg}
	m.answered = r.Counter("broker_requests_total",
		"Fetch and produce requests that were answered, of several partitions each.", "request")
	m.retries = r.Counter("retries_total", "Requests repeated after a temporary error, by kind of request.", "topic",
		"request")
	m.incidents = r.Counter("incidents_total", "Incidents raised, by kind.", "kind")
	return m, r.Err()
}

// TopicLabel is the label of a topic, by its full name.
func (c *Cluster) TopicLabel(topic string) string {
	if l, ok := c.metrics.known[topic]; ok {
		return l
	}
	// Planned deliveries have a topic for each channel.
	if name, ours := strings.CutPrefix(topic, c.metrics.prefix+"."); ours && strings.HasPrefix(name, "deliveries.") {
		return name
	}
	return otherTopic
}

// CountRetry counts a request about a topic that is repeated after a temporary error.
func (c *Cluster) CountRetry(topic, request string) {
	c.metrics.retries.WithLabelValues(c.TopicLabel(topic), request).Inc()
}

// Registry makes the metrics of this package and of those that produce and consume.
type Registry struct {
	prometheus.Registerer
	errs []error
}

// Counter makes a counter.
func (r *Registry) Counter(name, help string, labels ...string) *prometheus.CounterVec {
	return Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_stream_" + name, Help: help},
		labels))
}

// Gauge makes a gauge.
func (r *Registry) Gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tollgate_stream_" + name, Help: help},
		labels))
}

// Err joins what could not be registered.
func (r *Registry) Err() error { return errors.Join(r.errs...) }

// Register adds a collector, or returns the one of the same description that is
// there already: several services in one process share a registry.
func Register[C prometheus.Collector](r *Registry, c C) C {
	if r.Registerer == nil {
		return c
	}
	err := r.Registerer.Register(c)
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if same, ok := there.ExistingCollector.(C); ok {
			return same
		}
	}
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("register metric: %w", err))
	}
	return c
}
