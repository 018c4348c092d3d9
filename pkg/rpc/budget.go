package rpc

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
)

// Budget bounds the bytes that a process holds for all its callers together, over all transports: received messages,
// what they are decoded into, and what is made of them, until the call is answered. Safe for concurrent use.
type Budget struct {
	limit   int64
	held    atomic.Int64
	refused prometheus.Counter
}

// NewBudget has room for limit bytes and registers its metrics in env.
func NewBudget(limit int64, env daemon.Env) (*Budget, error) {
	b := &Budget{limit: limit, refused: prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "tollgate", Subsystem: env.Name, Name: "busy_total",
		Help: "Calls and requests turned away because grpc.max_held_bytes was held.",
	})}
	return b, errors.Join(env.Metrics.Register(b.refused), env.Metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "tollgate", Subsystem: env.Name, Name: "held_bytes",
		Help: "Bytes held for calls and requests that are not answered yet.",
	}, func() float64 { return float64(b.held.Load()) })))
}

// Held is the number of bytes held now.
func (b *Budget) Held() int64 { return b.held.Load() }

// ErrBusy is the error of a caller that finds the budget spent.
func ErrBusy() error { return errBusy }

var errBusy = fault.New(fault.Throttled, "BUSY", "this replica holds as much as it may for calls that are not answered yet, try again shortly").After(time.Second)

// Hold is what one caller holds of a budget. Safe for concurrent use.
type Hold struct {
	budget *Budget
	mu     sync.Mutex
	bytes  int64
	closed bool
}

// Hold creates an empty Hold.
func (b *Budget) Hold() *Hold { return &Hold{budget: b} }

// Take adds n bytes, or fails with ErrBusy and adds none.
func (h *Hold) Take(n int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errBusy // the goroutine outlives its call
	}
	if h.budget.held.Add(n) > h.budget.limit {
		h.budget.held.Add(-n)
		h.budget.refused.Inc()
		return errBusy
	}
	h.bytes += n
	return nil
}

// Give returns n bytes of those taken.
func (h *Hold) Give(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n = min(n, h.bytes)
	h.bytes -= n
	h.budget.held.Add(-n)
}

// Release returns all bytes.
func (h *Hold) Release() { h.Give(math.MaxInt64) }

// Close is Release, after which Take fails.
func (h *Hold) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.Release()
}
