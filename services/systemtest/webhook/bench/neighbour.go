package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// healthy endpoints answer; behind them in number stand those that misbehave, one in each way.
const (
	healthy = 70
	// paced is how many deliveries a second each endpoint gets.
	paced = 5
)

// neighbour measures the healthy endpoints alone and beside the others, in turn.
func (b *bed) neighbour(ctx context.Context) (err error) {
	f, revision, err := b.installation(ctx, healthy+len(ways), 64, func(i int) string {
		if i < healthy {
			return fmt.Sprint("/h/", i)
		}
		if ways[i-healthy] == refused {
			return b.receiver.Closed
		}
		return "/bad/" + ways[i-healthy]
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, f)) }()
	w := &windows{bed: b, planner: newPlanner(f, revision)}
	if w.member, err = f.Start(ctx, "webhook"); err != nil {
		return err
	}
	if err := w.member.Ready(ctx); err != nil {
		return err
	}
	if _, err := w.window(ctx, healthy, b.warmUp); err != nil { // connections are made
		return err
	}
	var ratios []float64
	var runs []string
	for i := range b.runs {
		if err := w.pause(ctx, true); err != nil {
			return err
		}
		alone, err := w.window(ctx, healthy, b.window)
		if err != nil {
			return err
		}
		if err := w.pause(ctx, false); err != nil {
			return err
		}
		beside, err := w.window(ctx, healthy+len(ways), b.window)
		if err != nil {
			return err
		}
		ratios = append(ratios, beside.Seconds()/alone.Seconds())
		runs = append(runs, fmt.Sprintf("p99 alone %s, beside %s", alone.Round(10*time.Microsecond), beside.Round(10*time.Microsecond)))
		fleet.Report("window %d: %s", i+1, runs[i])
	}
	return b.Print(figure.Figure{
		Name: "webhook.neighbour_ratio", Value: figure.Round(figure.Median(ratios)), Unit: "ratio", Goal: 1.5, Better: "lower",
		Note: fmt.Sprintf("p99 from planning to receipt of %d healthy endpoints beside %d that misbehave, each in another way, / alone; %d deliveries a second to each; windows of %s in turn",
			healthy, len(ways), paced, b.window),
		Seconds: 2 * float64(b.runs) * b.window.Seconds(), Runs: runs,
	})
}

type windows struct {
	bed     *bed
	planner *planner
	member  *fleet.Member
}

// pause stops what is sent to the misbehaving endpoints, or lets it go on: what waits for them does so in both windows.
func (w *windows) pause(ctx context.Context, paused bool) error {
	conn, err := w.planner.fleet.Dial(w.planner.fleet.Configuration())
	if err != nil {
		return err
	}
	service := configv1.NewEndpointServiceClient(conn)
	for i := range ways {
		_, err := service.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{
			Endpoint:   &configv1.Endpoint{Name: endpoint(healthy + i), Paused: paused, Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"paused", "status"}},
		})
		if err != nil {
			return err
		}
	}
	return bench.Pause(ctx, 3*time.Second) // in force
}

// window plans at a pace for the first n endpoints, and returns the p99 of the healthy ones.
func (w *windows) window(ctx context.Context, n int, length time.Duration) (time.Duration, error) {
	if _, err := w.bed.receiver.ages(); err != nil {
		return 0, err
	}
	sent := 0
	err := bench.Pace(ctx, w.planner.fleet.Client, length, n*paced, func(i int) (stream.Record, error) {
		if i %= n; i < healthy {
			sent++
		}
		return w.planner.next(i)
	})
	if err != nil {
		return 0, err
	}
	ages, err := bench.Ages(ctx, sent, w.bed.receiver.ages)
	if err != nil {
		return 0, err
	}
	return bench.P99(ages), nil
}
