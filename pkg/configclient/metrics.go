package configclient

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/daemon"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

type metrics struct {
	connected prometheus.Gauge
	diverging prometheus.Gauge
	revision  *prometheus.GaugeVec
	seconds   *prometheus.HistogramVec
}

func newMetrics(env daemon.Env) (*metrics, error) {
	m := &metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "tollgate", Subsystem: env.Name, Name: "configuration_connected",
			Help: "1 while the configuration service is followed, else 0.",
		}),
		diverging: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "tollgate", Subsystem: env.Name, Name: "configuration_refused",
			Help: "1 while the configuration service's history does not continue the seen revisions and is not followed, else 0.",
		}),
		revision: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "tollgate", Subsystem: env.Name, Name: "configuration_revision",
			Help: "The newest revision received: of all, and of those that change what counting or planning reads.",
		}, []string{"of"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "tollgate", Subsystem: env.Name, Name: "configuration_load_seconds",
			Help:    "How long it took to read and decode a revision, by where it came from.",
			Buckets: []float64{0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 15},
		}, []string{"from"}),
	}
	for _, c := range []prometheus.Collector{m.connected, m.diverging, m.revision, m.seconds} {
		if err := env.Metrics.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) received(head *configv1.WatchResponse) {
	m.revision.WithLabelValues("all").Set(float64(head.GetRevision()))
	m.revision.WithLabelValues("apply").Set(float64(head.GetApplyRevision()))
}

func (m *metrics) refused(is bool) {
	m.diverging.Set(0)
	if is {
		m.diverging.Set(1)
	}
}

func (m *metrics) loaded(from string, took time.Duration) {
	m.seconds.WithLabelValues(from).Observe(took.Seconds())
}
