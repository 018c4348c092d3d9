package stream

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Health is what stands still or needs a person right now.
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

// Codes of incidents this package raises, beside the reasons of a DamagedError.
const (
	IncidentOutOfRange = "OFFSET_OUT_OF_RANGE"
	IncidentStuck      = "STUCK"
	IncidentPanic      = "PANIC"
)

type waitKey struct {
	what      string
	topic     string
	partition int32
}

type incidentKey struct {
	code      string
	topic     string
	partition int32
}

type health struct {
	mu        sync.Mutex
	waiting   map[waitKey]Waiting
	incidents map[incidentKey]Incident
	reported  []Incident // the newest last
}

// keptReports bounds what is shown; the metric counts all, and the log names them.
const keptReports = 50

func newHealth() *health {
	return &health{waiting: map[waitKey]Waiting{}, incidents: map[incidentKey]Incident{}}
}

// waits notes that key waits because of err; the first such note sets since.
func (h *health) waits(key waitKey, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w, ok := h.waiting[key]
	if !ok {
		w = Waiting{For: key.what, Topic: key.topic, Partition: key.partition, Since: time.Now()}
	}
	w.Reason = err.Error()
	h.waiting[key] = w
}

// stands is since when something keeps a partition from being read or worked; zero where nothing does.
func (h *health) stands(topic string, partition int32) (since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, what := range []string{"fetch", "memory", "work", "commit"} {
		if w, ok := h.waiting[waitKey{what, topic, partition}]; ok && (since.IsZero() || w.Since.Before(since)) {
			since = w.Since
		}
	}
	return since
}

func (h *health) done(key waitKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, key)
}

// raise notes an incident; false when it stands already.
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

// report notes an incident that does not stand.
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

// forget drops the incidents of a partition that is somebody else's now.
func (h *health) forget(topic string, partition int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range h.incidents {
		if k.topic == topic && k.partition == partition {
			delete(h.incidents, k)
		}
	}
}

// Health reports what waits and which incidents stand, in a stable order.
func (c *Client) Health() Health {
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
