package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// inFlight bounds the requests of one stream that are being answered: what comes behind waits, and so does its sender.
const inFlight = 256

// AuthorizeStream answers each request by its tag, in any order: at once where the subscriber is in memory.
func (v *enforcement) AuthorizeStream(stream grpc.BidiStreamingServer[optionsv1.AuthorizeStreamRequest, optionsv1.AuthorizeStreamResponse]) error {
	answer := func(tag uint64, res *optionsv1.AuthorizeResponse, err error) *optionsv1.AuthorizeStreamResponse {
		if err != nil {
			return &optionsv1.AuthorizeStreamResponse{Tag: tag, Answer: &optionsv1.AuthorizeStreamResponse_Error{Error: statusOf(err)}}
		}
		return &optionsv1.AuthorizeStreamResponse{Tag: tag, Answer: &optionsv1.AuthorizeStreamResponse_Response{Response: res}}
	}
	return tagged(stream, v.stopping, v.timeout,
		func(req *optionsv1.AuthorizeStreamRequest) *optionsv1.AuthorizeStreamResponse {
			res, err, done := v.authorizeAtOnce(req.GetRequest())
			if !done {
				return nil
			}
			return answer(req.GetTag(), res, err)
		},
		func(ctx context.Context, req *optionsv1.AuthorizeStreamRequest) *optionsv1.AuthorizeStreamResponse {
			res, err := v.authorize(ctx, req.GetRequest())
			return answer(req.GetTag(), res, err)
		})
}

// ChargeStream answers each request by its tag, in any order.
func (v *enforcement) ChargeStream(stream grpc.BidiStreamingServer[optionsv1.ChargeStreamRequest, optionsv1.ChargeStreamResponse]) error {
	return tagged(stream, v.stopping, v.timeout, nil, func(ctx context.Context, req *optionsv1.ChargeStreamRequest) *optionsv1.ChargeStreamResponse {
		m := &optionsv1.ChargeStreamResponse{Tag: req.GetTag()}
		if res, err := v.charge(ctx, req.GetRequest()); err != nil {
			m.Answer = &optionsv1.ChargeStreamResponse_Error{Error: statusOf(err)}
		} else {
			m.Answer = &optionsv1.ChargeStreamResponse_Response{Response: res}
		}
		return m
	})
}

// statusOf is an error as it stands in a stream's answer: what it would be of a request that comes alone.
func statusOf(err error) *status.Status { return fault.Status(err).Proto() }

// tagged answers the requests of a stream, several at a time, each within timeout; those that atOnce, where it is set, has an
// answer to before the next is read. It ends when the caller has sent the last one and each is answered; once the process
// is stopping, when those that came are.
func tagged[Req, Res any](stream grpc.BidiStreamingServer[Req, Res], stopping <-chan struct{}, timeout time.Duration, atOnce func(*Req) *Res, answer func(context.Context, *Req) *Res) error {
	t := tags[Req, Res]{stream: stream, timeout: timeout, atOnce: atOnce, answer: answer, tasks: make(chan *Req), broken: make(chan struct{}, 1)}
	came, ended := t.receive()
	end := error(nil)
	for open := true; open; {
		select {
		case <-stopping:
			open, end = false, rpc.ErrStopping()
		case end = <-ended:
			open = false
		case <-t.broken:
			open = false
		case req := <-came:
			t.hand(req)
		}
	}
	close(t.tasks)
	t.working.Wait()
	t.sending.Lock()
	defer t.sending.Unlock()
	t.over = true
	if t.panicked != nil {
		panic(t.panicked) // where it is caught, logged and answered as that of any request
	}
	return errors.Join(end, t.failed)
}

// tags is a stream whose requests are being answered.
type tags[Req, Res any] struct {
	stream  grpc.BidiStreamingServer[Req, Res]
	timeout time.Duration
	atOnce  func(*Req) *Res
	answer  func(context.Context, *Req) *Res

	// Goroutines are used again: the stack of a new one grows, and is copied, on the way of its first request.
	tasks   chan *Req
	workers int
	working sync.WaitGroup

	sending  sync.Mutex // guards what follows, and one Send at a time
	failed   error
	panicked error
	over     bool // nothing more may be sent
	broken   chan struct{}
}

// hand gives a request to a goroutine that is idle, or a new one; once there are enough it waits.
func (t *tags[Req, Res]) hand(req *Req) {
	select {
	case t.tasks <- req:
		return
	default:
	}
	if t.workers == inFlight {
		t.tasks <- req
		return
	}
	t.workers++
	t.working.Go(func() {
		t.work(req)
		for next := range t.tasks {
			t.work(next)
		}
	})
}

func (t *tags[Req, Res]) work(req *Req) {
	ctx, cancel := context.WithTimeout(t.stream.Context(), t.timeout)
	defer cancel()
	t.guarded(func() *Res { return t.answer(ctx, req) })
}

// guarded sends an answer; false where there is none. A panic ends the stream.
func (t *tags[Req, Res]) guarded(answer func() *Res) (sent bool) {
	defer func() {
		if p := recover(); p != nil {
			t.sending.Lock()
			defer t.sending.Unlock()
			t.panicked, sent = fmt.Errorf("%v\n%s", p, debug.Stack()), false
			select {
			case t.broken <- struct{}{}:
			default:
			}
		}
	}()
	res := answer()
	if res == nil {
		return false
	}
	t.sending.Lock()
	defer t.sending.Unlock()
	if t.failed == nil && !t.over {
		t.failed = t.stream.Send(res)
	}
	return true
}

// receive takes requests off the stream until its end, which is nil where the caller closed it, and answers what can be
// answered at once. Its goroutine ends with the stream at the latest.
func (t *tags[Req, Res]) receive() (came <-chan *Req, ended <-chan error) {
	requests, end := make(chan *Req), make(chan error, 1)
	go func() {
		for {
			req, err := t.stream.Recv()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if req == nil || err != nil {
				end <- err
				return
			}
			if t.atOnce != nil && t.guarded(func() *Res { return t.atOnce(req) }) {
				continue
			}
			select {
			case requests <- req:
			case <-t.stream.Context().Done():
				return
			}
		}
	}()
	return requests, end
}
