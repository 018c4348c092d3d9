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

const (
	// healthy profiles are answered; the one behind them in number hangs.
	healthy = 20
	// paced is how many messages a second each profile gets.
	paced = 10
)

// neighbours measures the healthy profiles alone and beside one whose server never greets, in turn.
func (b *bed) neighbours(ctx context.Context) (err error) {
	f, revision, err := b.installation(ctx, healthy+1, func(i int, p *configv1.SmtpProfile) {
		if i == healthy {
			p.Port, p.Connections = int32(b.receiver.Hanging), 512 // as many as there may be
		}
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, f)) }()
	w := &windows{bed: b, planner: &planner{fleet: f, revision: revision}}
	m, err := f.Start(ctx, "email")
	if err != nil {
		return err
	}
	if err := m.Ready(ctx); err != nil {
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
		beside, err := w.window(ctx, healthy+1, b.window)
		if err != nil {
			return err
		}
		ratios = append(ratios, beside.Seconds()/alone.Seconds())
		runs = append(runs, fmt.Sprintf("p99 alone %s, beside %s", alone.Round(10*time.Microsecond), beside.Round(10*time.Microsecond)))
		fleet.Report("window %d: %s", i+1, runs[i])
	}
	if err := b.receiver.once(); err != nil {
		return err
	}
	return b.Print(figure.Figure{
		Name: "email.neighbour_ratio", Value: figure.Round(figure.Median(ratios)), Unit: "ratio", Goal: 1.5, Better: "lower",
		Note: fmt.Sprintf("p99 from planning to receipt of %d healthy profiles beside one whose server takes connections and never greets / alone; %d messages a second to each; windows of %s in turn",
			healthy, paced, b.window),
		Seconds: 2 * float64(b.runs) * b.window.Seconds(), Runs: runs,
	})
}

type windows struct {
	bed     *bed
	planner *planner
}

// pause stops what is sent to the profile that hangs, or lets it go on: what waits for it does so in both windows.
func (w *windows) pause(ctx context.Context, paused bool) error {
	conn, err := w.planner.fleet.Dial(w.planner.fleet.Configuration())
	if err != nil {
		return err
	}
	_, err = configv1.NewSmtpProfileServiceClient(conn).UpdateSmtpProfile(ctx, &configv1.UpdateSmtpProfileRequest{
		SmtpProfile: &configv1.SmtpProfile{Name: profileName(healthy), Paused: paused}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"paused"}},
	})
	return errors.Join(err, bench.Pause(ctx, 3*time.Second)) // in force
}

// window plans at a pace for the first n profiles, and returns the p99 of the healthy ones.
func (w *windows) window(ctx context.Context, n int, length time.Duration) (time.Duration, error) {
	if _, err := w.bed.receiver.ages(); err != nil {
		return 0, err
	}
	sent := 0
	err := bench.Pace(ctx, w.planner.fleet.Client, length, n*paced, func(i int) (stream.Record, error) {
		w.planner.user = "hanging-"
		if i %= n; i < healthy {
			w.planner.user = aged
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
