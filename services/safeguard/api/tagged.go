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

// AuthorizeStream answers each request by its tag, in any order.
func (v *enforcement) AuthorizeStream(stream grpc.BidiStreamingServer[optionsv1.AuthorizeStreamRequest, optionsv1.AuthorizeStreamResponse]) error {
	return tagged(stream, v.stopping, v.timeout, func(ctx context.Context, req *optionsv1.AuthorizeStreamRequest) *optionsv1.AuthorizeStreamResponse {
		m := &optionsv1.AuthorizeStreamResponse{Tag: req.GetTag()}
		if res, err := v.authorize(ctx, req.GetRequest()); err != nil {
			m.Answer = &optionsv1.AuthorizeStreamResponse_Error{Error: statusOf(err)}
		} else {
			m.Answer = &optionsv1.AuthorizeStreamResponse_Response{Response: res}
		}
		return m
	})
}

// ChargeStream answers each request by its tag, in any order.
func (v *enforcement) ChargeStream(stream grpc.BidiStreamingServer[optionsv1.ChargeStreamRequest, optionsv1.ChargeStreamResponse]) error {
	return tagged(stream, v.stopping, v.timeout, func(ctx context.Context, req *optionsv1.ChargeStreamRequest) *optionsv1.ChargeStreamResponse {
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

// tagged answers the requests of a stream, several at a time, each within timeout. It ends when the caller has sent the
// last one and each is answered; once the process is stopping, when those that came are.
func tagged[Req, Res any](stream grpc.BidiStreamingServer[Req, Res], stopping <-chan struct{}, timeout time.Duration, answer func(context.Context, *Req) *Res) error {
	var (
		working sync.WaitGroup
		sending sync.Mutex
		failed  error // under sending, as is panicked
		slots   = make(chan struct{}, inFlight)

		panicked error
	)
	came, ended := receive(stream)
	end := error(nil)
	for open := true; open; {
		select {
		case <-stopping:
			open, end = false, rpc.ErrStopping()
		case end = <-ended:
			open = false
		case req := <-came:
			slots <- struct{}{}
			working.Go(func() {
				ctx, cancel := context.WithTimeout(stream.Context(), timeout)
				defer func() {
					cancel()
					<-slots
					if p := recover(); p != nil {
						sending.Lock()
						defer sending.Unlock()
						panicked = fmt.Errorf("%v\n%s", p, debug.Stack())
					}
				}()
				res := answer(ctx, req)
				sending.Lock()
				defer sending.Unlock()
				if failed == nil {
					failed = stream.Send(res)
				}
			})
		}
	}
	working.Wait()
	if panicked != nil {
		panic(panicked) // where it is caught, logged and answered as that of any request
	}
	return errors.Join(end, failed)
}

// receive takes requests off a stream until its end, which is nil where the caller closed it. Its goroutine ends with the
// stream at the latest.
func receive[Req, Res any](stream grpc.BidiStreamingServer[Req, Res]) (came <-chan *Req, ended <-chan error) {
	requests, end := make(chan *Req), make(chan error, 1)
	go func() {
		for {
			req, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if req == nil || err != nil {
				end <- err
				return
			}
			select {
			case requests <- req:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	return requests, end
}
