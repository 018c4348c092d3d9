package safeguard

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/services/safeguard/account"
)

// metrics are those of outcomes; what the engine counts itself is under the domain.
type metrics struct {
	outcomes  map[string]prometheus.Counter // by kind
	lead      prometheus.Histogram
	overshoot prometheus.Histogram
}

// counters are by the kind of outcome they count; each is a metric of its own.
func counters() map[string]prometheus.Counter {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "tollgate", Subsystem: "safeguard", Name: name + "_total", Help: help + " Repeats after a crash included.",
		})
	}
	return map[string]prometheus.Counter{
		account.KindActivated:    counter("activated", "Options that began."),
		account.KindDeactivated:  counter("deactivated", "Options that were turned off or ended."),
		account.KindOptedOut:     counter("opted_out", "Data safeguards that subscribers turned off, for a period or for good."),
		account.KindAlert:        counter("alerts", "Alert thresholds that were crossed."),
		account.KindReached:      counter("reached", "Limits that were reached: services are blocked."),
		account.KindReleased:     counter("released", "Blocks that were lifted."),
		account.KindRenewed:      counter("renewed", "Periods that began."),
		account.KindLimitChanged: counter("limit_changed", "Limits that the catalog, a class or a subscriber changed."),
		account.KindDayChanged:   counter("renewal_day_changed", "Renewal days that subscribers changed."),
		account.KindLate:         counter("late", "Sums of usage of an earlier period, and of refunds that found nothing to lower."),
		account.KindOvershoot:    counter("overshoot", "Limits that the event which reached them went past."),
	}
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		outcomes: counters(),
		lead: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "tollgate", Subsystem: "safeguard", Name: "reached_lead_seconds",
			Help:    "Time from the acceptance of the event that reached a limit to the acknowledgement of safeguard.reached.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		overshoot: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "tollgate", Subsystem: "safeguard", Name: "overshoot_ratio",
			Help:    "How far past a limit its event went, as a share of the limit.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
	}
	collectors := []prometheus.Collector{m.lead, m.overshoot}
	for _, c := range m.outcomes {
		collectors = append(collectors, c)
	}
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
