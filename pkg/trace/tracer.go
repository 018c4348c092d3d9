package trace

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// Kinds of spans.
const (
	Server   = trace.SpanKindServer
	Client   = trace.SpanKindClient
	Consumer = trace.SpanKindConsumer
	Internal = trace.SpanKindInternal
)

// Bounds of a span.
const (
	maxAttributes     = 32
	maxAttributeBytes = 256
)

// Tracer makes the spans of one service. A nil one makes none.
type Tracer struct {
	queue    *queue
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	// begun and recorded are the shares as bounds of 63 bits.
	begun, recorded uint64
}

// Open is nil where the configuration has no endpoint. The metrics are registered in either case. It connects later:
// a collector that is away keeps no service from starting.
func Open(ctx context.Context, c Config, service string, log *zap.Logger, metrics prometheus.Registerer) (*Tracer, error) {
	q := newQueue(service, log, metrics)
	if c.Endpoint == "" {
		return nil, nil
	}
	if err := q.connect(ctx, c); err != nil {
		return nil, fmt.Errorf("open tracing: %w", err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithSampler(sdk.AlwaysSample()), // sampled before a span is made
		sdk.WithIDGenerator(idsOf{}),
		sdk.WithResource(resourceOf(service)),
		sdk.WithRawSpanLimits(sdk.SpanLimits{
			AttributeValueLengthLimit: maxAttributeBytes, AttributeCountLimit: maxAttributes,
			EventCountLimit: maxAttributes, LinkCountLimit: maxAttributes,
			AttributePerEventCountLimit: maxAttributes, AttributePerLinkCountLimit: maxAttributes,
		}),
		sdk.WithSpanProcessor(q.processor),
	)
	return &Tracer{
		queue: q, provider: provider, tracer: provider.Tracer("github.com/tollgate/tollgate"),
		begun: bound(c.Ratio), recorded: bound(c.ParentRatio),
	}, nil
}

// bound is a share of 63 bits.
func bound(share float64) uint64 {
	if share >= 1 {
		return 1 << 63
	}
	return uint64(share * (1 << 63))
}

// Parent is what the next span under a traceparent follows; false where none is to be recorded.
func (t *Tracer) Parent(traceparent string) (Parent, bool) {
	if t == nil {
		return Parent{}, false
	}
	p, ok := parse(traceparent)
	if !ok || !t.takes(p) {
		return Parent{}, false
	}
	return p, true
}

// takes reports whether a trace is within the share; it takes the same ones as the SDK's TraceIDRatioBased.
func (t *Tracer) takes(p Parent) bool {
	return binary.BigEndian.Uint64(p.trace[8:])>>1 < t.recorded
}

// Begins is like Parent for an event that came with this traceparent or with none, where a trace may begin.
func (t *Tracer) Begins(traceparent, tenant, source, subject, id string, at time.Time) (Parent, bool) {
	if t == nil {
		return Parent{}, false
	}
	if traceparent != "" {
		return t.Parent(traceparent)
	}
	// A cheap hash decides: most events begin no trace.
	if (xxhash.Sum64String(id)*31+xxhash.Sum64String(subject))>>1 >= t.begun {
		return Parent{}, false
	}
	p := Begin(tenant, source, subject, id, at)
	return p, t.takes(p)
}

// Span is one stop on the way of an event, complete.
type Span struct {
	Name string
	Kind trace.SpanKind
	// Parent is what it follows, ID its own.
	Parent     Parent
	ID         SpanID
	Start, End time.Time
	Attributes []attribute.KeyValue
	// Failed is why the stop failed, empty where it did not.
	Failed string
}

// Record queues a span; it never waits. Where the queue is full the span is counted and dropped.
func (t *Tracer) Record(s Span) {
	if t == nil || !t.queue.take() {
		return
	}
	var ctx context.Context = ids{trace: s.Parent.trace, span: s.ID}
	if s.Parent.span.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: s.Parent.trace, SpanID: s.Parent.span, TraceFlags: trace.FlagsSampled, Remote: true,
		}))
	}
	_, span := t.tracer.Start(ctx, s.Name, trace.WithTimestamp(s.Start), trace.WithSpanKind(s.Kind), trace.WithAttributes(s.Attributes...))
	if s.Failed != "" {
		span.SetStatus(codes.Error, s.Failed)
	}
	span.End(trace.WithTimestamp(s.End))
}

// ids is a context that has the ids of the span to be made.
type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

type idsKey struct{}

func (ids) Deadline() (time.Time, bool) { return time.Time{}, false }
func (ids) Done() <-chan struct{}       { return nil }
func (ids) Err() error                  { return nil }
func (i ids) Value(key any) any {
	if key == (idsKey{}) {
		return i
	}
	return nil
}

// idsOf gives each span the ids that its context has.
type idsOf struct{}

func (idsOf) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	i, _ := ctx.Value(idsKey{}).(ids)
	return i.trace, i.span
}

func (g idsOf) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	_, span := g.NewIDs(ctx)
	return span
}
