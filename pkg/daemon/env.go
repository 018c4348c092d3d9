package daemon

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
)

// Env is what a service receives beside its configuration.
type Env struct {
	// Name is the service's: the middle of its metrics' names.
	Name string
	Log  *zap.Logger
	// Metrics is served at /metrics. Names are tollgate_<service>_<noun>_<unit|total>.
	Metrics *prometheus.Registry
	// Health is served at /readyz.
	Health *Health
	// Listeners tells under which addresses the service is reached, port 0 resolved.
	Listeners *Listeners
	// InFlight names what a stop still waits for.
	InFlight *InFlight
	// Clock is the wall clock; only what is not decided by the log reads it.
	Clock func() time.Time
	// ShutdownTimeout bounds Finishing.
	ShutdownTimeout time.Duration
}

// NewEnv makes the Env of one service, with a registry of its own that holds the collectors of Go and of the process.
func NewEnv(name string, log *zap.Logger) Env {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return Env{
		Name: name, Log: log, Metrics: metrics,
		Health: NewHealth(), Listeners: NewListeners(log), InFlight: &InFlight{},
		Clock: time.Now, ShutdownTimeout: 20 * time.Second,
	}
}

// Finishing is the context of the work that a stop must still finish: it has ctx's values, outlives its end, and ends
// ShutdownTimeout after it. The cancel function must be called.
func (e Env) Finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	finishing, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(e.ShutdownTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.DeadlineExceeded)
		case <-finishing.Done():
		}
	})
	return finishing, func() { stop(); cancel(context.Canceled) }
}
