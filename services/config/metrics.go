package config

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

type metrics struct {
	changes       *prometheus.CounterVec
	revision      prometheus.Gauge
	applyRevision prometheus.Gauge
	watchers      prometheus.Gauge
	unknown       prometheus.Gauge
	pruned        prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "tollgate", Subsystem: "config", Name: name, Help: help})
	}
	m := &metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "tollgate", Subsystem: "config", Name: "changes_total",
			Help: "Changes of the configuration, by kind of resource and action.",
		}, []string{"kind", "action"}),
		pruned: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "tollgate", Subsystem: "config", Name: "versions_pruned_total",
			Help: "Old versions of resources whose content was removed.",
		}),
		revision:      gauge("revision", "The newest revision."),
		applyRevision: gauge("apply_revision", "The newest revision that changed what counting or planning reads."),
		watchers:      gauge("watchers", "Streams of Watch that are open."),
		unknown:       gauge("unknown_histories", "Histories of which services know revisions that are not here: see tollgate config accept-restore."),
	}
	for _, c := range []prometheus.Collector{m.changes, m.revision, m.applyRevision, m.watchers, m.unknown, m.pruned} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) revisions(head *configv1.WatchResponse) {
	m.revision.Set(float64(head.GetRevision()))
	m.applyRevision.Set(float64(head.GetApplyRevision()))
}

func (m *metrics) changed(kind, action string) { m.changes.WithLabelValues(kind, action).Inc() }
