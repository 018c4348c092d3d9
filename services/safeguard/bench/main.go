// Command bench measures the safeguard service on a Kafka and a Redis of its
// own, beside a bare loop that does the same reads and writes and nothing else.
// Figures go to standard output, what happens meanwhile to standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/services/tollgate/figure"
	"github.com/tollgate/tollgate/services/tollgate/fleettest"
)

// options of a whole benchmark.
type options struct {
	runs        int
	partitions  int
	subscribers int
	events      int
	warmUp      time.Duration
	length      time.Duration
	cold        int
	imported    int
	memory      int
	latency     bool
	growth      bool
	// engineOnly leaves the bare loop out.
	engineOnly bool
}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 3, "runs of which the median is printed")
	flag.IntVar(&o.partitions, "partitions", 8, "partitions of each topic")
	flag.IntVar(&o.subscribers, "subscribers", 100_000, "subscribers that use something")
	flag.IntVar(&o.events, "events", 6_000_000, "usage events in the log of each run")
	flag.DurationVar(&o.warmUp, "warm-up", 10*time.Second, "not measured, of each run")
	flag.DurationVar(&o.length, "length", 30*time.Second, "measured, of each run; less where the log ends before")
	flag.IntVar(&o.cold, "cold", 1_000_000, "subscribers of the cold pass; 0: none")
	flag.IntVar(&o.imported, "imported", 1_000_000, "subscribers of the import; 0: none")
	flag.IntVar(&o.memory, "memory", 1_000_000, "subscribers whose memory is measured; 0: none")
	flag.BoolVar(&o.latency, "latency", true, "measure Authorize and Charge beside usage")
	flag.BoolVar(&o.growth, "growth", false, "measure 1 to 8 partitions and 10 k to 1 M subscribers as well, each once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// stand is what the benchmark runs on.
type stand struct {
	kafka, redis *fleettest.Server
	dir          string
}

func bench(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "tollgate-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &stand{dir: dir}
	say("building")
	if err := fleettest.Build(ctx, filepath.Join(dir, "bin"), "config", "ingest", "safeguard"); err != nil {
		return err
	}
	if s.kafka, err = fleettest.StartServer(ctx, fleettest.Kafka, filepath.Join(dir, "kafka")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.kafka.Stop(context.WithoutCancel(ctx))) }()
	if s.redis, err = fleettest.StartServer(ctx, fleettest.Redis, filepath.Join(dir, "redis")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.redis.Stop(context.WithoutCancel(ctx))) }()
	on, err := s.on(ctx)
	if err != nil {
		return err
	}

	var rates, ratios []float64
	var runs []string
	var counted int64
	var seconds float64
	for i := range o.runs {
		r, err := s.run(ctx, i, o)
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		rates, ratios = append(rates, r.engine), append(ratios, r.engine/r.bare)
		runs = append(runs, fmt.Sprintf("%.0f/s of %.0f/s bare (batches of %.0f, records of %d bytes)", r.engine, r.bare, r.batch, r.recordBytes))
		counted, seconds = counted+r.counted, seconds+r.seconds
	}
	const note = "three options, each event counts against all of them; the service and the bare loop are processes on the machine of the servers"
	var figures []figure.Figure
	if o.runs > 0 {
		figures = append(figures, figure.Figure{Name: "safeguard.events_per_second", Value: figure.Round(figure.Median(rates)), Unit: "events/s", Goal: 100_000, Better: "higher", On: on, Note: note, Events: counted, Seconds: figure.Round(seconds), Runs: runs},
			figure.Figure{Name: "safeguard.floor_ratio", Value: figure.Round(figure.Median(ratios)), Unit: "ratio", Goal: 0.5, Better: "higher", On: on, Note: note, Runs: runs})
	}
	if o.cold > 0 {
		first, second, err := s.cold(ctx, o)
		if err != nil {
			return fmt.Errorf("cold pass: %w", err)
		}
		figures = append(figures, figure.Figure{
			Name: "safeguard.cold_ratio", Value: figure.Round(first.Seconds() / second.Seconds()), Unit: "ratio", Goal: 2, Better: "lower", On: on,
			Note: note, Events: int64(2 * o.cold), Runs: []string{fmt.Sprintf("first pass %s, second %s over %d subscribers", first.Round(time.Millisecond), second.Round(time.Millisecond), o.cold)},
		})
	}
	if o.imported > 0 {
		f, err := s.importing(ctx, o, on)
		if err != nil {
			return err
		}
		figures = append(figures, f)
	}
	for _, more := range []struct {
		wanted  bool
		measure func(context.Context, options, string) ([]figure.Figure, error)
	}{{o.memory > 0, s.remembered}, {o.latency, s.latencies}, {o.growth, s.grown}} {
		if !more.wanted {
			continue
		}
		fs, err := more.measure(ctx, o, on)
		if err != nil {
			return err
		}
		figures = append(figures, fs...)
	}
	return figure.Print(os.Stdout, figures...)
}
