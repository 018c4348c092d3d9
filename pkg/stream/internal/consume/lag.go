package consume

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// position is the offset that a claim's work has reached, and since when records wait behind it.
type position struct {
	mu          sync.Mutex
	at          int64 // everything below it is worked
	start, high int64 // of the log, -1 before the first answer
	ends        []end
}

// end is an offset below which a record waits since some time, at least.
type end struct {
	offset int64
	since  time.Time
}

// keptEnds bounds what is remembered of a worker that stopped.
const keptEnds = 64

func newPosition(committed int64) *position { return &position{at: committed, start: -1, high: -1} }

// seen notes what an answer has of the log, and what it brought.
func (p *position) seen(b codec.Batch, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start, p.high = b.Start, max(b.High, b.End)
	if n := len(b.Records); n > 0 && b.Next < b.End {
		// A worker that catches up: its records have waited since they were written.
		if at := b.Records[0].Time; at.UnixMilli() > 0 && at.Before(now) {
			p.wait(b.Next, at)
		}
	}
	p.wait(b.Next, now)
	p.wait(p.high, now)
}

// wait remembers the first time an end was seen at or beyond an offset.
func (p *position) wait(offset int64, since time.Time) {
	n := len(p.ends)
	if offset <= max(p.at, p.start) || n > 0 && offset <= p.ends[n-1].offset {
		return
	}
	p.ends = append(p.ends, end{offset, since})
	if n++; n <= keptEnds {
		return
	}
	for i := range n / 2 { // neighbours become one, and wait since the earlier
		p.ends[i] = end{p.ends[2*i+1].offset, p.ends[2*i].since}
	}
	p.ends = append(p.ends[:n/2], p.ends[n/2*2:]...)
}

// worked moves the position; false where it was there before.
func (p *position) worked(offset int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if offset <= p.at {
		return false
	}
	p.at = offset
	for len(p.ends) > 0 && p.ends[0].offset <= offset {
		p.ends = p.ends[1:]
	}
	return true
}

// lag is how many offsets wait, -1 where that is not known, and since when the first of them waits.
func (p *position) lag() (records int64, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ends) > 0 {
		since = p.ends[0].since
	}
	if p.high < 0 {
		return -1, since
	}
	return max(0, p.high-max(p.at, p.start)), since
}

// Worked reports that everything below offset is done, for work that keeps its
// position elsewhere than in the group: lag and Health follow it. Commit does it too.
func (cl *Claim) Worked(offset int64) {
	if cl.position.worked(offset) {
		cl.Progress()
	}
}

// lagMetrics are computed when they are scraped: the lag of a partition that
// stopped grows though nothing happens.
type lagMetrics struct {
	records, seconds *prometheus.Desc

	mu     sync.Mutex
	claims map[*Claim]bool
}

func newLagMetrics() *lagMetrics {
	labels := []string{"group", "topic", "partition"}
	return &lagMetrics{
		records: prometheus.NewDesc("tollgate_stream_lag_records",
			"Offsets between what a held partition's work has done and the log's end; "+
				"what an open transaction holds back counts.", labels, nil),
		seconds: prometheus.NewDesc("tollgate_stream_lag_seconds",
			"For how long the first record that a held partition's work has not done waits, as far as is known; "+
				"and at least for how long the partition can't be read or worked. 0 where nothing waits.", labels, nil),
		claims: map[*Claim]bool{},
	}
}

func (m *lagMetrics) add(cl *Claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims[cl] = true
}

func (m *lagMetrics) remove(cl *Claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.claims, cl)
}

// Describe implements prometheus.Collector.
func (m *lagMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.records
	ch <- m.seconds
}

// Collect implements prometheus.Collector. Of claims under one name, as topics outside the table are, the worst counts.
func (m *lagMetrics) Collect(ch chan<- prometheus.Metric) {
	type name struct{ group, topic, partition string }
	records, seconds := map[name]float64{}, map[name]float64{}
	now := time.Now()
	m.mu.Lock()
	for cl := range m.claims {
		c := cl.g.c
		n := name{cl.g.cfg.Name, c.TopicLabel(cl.Topic), strconv.Itoa(int(cl.Partition))}
		waiting, since := cl.position.lag()
		if waiting >= 0 {
			records[n] = max(records[n], float64(waiting))
		}
		age := 0.0
		for _, t := range []time.Time{since, c.WaitsSince(cl.Topic, cl.Partition)} {
			if !t.IsZero() {
				age = max(age, now.Sub(t).Seconds())
			}
		}
		seconds[n] = max(seconds[n], age)
	}
	m.mu.Unlock()
	for n, v := range records {
		ch <- prometheus.MustNewConstMetric(m.records, prometheus.GaugeValue, v, n.group, n.topic, n.partition)
	}
	for n, v := range seconds {
		ch <- prometheus.MustNewConstMetric(m.seconds, prometheus.GaugeValue, v, n.group, n.topic, n.partition)
	}
}
