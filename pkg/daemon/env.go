package daemon

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/trace"
)

// Env is what a service receives besides its configuration.
type Env struct {
	// Name is the service's name: the middle of its metrics' names.
	Name string
	Log  *zap.Logger
	// Metrics is served at /metrics. Names are tollgate_<service>_<noun>_<unit|total>.
	Metrics *prometheus.Registry
	// Health is served at /readyz.
	Health *Health
	// Listeners are the bound addresses of the service, with real ports in place of port 0.
	Listeners *Listeners
	// InFlight names the work that a stop still waits for.
	InFlight *InFlight
	// Trace makes the service's spans; nil where tracing is off.
	Trace *trace.Tracer
	// Clock is the wall clock; only what the log does not decide reads it.
	Clock func() time.Time
	// ShutdownTimeout bounds Finishing.
	ShutdownTimeout time.Duration
}

// NewEnv makes the Env of one service, with its own registry that holds the collectors of Go and of the process.
func NewEnv(name string, log *zap.Logger) Env {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return Env{
		Name: name, Log: log, Metrics: metrics,
		Health: NewHealth(), Listeners: NewListeners(log), InFlight: &InFlight{},
		Clock: time.Now, ShutdownTimeout: 20 * time.Second,
	}
}

// Finishing is the context for work that a stop must finish: it has ctx's values and ends ShutdownTimeout after ctx
// ends. The cancel function must be called.
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
