package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// Measured is one run.
type Measured struct {
	PerSecond float64
	// Processor is the time that the sender's process took, a delivery.
	Processor time.Duration
}

// Run is how long deliveries are counted, of which count is how many came so far. All of Total are planned before.
type Run struct {
	Count          func() (int64, error)
	WarmUp, Length time.Duration
	Total          int
	// Processor is the time of the sender's process so far.
	Processor func() (time.Duration, error)
}

// Watch measures between warm-up and the end of the run, or until nearly all came. before is the count before anything was
// sent.
func (r Run) Watch(ctx context.Context, before int64) (out Measured, err error) {
	first := time.Now()
	for n := before; n == before; { // the first one came
		if err := Pause(ctx, 50*time.Millisecond); err != nil {
			return out, err
		}
		if time.Since(first) > time.Minute {
			return out, errors.New("nothing came within a minute")
		}
		if n, err = r.Count(); err != nil {
			return out, err
		}
	}
	if err := Pause(ctx, r.WarmUp); err != nil {
		return out, err
	}
	from, err := r.Count()
	began := time.Now()
	cpuFrom, cpuErr := r.Processor()
	if err := errors.Join(err, cpuErr); err != nil {
		return out, err
	}
	last := before + int64(r.Total)*98/100
	if from >= last {
		return out, fmt.Errorf("nearly all of %d came in the warm-up: plan more", r.Total)
	}
	to := from
	for time.Since(began) < r.Length && to < last {
		if err := Pause(ctx, 100*time.Millisecond); err != nil {
			return out, err
		}
		if to, err = r.Count(); err != nil {
			return out, err
		}
	}
	took := time.Since(began)
	cpuTo, err := r.Processor()
	if err != nil {
		return out, err
	}
	if to == from {
		return out, errors.New("nothing came while it was measured")
	}
	out.PerSecond = float64(to-from) / took.Seconds()
	out.Processor = (cpuTo - cpuFrom) / time.Duration(to-from)
	return out, nil
}

// Metric reads one number of a member, summed over its labels.
func Metric(ctx context.Context, m *fleet.Member, name string) (float64, error) {
	text, err := m.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(text) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("metric %s is not there", name)
	}
	return sum, nil
}

// Own is the processor time of this process.
func Own() (time.Duration, error) { return fleet.Processor(os.Getpid()) }

// Pause waits, and fails where ctx ended first.
func Pause(ctx context.Context, d time.Duration) error {
	if !pause.For(ctx, d) {
		return ctx.Err()
	}
	return nil
}

// Ages collects those of sent deliveries, of which take returns the ones that came since it was last called.
func Ages(ctx context.Context, sent int, take func() ([]time.Duration, error)) ([]time.Duration, error) {
	var ages []time.Duration
	for patience := time.Now().Add(time.Minute); len(ages) < sent; {
		if time.Now().After(patience) {
			return nil, fmt.Errorf("%d of %d deliveries to healthy receivers came", len(ages), sent)
		}
		more, err := take()
		if err := errors.Join(err, Pause(ctx, 100*time.Millisecond)); err != nil {
			return nil, err
		}
		ages = append(ages, more...)
	}
	if len(ages) > sent {
		return nil, fmt.Errorf("%d deliveries came, %d were planned, and nothing was killed", len(ages), sent)
	}
	return ages, nil
}

// P99 is what 99 of 100 take at most.
func P99(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)*99/100]
}
