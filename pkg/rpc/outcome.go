package rpc

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/fault"
)

// outcomes wraps every call: each result becomes a status, a metric and, after a failure, a log line.
type outcomes struct {
	failed, broken *display.Limited
	seconds        *prometheus.HistogramVec
	panics         prometheus.Counter
}

func newOutcomes(env daemon.Env) (*outcomes, error) {
	o := &outcomes{
		failed: display.NewLimited(env.Log, "call failed", linesPerSecond),
		broken: display.NewLimited(env.Log, "call failed", linesPerSecond),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "tollgate", Subsystem: env.Name, Name: "rpc_seconds",
			Help:    "How long gRPC calls took, by method and code; streams count from their beginning to their end.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "code"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "tollgate", Subsystem: env.Name, Name: "rpc_panics_total",
			Help: "gRPC calls that panicked; the stacks are in the log.",
		}),
	}
	for _, c := range []prometheus.Collector{o.seconds, o.panics} {
		if err := env.Metrics.Register(c); err != nil {
			return nil, fmt.Errorf("register gRPC metrics: %w", err)
		}
	}
	return o, nil
}

// refused logs a call that was rejected by its headers. Its method may be any text.
func (o *outcomes) refused(ctx context.Context, method string, err error) {
	o.failed.Write(zapcore.InfoLevel, func() []zap.Field {
		return append(peerOf(ctx), zap.String("method", display.Text(method, 128)), zap.String("reason", fault.ReasonOf(err)))
	})
}

// settle is deferred in every call. Only registered methods use it, so method is of a closed set.
func (o *outcomes) settle(ctx context.Context, method string, start time.Time, err *error) {
	var stack []byte
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v", p)
		stack = debug.Stack()
		o.panics.Inc()
	}
	cause := *err
	st := fault.Status(cause)
	*err = st.Err()
	took := time.Since(start)
	o.seconds.WithLabelValues(method, st.Code().String()).Observe(took.Seconds())
	if cause == nil {
		return
	}
	Refuse(ctx, cause)
	lines, level := o.failed, levelOf(st.Code())
	if level == zapcore.ErrorLevel {
		lines = o.broken
	}
	lines.Write(level, func() []zap.Field {
		fields := append(peerOf(ctx),
			zap.String("method", method), zap.Stringer("code", st.Code()), zap.String("reason", fault.ReasonOf(cause)),
			// The text of a fault may contain what the caller sent.
			zap.String("error", display.Numbers(display.Text(cause.Error(), maxLogged))),
			zap.Duration("duration", took), zap.String("caller", Caller(ctx)))
		if stack != nil {
			fields = append(fields, zap.ByteString("stack", stack))
		}
		return fields
	})
}

func peerOf(ctx context.Context) []zap.Field {
	if p, ok := peer.FromContext(ctx); ok {
		return []zap.Field{zap.Stringer("peer", p.Addr)}
	}
	return nil
}

const (
	// linesPerSecond bounds the log lines that callers cause, separately for their errors and for errors of the
	// service.
	linesPerSecond = 20
	// maxLogged bounds the error text in a log line.
	maxLogged = 2 << 10
)

// levelOf is error for failures that the operator must repair, warn for temporary ones, info for errors of the caller.
// NotFound is a regular result.
func levelOf(code codes.Code) zapcore.Level {
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return zapcore.ErrorLevel
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		return zapcore.WarnLevel
	case codes.NotFound:
		return zapcore.DebugLevel
	}
	return zapcore.InfoLevel
}
