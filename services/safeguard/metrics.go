package safeguard

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	aheadTotal prometheus.Counter
}

func (m *metrics) ahead() {
	if m != nil {
		m.aheadTotal.Inc()
	}
}
