package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// throughput measures how many events a second are matched with a hundred notifications, ten of each type, whose filters no
// index helps: each is evaluated, and one event in a hundred matches one.
func (b *bed) throughput(ctx context.Context) (err error) {
	var all []*configv1.Notification
	for i := range 100 {
		all = append(all, notify(fmt.Sprintf("n%02d", i), &configv1.Trigger{EventTypes: types[i%10 : i%10+1], Filter: fmt.Sprintf(`subject.endsWith("%03d")`, 100*(i/10)+i)}))
	}
	// The i-th has the type i modulo 10, and so the subjects whose last digit is that, and whose last three are one of ten numbers.
	fires := func(kind, subject int) bool {
		for i := kind; i < 100; i += 10 {
			if subject%1000 == (100*(i/10)+i)%1000 {
				return true
			}
		}
		return false
	}
	l, err := b.live(ctx, all)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, l.fleet)) }()
	f := figure.Figure{
		Name: "trigger.events_per_second", Unit: "events/s", Goal: 100_000, Better: "higher",
		Note: fmt.Sprintf("100 notifications on ten types, each filter evaluated, 1 in 100 events planned with an order, %d subjects; one process of the service", b.subjects),
	}
	var rates []float64
	for i := range b.runs {
		out, err := l.run(ctx, b.mixed(b.events, fires), b.warmUp)
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		rates = append(rates, out.PerSecond)
		f.Runs = append(f.Runs, fmt.Sprintf("%.0f/s, %s of processor time each", out.PerSecond, out.Processor))
		fleet.Report("run %d: %s", i+1, f.Runs[i])
	}
	f.Value, f.Events, f.Seconds = figure.Round(figure.Median(rates)), int64(l.events), float64(b.runs)*b.length.Seconds()
	return b.Print(f)
}

// stateful measures a rule whose state each event changes and then, on the same log, the bare loop.
func (b *bed) stateful(ctx context.Context) (err error) {
	var ratios []float64
	f := figure.Figure{
		Name: "trigger.stateful_ratio", Unit: "ratio", Goal: 0.5, Better: "higher",
		Note: fmt.Sprintf("a crossing on the only type, 1 event in 100 fires it, %d subjects; the bare loop reads and writes one record for each subject of a batch and produces one record in 100", b.subjects),
	}
	for i := range b.runs {
		ours, bare, words, err := b.crossing(ctx)
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		ratios, f.Runs = append(ratios, ours/bare), append(f.Runs, words)
		fleet.Report("run %d: %s", i+1, words)
	}
	f.Value, f.Events, f.Seconds = figure.Round(figure.Median(ratios)), int64(b.runs*b.events), float64(b.runs)*b.length.Seconds()
	return b.Print(f)
}

func (b *bed) crossing(ctx context.Context) (ours, bare float64, words string, err error) {
	l, err := b.live(ctx, []*configv1.Notification{notify("limit", &configv1.Trigger{EventTypes: types[:1], Kind: above(10)})})
	if err != nil {
		return 0, 0, "", err
	}
	defer func() { err = errors.Join(err, bench.Close(ctx, l.fleet)) }()
	values := make([]int64, b.subjects) // the last one of each, 0 for none
	out, err := l.run(ctx, traffic{b.events, func(i int, _ time.Time) (*event.Event, bool, error) {
		subject, value := int(uint64(i)*0x9e3779b97f4a7c15>>33%uint64(b.subjects)), int64(1+i%9)
		if i%100 == 99 {
			value = 20
		}
		before := values[subject]
		values[subject] = value
		return &event.Event{Type: types[0], Subject: number(subject), Data: charged(value)}, before > 0 && before < 10 && value >= 10, nil
	}}, b.warmUp)
	if err != nil {
		return 0, 0, "", err
	}
	size, err := bench.RecordBytes(ctx, b.Redis, l.fleet, "trigger-ordered")
	if err != nil {
		return 0, 0, "", err
	}
	j := &bench.Bare{Fleet: l.fleet, Kafka: b.Kafka, Redis: b.Redis, Batch: max(1, int(l.batch)), RecordBytes: size}
	if bare, err = j.Measure(ctx, b.warmUp, b.length); err != nil {
		return 0, 0, "", err
	}
	return out.PerSecond, bare, fmt.Sprintf("%.0f/s of %.0f/s bare (batches of %.0f, records of %d bytes, %s of processor time each)", out.PerSecond, bare, l.batch, size, out.Processor), nil
}
