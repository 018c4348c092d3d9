package api

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/fault"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// held is a stream in memory, as its handler sees it.
type held struct {
	grpc.ServerStream
	ctx  context.Context
	in   chan *optionsv1.ChargeStreamRequest
	mu   sync.Mutex
	sent []*optionsv1.ChargeStreamResponse
}

func (h *held) Context() context.Context { return h.ctx }

func (h *held) Recv() (*optionsv1.ChargeStreamRequest, error) {
	select {
	case m := <-h.in:
		return m, nil
	case <-h.ctx.Done():
		return nil, h.ctx.Err()
	}
}

func (h *held) Send(m *optionsv1.ChargeStreamResponse) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, m)
	return nil
}

func TestStream_AnswersWhatCameBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		h := &held{ctx: ctx, in: make(chan *optionsv1.ChargeStreamRequest, 2*inFlight)}
		for i := range 2 * inFlight {
			h.in <- &optionsv1.ChargeStreamRequest{Tag: uint64(i)}
		}
		stopping, release := make(chan struct{}), make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- tagged(h, stopping, time.Minute, nil, func(ctx context.Context, r *optionsv1.ChargeStreamRequest) *optionsv1.ChargeStreamResponse {
				if r.GetTag()%2 == 0 {
					<-release
				}
				return &optionsv1.ChargeStreamResponse{Tag: r.GetTag()}
			})
		}()
		synctest.Wait()
		h.mu.Lock()
		odd := len(h.sent)
		h.mu.Unlock()
		if odd != inFlight-1 { // the last one waits for a place
			t.Errorf("%d answered while others are slow, %d not taken", odd, len(h.in))
		}
		close(stopping)
		close(release)
		err := <-ended
		cancel() // as the server does once the handler is gone
		if fault.ReasonOf(err) != "STOPPING" {
			t.Errorf("it ended with %v", err)
		}
		synctest.Wait()
		seen := map[uint64]int{}
		for _, m := range h.sent {
			seen[m.GetTag()]++
		}
		if len(seen) != len(h.sent) {
			t.Error("something was answered twice")
		}
	})
}

func TestStream_PanicOfOneAnswerEndsIt(t *testing.T) {
	for name, panics := range map[string]func(h *held) error{
		"at once": func(h *held) error {
			return tagged(h, nil, time.Minute, func(*optionsv1.ChargeStreamRequest) *optionsv1.ChargeStreamResponse { panic("boom") },
				func(context.Context, *optionsv1.ChargeStreamRequest) *optionsv1.ChargeStreamResponse { panic("boom") })
		},
		"among others": func(h *held) error {
			return tagged(h, nil, time.Minute, nil, func(context.Context, *optionsv1.ChargeStreamRequest) *optionsv1.ChargeStreamResponse { panic("boom") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			h := &held{ctx: ctx, in: make(chan *optionsv1.ChargeStreamRequest, 1)}
			h.in <- &optionsv1.ChargeStreamRequest{}
			defer func() {
				if p := recover(); p == nil {
					t.Error("nothing is known of the panic")
				}
			}()
			_ = panics(h)
		})
	}
}

func TestStream_WhatIsKnownIsAnsweredWhileOthersAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const all = 2 * inFlight
		h := &held{ctx: ctx, in: make(chan *optionsv1.ChargeStreamRequest, all)}
		for tag := range uint64(all) {
			h.in <- &optionsv1.ChargeStreamRequest{Tag: tag}
		}
		release, stopping, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- tagged(h, stopping, time.Minute, func(r *optionsv1.ChargeStreamRequest) *optionsv1.ChargeStreamResponse {
				if r.GetTag() < 3 {
					return nil
				}
				return &optionsv1.ChargeStreamResponse{Tag: r.GetTag()}
			}, func(_ context.Context, r *optionsv1.ChargeStreamRequest) *optionsv1.ChargeStreamResponse {
				<-release
				return &optionsv1.ChargeStreamResponse{Tag: r.GetTag()}
			})
		}()
		synctest.Wait()
		h.mu.Lock()
		if n := len(h.sent); n != all-3 {
			t.Errorf("%d answers while three are slow, want %d", n, all-3)
		}
		h.mu.Unlock()
		close(release)
		synctest.Wait()
		close(stopping)
		if err := <-ended; fault.ReasonOf(err) != "STOPPING" {
			t.Errorf("it ended with %v", err)
		}
		cancel()
		synctest.Wait()
		if len(h.sent) != all {
			t.Errorf("%d of %d requests have an answer", len(h.sent), all)
		}
	})
}
