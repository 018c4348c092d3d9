// Package tracetest is a collector of OTLP over gRPC for tests: it keeps every span it receives.
package tracetest

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Span is one as received. Ids are in hexadecimal; Parent is empty for one that begins its trace.
type Span struct {
	Service, Name     string
	Trace, ID, Parent string
	Kind              string
	Attributes        map[string]any
	// Failed is set where the status is an error, and Status its text.
	Failed     bool
	Status     string
	Start, End time.Time
}

// Collector receives spans until the test ends.
type Collector struct {
	collector.UnimplementedTraceServiceServer
	// Address is host:port.
	Address string

	mu       sync.Mutex
	spans    []Span
	headers  metadata.MD
	changed  chan struct{}
	requests int
	down     bool
	held     chan struct{}
}

// New listens on loopback.
func New(t testing.TB, options ...grpc.ServerOption) *Collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Collector{Address: l.Addr().String(), changed: make(chan struct{})}
	server := grpc.NewServer(options...)
	collector.RegisterTraceServiceServer(server, c)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		c.Release()
		server.Stop()
		if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // a test may end before it serves
			t.Errorf("serve the collector: %v", err)
		}
	})
	return c
}

// Down makes the collector refuse every request, or take them again.
func (c *Collector) Down(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// Hold makes requests wait, without an answer, until Release.
func (c *Collector) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = make(chan struct{})
}

// Release ends Hold.
func (c *Collector) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil {
		close(c.held)
		c.held = nil
	}
}

// Export implements the service.
func (c *Collector) Export(ctx context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	held := c.held
	c.requests++
	c.wake()
	c.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return nil, status.Error(codes.Unavailable, "the collector is down")
	}
	c.headers, _ = metadata.FromIncomingContext(ctx)
	for _, of := range req.GetResourceSpans() {
		service, _ := attributes(of.GetResource().GetAttributes())["service.name"].(string)
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, read(service, s))
			}
		}
	}
	c.wake()
	return &collector.ExportTraceServiceResponse{}, nil
}

func (c *Collector) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func read(service string, s *tracev1.Span) Span {
	return Span{
		Service: service, Name: s.GetName(), Kind: s.GetKind().String(),
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Attributes: attributes(s.GetAttributes()), Failed: s.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR, Status: s.GetStatus().GetMessage(),
		Start: time.Unix(0, int64(s.GetStartTimeUnixNano())).UTC(), End: time.Unix(0, int64(s.GetEndTimeUnixNano())).UTC(),
	}
}

func attributes(all []*common.KeyValue) map[string]any {
	out := map[string]any{}
	for _, a := range all {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[a.GetKey()] = v.IntValue
		default:
			out[a.GetKey()] = a.GetValue().String()
		}
	}
	return out
}

// Spans are those received so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Headers are those of the last request that was taken.
func (c *Collector) Headers() metadata.MD {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers
}

// Await returns the spans once they are as wanted; requests is how many have come, refused ones included.
func (c *Collector) Await(t testing.TB, wanted func(spans []Span, requests int) bool) []Span {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		c.mu.Lock()
		spans, requests, changed := slices.Clone(c.spans), c.requests, c.changed
		c.mu.Unlock()
		if wanted(spans, requests) {
			return spans
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("the collector has %d spans of %d requests: %+v", len(spans), requests, spans)
		}
	}
}
