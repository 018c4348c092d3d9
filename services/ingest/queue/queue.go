package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

const (
	// streamBytes is what each stream holds of the budget of all callers, for the response that is on its way.
	streamBytes = 512 << 10
	// firstWithin bounds the wait for the first request.
	firstWithin = 30 * time.Second
	// openWithin bounds the opening of a subscription: Kafka may be away.
	openWithin = 30 * time.Second
	// handOver bounds the wait for the stream before, in the same process, to store its end.
	handOver = 2 * time.Second
)

// Queue is the service.
type Queue struct {
	ingestv1.UnimplementedEventQueueServiceServer
	cfg      Config
	env      daemon.Env
	client   *stream.Client
	producer *stream.Producer
	catalog  Catalog
	// exists reports whether there is a tenant; true also where that is not known.
	exists   func(ctx context.Context, tenant string) bool
	budget   *rpc.Budget
	stopping <-chan struct{}
	metrics  *metrics
	source   *source
	failures *display.Limited
	waits    *display.Limited
	end      context.CancelFunc
	tasks    sync.WaitGroup

	mu sync.Mutex
	// open are the streams that read, owners those of named subscriptions by group.
	open    map[*subscriber]struct{}
	owners  map[string]*subscriber
	streams int
}

// New makes the service and registers it on a server. Close has to be called once that serves no longer.
func New(ctx context.Context, cfg Config, env daemon.Env, client *stream.Client, catalog Catalog,
	exists func(ctx context.Context, tenant string) bool, server *rpc.Server) (*Queue, error) {
	q := &Queue{
		cfg: cfg, env: env, client: client, producer: client.NewProducer(), catalog: catalog, exists: exists,
		budget: server.Budget(), stopping: server.Stopping(), open: map[*subscriber]struct{}{}, owners: map[string]*subscriber{},
	}
	var err error
	if q.metrics, err = newMetrics(env.Metrics, q.count); err != nil {
		return nil, fmt.Errorf("prepare the event queue: %w", err)
	}
	q.failures = display.NewLimited(env.Log, "filter of a subscription failed", 20)
	q.waits = display.NewLimited(env.Log, "subscription waits for the event types of its tenant", 20)
	ctx, q.end = context.WithCancel(context.WithoutCancel(ctx)) // streams end after the process was asked to stop
	q.source = newSource(ctx, client, cfg.CacheBytes)
	server.RegisterService(description(), q)
	return q, nil
}

// description is EventQueueService, whose stream is written as bytes that were encoded once.
func description() *grpc.ServiceDesc {
	d := ingestv1.EventQueueService_ServiceDesc
	d.Streams = slices.Clone(d.Streams)
	d.Streams[0].Handler = func(srv any, s grpc.ServerStream) error { return srv.(*Queue).subscribe(s) }
	return &d
}

// Close ends the reading of the log. ctx bounds the wait for records on their way.
func (q *Queue) Close(ctx context.Context) error {
	q.end()
	q.source.tasks.Wait()
	q.tasks.Wait()
	return q.producer.Close(ctx)
}

var errStreams = fault.New(fault.Throttled, reasonStreams, "this replica serves as many streams as it may (queue.max_streams), try another").After(time.Second)

// subscribe is Subscribe, from a stream's beginning to its end.
func (q *Queue) subscribe(of grpc.ServerStream) (err error) {
	defer func() { q.metrics.ends.WithLabelValues(why(err)).Inc() }()
	if !q.enter() {
		return errStreams
	}
	defer q.leave()
	hold := q.budget.Hold()
	defer hold.Close()
	if err := hold.Take(streamBytes); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(of.Context())
	defer cancel()
	in := receive(ctx, of, &q.tasks)
	first, err := q.first(ctx, in)
	if err != nil {
		return err
	}
	s, err := q.newSubscriber(ctx, of, hold, first)
	if err != nil {
		return err
	}
	defer s.close()
	opening, opened := context.WithTimeout(ctx, openWithin)
	defer opened()
	if err := s.begin(opening); err != nil {
		return s.unless(err)
	}
	return s.serve(ctx, in)
}

func (q *Queue) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.streams >= q.cfg.MaxStreams {
		return false
	}
	q.streams++
	return true
}

func (q *Queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.streams--
}

// count sums over the open streams.
func (q *Queue) count() (streams, unacked, held int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for s := range q.open {
		s.mu.Lock()
		unacked, held = unacked+s.w.Unacked(), held+s.w.Held()
		s.mu.Unlock()
	}
	return len(q.open), unacked, held
}

// own makes a stream the owner of its group here, and ends the one before: that has stored its position once this
// returns, if it can.
func (q *Queue) own(ctx context.Context, s *subscriber) {
	q.mu.Lock()
	before := q.owners[s.group]
	q.owners[s.group] = s
	q.mu.Unlock()
	if before == nil {
		return
	}
	before.stop(errTakenOver)
	t := time.NewTimer(handOver)
	defer t.Stop()
	select {
	case <-before.closed:
	case <-t.C:
	case <-ctx.Done():
	}
}

// received is the next request of a stream, or why there is none.
type received struct {
	request *ingestv1.SubscribeRequest
	err     error
}

// receive reads requests until the stream ends: the next is read once the one before was taken.
func receive(ctx context.Context, of grpc.ServerStream, tasks *sync.WaitGroup) <-chan received {
	in := make(chan received)
	tasks.Go(func() {
		for {
			r := received{request: &ingestv1.SubscribeRequest{}}
			r.err = of.RecvMsg(r.request)
			select {
			case in <- r:
			case <-ctx.Done():
				return
			}
			if r.err != nil {
				return
			}
		}
	})
	return in
}

func (q *Queue) first(ctx context.Context, in <-chan received) (*ingestv1.Subscription, error) {
	t := time.NewTimer(firstWithin)
	defer t.Stop()
	select {
	case r := <-in:
		switch {
		case errors.Is(r.err, io.EOF):
			return nil, fault.NewInvalid(reasonInvalid, fault.Violation{Field: "subscription", Description: "must be in the first request"})
		case r.err != nil:
			return nil, r.err
		case r.request.GetSubscription() == nil:
			return nil, fault.NewInvalid(reasonInvalid, fault.Violation{Field: "subscription", Description: "must be in the first request"})
		}
		return r.request.GetSubscription(), nil
	case <-t.C:
		return nil, fault.NewInvalid(reasonInvalid, fault.Violation{Field: "subscription", Description: fmt.Sprintf("must come within %s", firstWithin)})
	case <-q.stopping:
		return nil, rpc.ErrStopping()
	case <-rpc.KeyEnded(ctx):
		return nil, rpc.ErrKeyEnded()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// why names the end of a stream in metrics.
func why(err error) string {
	switch fault.ReasonOf(err) {
	case reasonTakenOver:
		return "taken_over"
	case reasonPositionUnknown:
		return "position_unknown"
	case reason.Stopping:
		return "stopping"
	case reason.APIKeyEnded:
		return "key_ended"
	}
	switch kind := fault.KindOf(err); {
	case err == nil, errors.Is(err, context.Canceled), fault.Status(err).Code() == canceled:
		return "consumer"
	case kind == fault.Internal, kind == fault.Unavailable:
		return "failed"
	}
	return "refused"
}

func (s *subscriber) logger() *zap.Logger {
	return s.q.env.Log.With(zap.String("tenant", s.tenant), zap.String("subscription", s.name), zap.Stringer("stream", s.id))
}
