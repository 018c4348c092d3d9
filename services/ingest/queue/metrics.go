package queue

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	sent, again             prometheus.Counter
	acked, givenUp, unknown prometheus.Counter
	ends, commits           *prometheus.CounterVec
	filterErrors            prometheus.Counter
}

// newMetrics registers the metrics; count sums over the streams that are open.
func newMetrics(reg prometheus.Registerer, count func() (streams, unacked, held int)) (*metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "tollgate", Subsystem: "ingest", Name: "queue_" + name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	vector := func(label, name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), []string{label})
	}
	gauge := func(name, help string, of func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), func() float64 { return float64(of()) })
	}
	acks := vector("result", "acks_total", "Acks by result: acked, given_up, or unknown where no event waited for it.")
	m := &metrics{
		sent:  counter("sent_total", "Sendings of events to consumers of the queue."),
		again: counter("sent_again_total", "Of those, sendings of events that had no ack within 30 s."),
		acked: acks.WithLabelValues("acked"), givenUp: acks.WithLabelValues("given_up"), unknown: acks.WithLabelValues("unknown"),
		ends: vector("why", "streams_ended_total",
			"Streams that ended, by why: consumer, taken_over, position_unknown, refused, key_ended, stopping or failed."),
		filterErrors: counter("filter_errors_total", "Events that were not sent because the filter of the subscription failed on them."),
		commits:      vector("result", "commits_total", "Times that a stream stored or checked its position, by result: stored or failed."),
	}
	all := []prometheus.Collector{
		m.sent, m.again, acks, m.ends, m.filterErrors, m.commits,
		gauge("streams", "Streams of EventQueueService that are open.", func() int { n, _, _ := count(); return n }),
		gauge("unacked", "Events that were sent to consumers of the queue and not acknowledged; at most 1,000 a stream.",
			func() int { _, n, _ := count(); return n }),
		gauge("held", "Events that were read for consumers of the queue and not sent: with order, most wait for an earlier one of their subject.",
			func() int { _, _, n := count(); return n }),
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
