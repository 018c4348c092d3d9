package trigger

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// metrics are those of planning; metrics of the engines have the domain as a label.
type metrics struct {
	deliveries    prometheus.Counter
	decisions     *prometheus.CounterVec
	notifications prometheus.Gauge
	inactive      prometheus.Gauge
	compile       prometheus.Histogram
	topics        prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		deliveries: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "tollgate", Subsystem: "trigger", Name: "deliveries_planned_total",
			Help: "Deliveries planned, repeats after a crash included.",
		}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "tollgate", Subsystem: "trigger", Name: "decisions_total",
			Help: "Matches that led to no delivery, by reason; triggers.decisions names them.",
		}, []string{"reason"}),
		notifications: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "tollgate", Subsystem: "trigger", Name: "notifications",
			Help: "Active notifications of the revision that was compiled last.",
		}),
		inactive: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "tollgate", Subsystem: "trigger", Name: "notifications_uncompiled",
			Help: "Those among them that this binary can't compile, and that therefore do nothing; /readyz names them.",
		}),
		compile: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "tollgate", Subsystem: "trigger", Name: "compile_seconds",
			Help: "Time to make a revision ready to be planned by.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
	}
	m.topics = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "tollgate", Subsystem: "trigger", Name: "topics_unavailable",
		Help: "Topics of tenants that take nothing: records for them go to deliveries.dead.",
	})
	for reason := range triggerv1.Decision_Reason_name {
		if reason != 0 {
			m.decisions.WithLabelValues(reasonLabel(triggerv1.Decision_Reason(reason)))
		}
	}
	for _, c := range []prometheus.Collector{m.deliveries, m.decisions, m.notifications, m.inactive, m.compile, m.topics} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// reasonLabel is "filter_error" of REASON_FILTER_ERROR.
func reasonLabel(reason triggerv1.Decision_Reason) string {
	return strings.ToLower(strings.TrimPrefix(reason.String(), "REASON_"))
}

// The folds of tests count nothing.

func (m *metrics) planned() {
	if m != nil {
		m.deliveries.Inc()
	}
}

func (m *metrics) decided(reason triggerv1.Decision_Reason) {
	if m != nil {
		m.decisions.WithLabelValues(reasonLabel(reason)).Inc()
	}
}

func (m *metrics) topicsAway(n int) {
	if m != nil {
		m.topics.Set(float64(n))
	}
}

func (m *metrics) compiled(notifications, uncompiled int, took time.Duration) {
	m.notifications.Set(float64(notifications))
	m.inactive.Set(float64(uncompiled))
	m.compile.Observe(took.Seconds())
}
