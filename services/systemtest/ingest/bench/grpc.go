package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// perMessage is how many events a message of the stream has.
const perMessage = 250

// grpc measures one PublishStream.
func (b *bed) grpc(ctx context.Context) (err error) {
	p, err := b.prepare(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, p.Fleet)) }()
	f := figure.Figure{
		Name: "ingest.grpc_events_per_second", Unit: "events/s", Goal: 250_000, Better: "higher",
		Note: fmt.Sprintf("one PublishStream, %d events a message, each answered with its receipt; the sender in a process of its own", perMessage),
	}
	var rates []float64
	for i := range b.runs {
		rate, n, err := b.grpcRun(ctx, p, i)
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		rates = append(rates, rate)
		f.Events += n
		f.Runs = append(f.Runs, fmt.Sprintf("%.0f/s", rate))
		fleet.Report("run %d: %s", i+1, f.Runs[i])
	}
	f.Value, f.Seconds = figure.Round(figure.Median(rates)), float64(b.runs)*b.length.Seconds()
	return b.Print(f)
}

// messages are made before they are sent: how fast a producer makes its events is not ingest's.
func (b *bed) messages(n int) []*ingestv1.PublishStreamRequest {
	out := make([]*ingestv1.PublishStreamRequest, n)
	for i := range out {
		events := make([]*eventv1.Event, perMessage)
		for k := range events {
			e := b.usage(i*perMessage + k)
			e.ReceivedAt = time.Time{}
			events[k] = e.Proto()
		}
		out[i] = &ingestv1.PublishStreamRequest{Events: events}
	}
	return out
}

func (b *bed) grpcRun(ctx context.Context, p *prepared, run int) (perSecond float64, n int64, err error) {
	conn, err := p.Dial(p.ingest.Address("grpc"))
	if err != nil {
		return 0, 0, err
	}
	s, err := ingestv1.NewIngestServiceClient(conn).PublishStream(ctx)
	if err != nil {
		return 0, 0, err
	}
	messages := b.messages(400)
	var sent, accepted atomic.Int64
	stop := make(chan struct{})
	go func() {
		defer s.CloseSend() //nolint:errcheck // the receiving side has the error
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if s.Send(messages[i%len(messages)]) != nil {
				return
			}
			sent.Add(perMessage)
		}
	}()
	ended := make(chan error, 1)
	go func() {
		for {
			res, err := s.Recv()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if res == nil {
				ended <- err
				return
			}
			for _, one := range res.GetResults() {
				if one.GetReceipt() == nil {
					ended <- fmt.Errorf("refused: %v", one)
					return
				}
			}
			accepted.Add(int64(len(res.GetResults())))
		}
	}()
	if err := bench.Pause(ctx, b.warmUp); err != nil {
		return 0, 0, err
	}
	profile := b.profiled(ctx, p.ingest, fmt.Sprint("grpc-", run))
	from, began := accepted.Load(), time.Now()
	if err := bench.Pause(ctx, b.length); err != nil {
		return 0, 0, err
	}
	perSecond = float64(accepted.Load()-from) / time.Since(began).Seconds()
	close(stop)
	if err := errors.Join(<-ended, profile()); err != nil {
		return 0, 0, err
	}
	if accepted.Load() != sent.Load() {
		return 0, 0, fmt.Errorf("%d events were sent and %d accepted", sent.Load(), accepted.Load())
	}
	return perSecond, accepted.Load(), nil
}
