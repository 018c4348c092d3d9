package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// metrics beside those of pkg/stream, which has the lag of the group ingest by partition.
type metrics struct {
	registry prometheus.Registerer
	events   *prometheus.CounterVec
	rejected *prometheus.CounterVec
	publish  prometheus.Histogram
	age      prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		registry: reg,
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tollgate_ingest_events_total",
			Help: "Events by transport (kafka, grpc, http) and result: accepted, rejected, " +
				"or unavailable where Kafka did not take one that was right.",
		}, []string{"transport", "result"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tollgate_ingest_rejected_total", Help: "Rejected events by transport and reason.",
		}, []string{"transport", "reason"}),
		publish: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tollgate_ingest_publish_seconds",
			Help:    "From handing a group of records to the producer until all are acknowledged by all in-sync replicas.",
			Buckets: []float64{0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30},
		}),
		age: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tollgate_ingest_age_seconds",
			Help:    "Age of records of events.inbound when what follows from them is acknowledged, once a batch for its oldest.",
			Buckets: []float64{0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 300, 3600},
		}),
	}
	reg.MustRegister(m.events, m.rejected, m.publish, m.age)
	return m
}

// watchTenants registers the age of what is known of tenants.
func (m *metrics) watchTenants(age func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tollgate_ingest_tenants_age_seconds",
		Help: "Since the tenants were last read from the configuration service; -1 before the first time. " +
			"While it grows, events of any tenant are accepted.",
	}, age))
}

// transportMetrics are the counters of one transport, looked up once.
type transportMetrics struct {
	name                            string
	all                             *metrics
	accepted, rejected, unavailable prometheus.Counter
	reasons                         map[string]prometheus.Counter
}

// reasonOther is of a request that is no event, such as a batch of too many.
const reasonOther = "OTHER"

func (m *metrics) transport(name string) *transportMetrics {
	d := &transportMetrics{
		name:        name,
		all:         m,
		accepted:    m.events.WithLabelValues(name, "accepted"),
		rejected:    m.events.WithLabelValues(name, "rejected"),
		unavailable: m.events.WithLabelValues(name, "unavailable"),
		reasons:     map[string]prometheus.Counter{},
	}
	for _, code := range append(event.Reasons(), reason.Panic, reasonEncoding, reasonOther, reason.BatchTooLarge,
		reason.BatchDamaged) {
		d.reasons[code] = m.rejected.WithLabelValues(name, code)
	}
	return d
}

func (d *transportMetrics) reject(err error) {
	d.rejected.Inc()
	counter := d.reasons[fault.ReasonOf(err)]
	if counter == nil {
		counter = d.reasons[reasonOther]
	}
	counter.Inc()
}
