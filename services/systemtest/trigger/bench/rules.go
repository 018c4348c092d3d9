package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// rules measures what one event takes of the processor with many notifications of one tenant and with one, and how long the
// service takes to have the many. Both have the one that matches, so that as many deliveries are planned.
func (b *bed) rules(ctx context.Context) (err error) {
	all := []*configv1.Notification{notify("one", &configv1.Trigger{EventTypes: types[:1], Filter: `subject.startsWith("447700055")`})}
	for i := 1; i < b.notifications; i++ {
		filter := fmt.Sprintf(`subject == "4478%08d"`, i)
		if i%2 == 0 {
			filter = fmt.Sprintf(`subject.startsWith("4478%05d")`, i)
		}
		all = append(all, notify(fmt.Sprintf("n%05d", i), &configv1.Trigger{EventTypes: types[i%10 : i%10+1], Filter: filter}))
	}
	var alone, many *live
	if alone, err = b.live(ctx, all[:1]); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, alone.fleet)) }()
	fleet.Report("%d notifications are configured now", len(all))
	if many, err = b.live(ctx, all); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, many.fleet)) }()
	return errors.Join(b.loaded(ctx, many), b.compared(ctx, many, alone))
}

// loaded measures from the start of the process until its notifications are compiled.
func (b *bed) loaded(ctx context.Context, l *live) error {
	f := figure.Figure{
		Name: "trigger.config_load_seconds", Unit: "s", Goal: 2, Better: "lower",
		Note: fmt.Sprintf("%d notifications on ten types, a filter each; from the start of the process until all are compiled", b.notifications),
	}
	var times []float64
	for i := range b.runs {
		took, err := l.load(ctx)
		if err != nil {
			return err
		}
		times = append(times, took.Seconds())
		f.Runs = append(f.Runs, took.Round(time.Millisecond).String())
		fleet.Report("load %d: %s", i+1, f.Runs[i])
	}
	f.Value = figure.Round(figure.Median(times))
	return b.Print(f)
}

func (l *live) load(ctx context.Context) (took time.Duration, err error) {
	began := time.Now()
	if err := l.service.Restart(ctx); err != nil {
		return 0, err
	}
	for {
		n, err := bench.Metric(ctx, l.service, metricNotifications)
		if took = time.Since(began); err != nil || int(n) == l.bed.notifications {
			return took, errors.Join(err, l.service.Ready(ctx), l.service.Stop(ctx))
		}
		if err := bench.Pause(ctx, 10*time.Millisecond); err != nil {
			return 0, fmt.Errorf("%.0f of %d notifications are compiled: %w", n, l.bed.notifications, err)
		}
	}
}

// compared measures both in turn.
func (b *bed) compared(ctx context.Context, many, alone *live) error {
	f := figure.Figure{
		Name: "trigger.rules_ratio", Unit: "ratio", Goal: 2, Better: "lower",
		Note: fmt.Sprintf("processor time of the service an event with %d notifications of one tenant, ten types, each with an equality or a prefix, beside one notification; %d subjects", b.notifications, b.subjects),
	}
	fires := func(kind, subject int) bool { return kind == 0 && subject/1000 == 55 }
	var ratios []float64
	for i := range b.runs {
		one, err := alone.run(ctx, b.mixed(b.events*3/5, fires), min(b.warmUp, time.Second))
		if err != nil {
			return fmt.Errorf("run %d with one: %w", i+1, err)
		}
		all, err := many.run(ctx, b.mixed(b.events*3/5, fires), min(b.warmUp, time.Second))
		if err != nil {
			return fmt.Errorf("run %d with all: %w", i+1, err)
		}
		ratios = append(ratios, all.Processor.Seconds()/one.Processor.Seconds())
		f.Runs = append(f.Runs, fmt.Sprintf("%s of %s, at %.0f/s and %.0f/s", all.Processor, one.Processor, all.PerSecond, one.PerSecond))
		fleet.Report("run %d: %s", i+1, f.Runs[i])
	}
	f.Value, f.Events = figure.Round(figure.Median(ratios)), int64(many.events+alone.events)
	return b.Print(f)
}
