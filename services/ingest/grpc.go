package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// grpcAPI is tollgate.ingest.v1.IngestService.
type grpcAPI struct {
	ingestv1.UnimplementedIngestServiceServer
	publisher *publisher
	limits    *limiter
	log       rejections
	metrics   *transportMetrics
	budget    *rpc.Budget
	stopping  <-chan struct{}
}

// Publish takes one event.
func (d *grpcAPI) Publish(ctx context.Context, req *ingestv1.PublishRequest) (*ingestv1.PublishResponse, error) {
	if err := d.limits.take(ctx, 1, d.limits.size(req)); err != nil {
		return nil, err
	}
	a := d.take(ctx, []*eventv1.Event{req.GetEvent()}, traceOf(ctx))[0]
	if a.err != nil {
		return nil, a.err
	}
	return &ingestv1.PublishResponse{Receipt: a.receipt}, nil
}

// PublishBatch takes several and answers for each.
func (d *grpcAPI) PublishBatch(ctx context.Context,
	req *ingestv1.PublishBatchRequest) (*ingestv1.PublishBatchResponse, error) {
	if len(req.GetEvents()) > maxBatch {
		return nil, errTooMany
	}
	if err := d.limits.take(ctx, len(req.GetEvents()), d.limits.size(req)); err != nil {
		return nil, err
	}
	return &ingestv1.PublishBatchResponse{Results: results(ctx, d.take(ctx, req.GetEvents(), traceOf(ctx)))}, nil
}

var errTooMany = fault.NewInvalid(reason.BatchTooLarge,
	fault.Violation{Field: "events", Description: fmt.Sprintf("must be at most %d", maxBatch)})

// publishStream is PublishStream: it takes events as they come. What has come while the group before was on its way to
// Kafka is the next group: one request of records, one answer.
func (d *grpcAPI) publishStream(s grpc.ServerStream) error {
	ctx := s.Context()
	hold := d.budget.Hold()
	defer hold.Close()
	in := newInbox()
	go func() {
		select {
		case <-rpc.KeyEnded(ctx):
			in.end(rpc.ErrKeyEnded())
		case <-ctx.Done():
		}
	}()
	go func() {
		for {
			events, weight, err := received(s)
			if err == nil {
				err = hold.Take(weight)
			}
			// The sender is held back: what it has sent beyond its limit waits in its connection.
			if err == nil && !d.limits.wait(ctx, len(events), sizeOf(events)) {
				return
			}
			if err != nil {
				in.end(err)
				return
			}
			if !in.put(ctx, events, weight) {
				return
			}
		}
	}()
	for {
		events, weight, err := in.take(ctx, d.stopping)
		if len(events) > 0 {
			answers := d.publisher.take(ctx, read(d.log, parseWire, events, ""), d.log, d.metrics)
			if err := s.SendMsg(&ingestv1.PublishStreamResponse{Results: results(ctx, answers)}); err != nil {
				return err
			}
			hold.Give(weight)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errStopping):
			return rpc.ErrStopping()
		default:
			return err
		}
	}
}

func sizeOf(events [][]byte) (n int) {
	for _, e := range events {
		n += len(e)
	}
	return n
}

func (d *grpcAPI) take(ctx context.Context, events []*eventv1.Event, trace string) []answer {
	return d.publisher.take(ctx, read(d.log, event.Parser.Proto, events, trace), d.log, d.metrics)
}

// parseWire reads an Event in Protobuf.
func parseWire(p event.Parser, value []byte) (*event.Event, error) {
	return p.Kafka(stream.Record{Value: value})
}

// read are events of a call, which came with a trace.
func read[T any](log rejections, parse func(event.Parser, T) (*event.Event, error), events []T, trace string) inputs {
	return inputs{len(events), func(i int, p event.Parser) (*event.Event, error) {
		e, err := guarded(log, parse, p, events[i])
		if e != nil {
			e.Trace = trace
		}
		return e, err
	}}
}

// results are the answers of a call with several events; one that is refused is counted here, since the call is not.
func results(ctx context.Context, answers []answer) []*ingestv1.Result {
	all := make([]ingestv1.Result, len(answers))
	out := make([]*ingestv1.Result, len(answers))
	for i, a := range answers {
		if a.err != nil {
			rpc.Refuse(ctx, a.err)
			all[i].Result = &ingestv1.Result_Error{Error: fault.Status(a.err).Proto()}
		} else {
			all[i].Result = &ingestv1.Result_Receipt{Receipt: a.receipt}
		}
		out[i] = &all[i]
	}
	return out
}

// traceOf is the W3C traceparent of a call.
func traceOf(ctx context.Context) string {
	if trace := rpc.TraceOf(ctx); event.ValidTrace(trace) {
		return trace
	}
	return ""
}
