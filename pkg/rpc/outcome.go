package rpc

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
)

// outcomes is the outermost interceptor: whatever happens inside it becomes a status, a metric and, where it failed, a
// log line.
type outcomes struct {
	log     *zap.Logger
	seconds *prometheus.HistogramVec
	panics  prometheus.Counter
}

func newOutcomes(env daemon.Env) (*outcomes, error) {
	o := &outcomes{
		log: env.Log,
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

func (o *outcomes) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (res any, err error) {
	ctx = context.WithValue(ctx, callKey{}, &call{})
	defer o.settle(ctx, info.FullMethod, time.Now(), &err)
	return next(ctx, req)
}

func (o *outcomes) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	ctx := context.WithValue(stream.Context(), callKey{}, &call{})
	defer o.settle(ctx, info.FullMethod, time.Now(), &err)
	return next(srv, &bounded{ServerStream: stream, ctx: ctx})
}

// settle is deferred around a call. Interceptors run only for registered methods, so method is of a closed set.
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
	level := levelOf(st.Code())
	if !o.log.Core().Enabled(level) {
		return
	}
	fields := []zap.Field{
		zap.String("method", method), zap.Stringer("code", st.Code()), zap.String("reason", fault.ReasonOf(cause)),
		zap.Error(cause), zap.Duration("duration", took), zap.String("caller", Caller(ctx)),
	}
	if p, ok := peer.FromContext(ctx); ok {
		fields = append(fields, zap.Stringer("peer", p.Addr))
	}
	if stack != nil {
		fields = append(fields, zap.ByteString("stack", stack))
	}
	o.log.Log(level, "call failed", fields...)
}

// levelOf is error for what we must repair, warn for what passes, info for what the caller did.
func levelOf(code codes.Code) zapcore.Level {
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return zapcore.ErrorLevel
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		return zapcore.WarnLevel
	}
	return zapcore.InfoLevel
}
