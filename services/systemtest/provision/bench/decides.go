package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// decides measures how many actions a second are decided by one handler.
func (b *bed) decides(ctx context.Context) error {
	before, err := b.published(ctx, typeOfOne)
	if err != nil {
		return err
	}
	var rates []float64
	var runs []string
	total := int64(0)
	for i := range b.runs {
		rate, n, err := b.run(ctx, i)
		if err != nil {
			return err
		}
		total += n
		rates = append(rates, rate)
		runs = append(runs, fmt.Sprintf("%.0f/s", rate))
		fleet.Report("run %d: %.0f actions/s", i+1, rate)
	}
	after, err := b.published(ctx, typeOfOne)
	if err != nil {
		return err
	}
	if got := after - before; got != total {
		return fmt.Errorf("%d actions were allowed, and %d events are published, though nothing was killed", total, got)
	}
	return b.Print(figure.Figure{
		Name: "provision.decides_per_second", Value: figure.Round(figure.Median(rates)), Unit: "actions/s", Goal: 3000, Better: "higher",
		Note:   fmt.Sprintf("one local HTTP handler, %d calls at once over %d connections; each action has a key of its own, is stored, published and logged", b.concurrency, connections),
		Events: total, Seconds: float64(b.runs) * b.length.Seconds(), Runs: runs,
	})
}

func (b *bed) run(ctx context.Context, run int) (perSecond float64, all int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var decided atomic.Int64
	var stop atomic.Bool
	var callers sync.WaitGroup
	failed := make(chan error, b.concurrency)
	for c := range b.concurrency {
		callers.Go(func() {
			client := provisionv1.NewProvisioningServiceClient(b.conns[c%len(b.conns)])
			for n := 0; !stop.Load(); n++ {
				req, err := action(typeOfOne, fmt.Sprintf("run-%d-%d-%d", run, c, n))
				if err != nil {
					failed <- err
					return
				}
				res, err := client.Decide(ctx, req)
				if err == nil && res.GetDecidedBy() != provisionv1.DecidedBy_DECIDED_BY_ALL_HANDLERS {
					err = fmt.Errorf("not allowed: %v", res)
				}
				if err != nil {
					failed <- err
					return
				}
				decided.Add(1)
			}
		})
	}
	pauses := errors.Join(bench.Pause(ctx, b.warmUp))
	from, began := decided.Load(), time.Now()
	pauses = errors.Join(pauses, bench.Pause(ctx, b.length))
	perSecond = float64(decided.Load()-from) / time.Since(began).Seconds()
	stop.Store(true)
	callers.Wait()
	select {
	case err := <-failed:
		return 0, 0, err
	default:
	}
	return perSecond, decided.Load(), pauses
}

// published counts the events of a type.
func (b *bed) published(ctx context.Context, eventType string) (n int64, err error) {
	topic := b.fleet.Client.Topic(stream.EventsOrdered)
	for p := range b.fleet.Partitions() {
		next, end, err := b.fleet.Client.Offsets(ctx, topic, int32(p))
		if err != nil {
			return 0, err
		}
		for next < end {
			batch, err := b.fleet.Client.FetchFrom(ctx, topic, int32(p), next, 4<<20)
			if err != nil {
				return 0, err
			}
			for _, r := range batch.Records {
				if name, _ := r.Header(event.HeaderType); string(name) == eventType {
					n++
				}
				next = r.Offset + 1
			}
			if len(batch.Records) == 0 {
				break
			}
		}
	}
	return n, nil
}
