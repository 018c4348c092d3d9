package produce

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
)

// Package stream documents these errors.
var (
	ErrUnknown        = errors.New("outcome unknown, the record may still be appended")
	ErrTimestampAhead = errors.New("record stamped ahead of the broker's clock")
	ErrTooLarge       = errors.New("record larger than the topic takes")
	ErrClosed         = errors.New("producer is closed")

	ErrInvalidRecord error = kafka.InvalidRecord
)

// Error is why one record of a Produce call was not acknowledged.
type Error struct {
	// Index of the record in the call.
	Index int
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("record %d: %v", e.Index, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Metrics of a process's producers.
type Metrics struct {
	records, errors, batches *prometheus.CounterVec
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	r := cluster.Registry{Registerer: reg}
	m := &Metrics{
		records: r.Counter("records_produced_total", "Records acknowledged by all in-sync replicas.", "topic"),
		errors:  r.Counter("produce_errors_total", "Records refused for good, by kind.", "topic", "kind"),
		batches: r.Counter("produce_requests_total",
			"Batches that were acknowledged; several may have been in one request.", "topic"),
	}
	return m, r.Err()
}

// errorKind is the label of a permanent error.
func errorKind(err error) string {
	switch {
	case errors.Is(err, ErrTooLarge):
		return "too_large"
	case errors.Is(err, ErrTimestampAhead):
		return "timestamp_ahead"
	case errors.Is(err, cluster.ErrUnknownTopic):
		return "unknown_topic"
	case errors.Is(err, ErrClosed):
		return "closed"
	}
	return "refused"
}
