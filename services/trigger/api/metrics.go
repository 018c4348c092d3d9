package api

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// metrics are those of RuleService, beside those of every gRPC method.
type metrics struct {
	dryRuns     *prometheus.CounterVec
	dryRecords  prometheus.Counter
	drySeconds  prometheus.Histogram
	previews    prometheus.Counter
	explains    prometheus.Counter
	explainRead prometheus.Counter
}

// Ends of a dry run: values of a label.
const (
	endedWhole   = "whole"
	endedRecords = "records"
	endedTime    = "time"
	endedMemory  = "memory"
	endedFailed  = "failed" // or its caller went away
)

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "tollgate", Subsystem: "trigger", Name: name, Help: help})
	}
	m := &metrics{
		dryRuns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "tollgate", Subsystem: "trigger", Name: "dry_runs_total", Help: "Dry runs of notifications, by what ended them.",
		}, []string{"ended_by"}),
		dryRecords: counter("dry_run_records_total", "Records that dry runs have read."),
		drySeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "tollgate", Subsystem: "trigger", Name: "dry_run_seconds", Help: "Time of a dry run.", Buckets: prometheus.ExponentialBuckets(0.1, 2, 11),
		}),
		previews:    counter("previews_total", "Previews of notifications."),
		explains:    counter("explanations_total", "Events that were explained."),
		explainRead: counter("explanation_records_total", "Offsets that explanations have read."),
	}
	for _, ended := range []string{endedWhole, endedRecords, endedTime, endedMemory, endedFailed} {
		m.dryRuns.WithLabelValues(ended)
	}
	for _, c := range []prometheus.Collector{m.dryRuns, m.dryRecords, m.drySeconds, m.previews, m.explains, m.explainRead} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// ended counts a dry run.
func (m *metrics) ended(s *survey, err error) {
	by := endedWhole
	switch triggerv1.DryRunRead_Bound(s.ended.Load()) {
	case triggerv1.DryRunRead_BOUND_UNSPECIFIED:
	case triggerv1.DryRunRead_BOUND_RECORDS:
		by = endedRecords
	case triggerv1.DryRunRead_BOUND_TIME:
		by = endedTime
	case triggerv1.DryRunRead_BOUND_MEMORY:
		by = endedMemory
	}
	if err != nil {
		by = endedFailed
	}
	m.dryRuns.WithLabelValues(by).Inc()
	m.dryRecords.Add(float64(s.read.Load()))
	m.drySeconds.Observe(s.elapsed().Seconds())
}
