package trace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tollgate/tollgate/pkg/certificate"
	"github.com/tollgate/tollgate/pkg/display"
)

// Bounds of what waits for the collector. A span is at most some 10 KiB, mostly 1 KiB.
const (
	// maxWaiting is how many spans wait or are being exported; more are dropped.
	maxWaiting = 4096
	// maxBatch is how many spans one request holds, batchDelay how long they are collected.
	maxBatch   = 512
	batchDelay = time.Second
	// exportTimeout bounds one request with its repeats; then its spans are dropped.
	exportTimeout = 5 * time.Second
	// FlushTimeout is how long Close waits for the collector.
	FlushTimeout = 2 * time.Second
)

// queue is between the stops and the collector. The SDK's processor batches; it never has more than it has room for, so that
// each span that is dropped is dropped here, and counted.
type queue struct {
	waiting   atomic.Int64
	processor sdk.SpanProcessor
	exporter  sdk.SpanExporter
	conn      *grpc.ClientConn
	failures  *display.Limited
	// ended ends what is being exported, after FlushTimeout.
	ended chan struct{}
	end   func()

	exported, failed, dropped prometheus.Counter
}

func newQueue(service string, log *zap.Logger, metrics prometheus.Registerer) *queue {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "tollgate", Subsystem: strings.ReplaceAll(service, "-", "_"), Name: "spans_total",
		Help: "Spans by result: exported; failed, where the collector did not take them; dropped, where too many waited for it. " +
			"Neither of the last two is sent again.",
	}, []string{"result"})
	metrics.MustRegister(spans)
	ended := make(chan struct{})
	return &queue{
		ended: ended, end: sync.OnceFunc(func() { close(ended) }),
		failures: display.NewLimited(log, "spans not exported", 1),
		exported: spans.WithLabelValues("exported"), failed: spans.WithLabelValues("failed"), dropped: spans.WithLabelValues("dropped"),
	}
}

// connect sets every option, so that no variable of the SDK's own changes one.
func (q *queue) connect(ctx context.Context, c Config) error {
	headers, err := readHeaders(c.HeadersFile)
	if err != nil {
		return err
	}
	secure := insecure.NewCredentials()
	if c.TLS {
		if secure, err = certificate.Transport(c.files()); err != nil {
			return err
		}
	}
	if q.conn, err = grpc.NewClient(c.Endpoint, grpc.WithTransportCredentials(secure)); err != nil {
		return fmt.Errorf("connect to the collector: %w", err)
	}
	exporter := otlptracegrpc.NewUnstarted(
		otlptracegrpc.WithGRPCConn(q.conn), otlptracegrpc.WithHeaders(headers), otlptracegrpc.WithTimeout(exportTimeout),
		otlptracegrpc.WithCompressor("gzip"),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
			Enabled: true, InitialInterval: 200 * time.Millisecond, MaxInterval: time.Second, MaxElapsedTime: exportTimeout,
		}),
	)
	if err := exporter.Start(ctx); err != nil {
		return errors.Join(fmt.Errorf("connect to the collector: %w", err), q.conn.Close())
	}
	q.exporter = exporter
	q.processor = sdk.NewBatchSpanProcessor(q,
		sdk.WithMaxQueueSize(maxWaiting), sdk.WithMaxExportBatchSize(maxBatch), sdk.WithBatchTimeout(batchDelay), sdk.WithExportTimeout(exportTimeout))
	return nil
}

// take reserves room for one span.
func (q *queue) take() bool {
	if q.waiting.Add(1) > maxWaiting {
		q.waiting.Add(-1)
		q.dropped.Inc()
		return false
	}
	return true
}

// ExportSpans implements sdk.SpanExporter. Its error is nil: it is counted and logged here.
func (q *queue) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	defer q.waiting.Add(-int64(len(spans)))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-q.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := q.exporter.ExportSpans(ctx, spans)
	if err == nil {
		q.exported.Add(float64(len(spans)))
		return nil
	}
	q.failed.Add(float64(len(spans)))
	q.failures.Write(zapcore.WarnLevel, func() []zap.Field { return []zap.Field{zap.Int("spans", len(spans)), zap.Error(err)} })
	return nil
}

// Shutdown implements sdk.SpanExporter.
func (q *queue) Shutdown(ctx context.Context) error {
	return errors.Join(q.exporter.Shutdown(ctx), q.conn.Close())
}

// Close exports what waits, for at most FlushTimeout. What is left then counts as failed.
func (t *Tracer) Close(ctx context.Context) {
	if t == nil {
		return
	}
	timer := time.AfterFunc(FlushTimeout, t.queue.end)
	defer timer.Stop()
	if err := t.provider.Shutdown(context.WithoutCancel(ctx)); err != nil {
		t.queue.failures.Write(zapcore.WarnLevel, func() []zap.Field { return []zap.Field{zap.Error(err)} })
	}
}

func resourceOf(service string) *resource.Resource {
	return resource.NewSchemaless(attribute.String("service.namespace", "tollgate"), attribute.String("service.name", "tollgate-"+service))
}
