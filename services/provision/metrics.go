package provision

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/services/provision/chain"
)

type metrics struct {
	decisions *prometheus.CounterVec
	seconds   prometheus.Histogram
	repeated  prometheus.Counter
	outcomes  *prometheus.CounterVec
	handlers  *prometheus.HistogramVec
	unlogged  prometheus.Counter

	mu sync.Mutex
	// there are the hooks that the configuration has, by name: a question may end after its hook is gone.
	there map[string]bool
}

// Results of decisions.
const (
	resultAllow  = "allow"
	resultForbid = "forbid"
	resultPolicy = "forbid_by_policy"
	resultFailed = "failed"
)

const labelHandler = "handler"

var seconds = []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10}

func newMetrics(registry prometheus.Registerer, open func() int) (*metrics, error) {
	m := &metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tollgate_provision_decisions_total",
			Help: "Actions asked about by result: allow, forbid, forbid_by_policy, or failed where nothing was decided. Dry runs included, repeats of a key not.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tollgate_provision_decide_seconds", Help: "Time of a call of Decide.", Buckets: seconds,
		}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tollgate_provision_repeated_total", Help: "Calls answered by what was decided before under their key.",
		}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tollgate_provision_handlers_total", Help: "Questions to handlers by outcome.",
		}, []string{"outcome"}),
		handlers: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tollgate_provision_handler_seconds", Help: "Time of one question by handler, the name of its hook. A hook that is gone has none.", Buckets: seconds,
		}, []string{labelHandler}),
		unlogged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tollgate_provision_executions_lost_total", Help: "Executions that Kafka did not take, so that they are in no log.",
		}),
	}
	for _, result := range []string{resultAllow, resultForbid, resultPolicy, resultFailed} {
		m.decisions.WithLabelValues(result)
	}
	for _, outcome := range chain.Outcomes() {
		m.outcomes.WithLabelValues(outcome)
	}
	circuits := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tollgate_provision_circuits_open", Help: "Handlers that this replica does not ask now, because they failed too often in a row.",
	}, func() float64 { return float64(open()) })
	for _, c := range []prometheus.Collector{m.decisions, m.seconds, m.repeated, m.outcomes, m.handlers, m.unlogged, circuits} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// asked counts what a chain decided, and what its handlers did.
func (m *metrics) asked(a *chain.Answer) {
	result := resultAllow
	switch {
	case a.Forbidden && a.ByPolicy:
		result = resultPolicy
	case a.Forbidden:
		result = resultForbid
	}
	m.decisions.WithLabelValues(result).Inc()
	for i := range a.Results {
		m.handled(&a.Results[i])
	}
}

// handled counts how a question ended.
func (m *metrics) handled(r *chain.Result) {
	m.outcomes.WithLabelValues(r.Outcome.String()).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.there[r.Handler.Name] {
		m.handlers.WithLabelValues(r.Handler.Name).Observe(r.Took.Seconds())
	}
}

// keep takes over which hooks there are, and forgets the time of those that are gone.
func (m *metrics) keep(names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.there
	m.there = make(map[string]bool, len(names))
	for _, name := range names {
		m.there[name] = true
	}
	for name := range before {
		if !m.there[name] {
			m.handlers.DeleteLabelValues(name)
		}
	}
}

// observeArrivals shows how far handlers are behind the log.
func observeArrivals(registry prometheus.Registerer, behind func() (apart int, age time.Duration)) error {
	for _, c := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tollgate_provision_arrived_age_seconds",
			Help: "For how long the first event of the log waits that a handler of it is not done with. At ten minutes events end unasked.",
		}, func() float64 { _, age := behind(); return age.Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tollgate_provision_arrived_apart", Help: "Handlers that are slower than the log and are read apart, each once a partition.",
		}, func() float64 { apart, _ := behind(); return float64(apart) }),
	} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// decided counts a call.
func (m *metrics) decided(err error, took time.Duration) {
	if err != nil {
		m.decisions.WithLabelValues(resultFailed).Inc()
	}
	m.seconds.Observe(took.Seconds())
}
