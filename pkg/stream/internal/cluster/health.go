package cluster

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Health is what waits, and which incidents need a person, right now.
type Health struct {
	// Waiting lists what is retried because Kafka, or something a worker needs, does not answer.
	Waiting []Waiting
	// Incidents need a person; the service is not ready while there is one. What concerns one record or batch, behind
	// which its partition goes on, is counted and logged only.
	Incidents []Incident
	// Reported are the last of those that concern one record or batch, behind which the partition went on.
	Reported []Incident
}

// Waiting is one partition (or group) that waits.
type Waiting struct {
	// For is what it waits for: "produce", "fetch", "memory", "commit", "offsets", "join", "work".
	For string
	// Topic is the full topic name, for "join" the group's.
	Topic     string
	Partition int32
	Since     time.Time
	// Reason is the last error.
	Reason string
}

// Incident is a state that needs a person.
type Incident struct {
	// Code is one of the Incident… constants, or the caller's own closed set.
	Code      string
	Topic     string
	Partition int32
	Offset    int64
	Since     time.Time
	Detail    string
}

// WaitKey names what waits: its kind as Waiting.For has it, and the topic and partition, AnyPartition for none.
type WaitKey struct {
	For       string
	Topic     string
	Partition int32
}

type incidentKey struct {
	code      string
	topic     string
	partition int32
}

type health struct {
	mu        sync.Mutex
	waiting   map[WaitKey]Waiting
	incidents map[incidentKey]Incident
	reported  []Incident // the newest last
}

// keptReports bounds what is shown, reportsPerSecond what is logged; the metric counts all.
const (
	keptReports      = 50
	reportsPerSecond = 20
)

func newHealth() *health {
	return &health{waiting: map[WaitKey]Waiting{}, incidents: map[incidentKey]Incident{}}
}

// waits notes that key waits because of err; the first such note sets since.
func (h *health) waits(key WaitKey, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w, ok := h.waiting[key]
	if !ok {
		w = Waiting{For: key.For, Topic: key.Topic, Partition: key.Partition, Since: time.Now()}
	}
	w.Reason = err.Error()
	h.waiting[key] = w
}

// waitsSince is since when something keeps a partition from being read or worked; zero where nothing does.
func (h *health) waitsSince(topic string, partition int32) (since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, what := range []string{"fetch", "memory", "work", "commit"} {
		if w, ok := h.waiting[WaitKey{For: what, Topic: topic, Partition: partition}]; ok &&
			(since.IsZero() || w.Since.Before(since)) {
			since = w.Since
		}
	}
	return since
}

func (h *health) done(key WaitKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, key)
}

// raise notes an incident; false when it is known already.
func (h *health) raise(in Incident) bool {
	key := incidentKey{in.Code, in.Topic, in.Partition}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.incidents[key]; ok {
		return false
	}
	in.Since = time.Now()
	h.incidents[key] = in
	return true
}

// report notes an incident that does not last.
func (h *health) report(in Incident) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.reported) == keptReports {
		h.reported = slices.Delete(h.reported, 0, 1)
	}
	h.reported = append(h.reported, in)
}

func (h *health) settle(code, topic string, partition int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.incidents, incidentKey{code, topic, partition})
}

// forget drops the incidents of a partition that another member holds now.
func (h *health) forget(topic string, partition int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range h.incidents {
		if k.topic == topic && k.partition == partition {
			delete(h.incidents, k)
		}
	}
}

// Health reports what waits and which incidents last, in a stable order.
func (c *Cluster) Health() Health {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	var out Health
	for _, w := range c.health.waiting {
		out.Waiting = append(out.Waiting, w)
	}
	for _, in := range c.health.incidents {
		out.Incidents = append(out.Incidents, in)
	}
	out.Reported = slices.Clone(c.health.reported)
	slices.SortFunc(out.Waiting, func(a, b Waiting) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.For, b.For))
	})
	slices.SortFunc(out.Incidents, func(a, b Incident) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Code, b.Code))
	})
	return out
}

// Waits notes that key waits because of err, until Done.
func (c *Cluster) Waits(key WaitKey, err error) { c.health.waits(key, err) }

// Done ends a wait.
func (c *Cluster) Done(key WaitKey) { c.health.done(key) }

// WaitsSince is since when something keeps a partition from being read or worked; zero where nothing does.
func (c *Cluster) WaitsSince(topic string, partition int32) time.Time {
	return c.health.waitsSince(topic, partition)
}

// ForgetIncidents drops the incidents of a partition that another member holds now.
func (c *Cluster) ForgetIncidents(topic string, partition int32) { c.health.forget(topic, partition) }

// RaiseIncident notes a state that needs a person.
func (c *Cluster) RaiseIncident(in Incident) {
	if !c.health.raise(in) {
		return
	}
	c.metrics.incidents.WithLabelValues(in.Code).Inc()
	c.Log.Error("incident", in.fields()...)
}

// ReportIncident counts, logs and shows what a person should know of and nothing waits for, such as one record that was
// rejected: it is in Health as reported, which keeps no service from being ready.
func (c *Cluster) ReportIncident(in Incident) {
	c.health.report(in)
	c.metrics.incidents.WithLabelValues(in.Code).Inc()
	// A producer makes as many of them as it likes.
	c.reports.Write(zap.ErrorLevel, in.fields)
}

func (in Incident) fields() []zap.Field {
	return []zap.Field{zap.String("code", in.Code), zap.String("topic", in.Topic),
		zap.Int32("partition", in.Partition), zap.Int64("offset", in.Offset), zap.String("detail", in.Detail)}
}

// SettleIncident ends an incident.
func (c *Cluster) SettleIncident(code, topic string, partition int32) {
	c.health.settle(code, topic, partition)
}
