// Command bench measures the safeguard service on a Kafka and a Redis of its
// own, beside a bare loop that does the same reads and writes and nothing else.
// Figures go to standard output as each is measured, what happens meanwhile to
// standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
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
	// engineOnly leaves the bare loop out.
	engineOnly bool
}

// measure is one thing that is measured, of which there may be several figures.
type measure struct {
	name string
	do   func(*bed, context.Context, options) ([]figure.Figure, error)
}

// measures in their order.
var measures = []measure{
	{"throughput", (*bed).throughput},
	{"cold", (*bed).cold},
	{"import", (*bed).importing},
	{"memory", (*bed).remembered},
	{"latency", (*bed).latencies},
	{"growth", (*bed).grown},
}

func names(all []measure) (names []string) {
	for _, m := range all {
		names = append(names, m.name)
	}
	return names
}

// choose finds measures by their names.
func choose(list string) (chosen []measure, err error) {
	for _, name := range strings.Split(list, ",") {
		i := slices.IndexFunc(measures, func(m measure) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-only %s: there is no %q among %s", list, name, strings.Join(names(measures), ","))
		}
		chosen = append(chosen, measures[i])
	}
	return chosen, nil
}

func main() {
	if len(os.Args) == 5 && os.Args[1] == "answer" {
		if err := answer(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.IntVar(&o.runs, "runs", 3, "runs of which the median is printed")
	flag.IntVar(&o.partitions, "partitions", 8, "partitions of each topic")
	flag.IntVar(&o.subscribers, "subscribers", 100_000, "subscribers that use something")
	flag.IntVar(&o.events, "events", 6_000_000, "usage events in the log of each run")
	flag.DurationVar(&o.warmUp, "warm-up", 10*time.Second, "not measured, of each run")
	flag.DurationVar(&o.length, "length", 30*time.Second, "measured, of each run; less where the log ends before")
	flag.IntVar(&o.cold, "cold", 1_000_000, "subscribers of the cold pass")
	flag.IntVar(&o.imported, "imported", 1_000_000, "subscribers of the import")
	flag.IntVar(&o.memory, "memory", 1_000_000, "subscribers whose memory is measured")
	only := flag.String("only", strings.Join(names(measures), ","), "what to measure")
	flag.Parse()
	chosen, err := choose(*only)
	if err == nil && o.runs < 1 {
		err = fmt.Errorf("-runs must be at least 1, is %d", o.runs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := fleet.InFolder("tollgate-bench-", func(dir string) error { return bench(daemon.UntilSignal(), dir, o, chosen) }); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

// bed is what the benchmark runs on.
type bed struct {
	kafka, redis *fleet.Server
	dir          string
	on           string // as the servers describe themselves
}

func bench(ctx context.Context, dir string, o options, chosen []measure) (err error) {
	s := &bed{dir: dir}
	fleet.Report("building")
	if err := fleet.Build(ctx, filepath.Join(dir, "bin"), "config", "ingest", "safeguard"); err != nil {
		return err
	}
	if s.kafka, err = fleet.StartServer(ctx, fleet.Kafka, filepath.Join(dir, "kafka")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.kafka.Stop(context.WithoutCancel(ctx))) }()
	if s.redis, err = fleet.StartServer(ctx, fleet.Redis, filepath.Join(dir, "redis")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.redis.Stop(context.WithoutCancel(ctx))) }()
	if s.on, err = fleet.On(ctx, s.kafka, s.redis); err != nil {
		return err
	}
	for _, m := range chosen {
		figures, err := m.do(s, ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if err := figure.Print(os.Stdout, figures...); err != nil {
			return err
		}
	}
	return nil
}

const note = "three options, each event counts against all of them; the service and the bare loop are processes on the machine of the servers"

// throughput measures the engine and the bare loop, one after the other, a few times.
func (s *bed) throughput(ctx context.Context, o options) ([]figure.Figure, error) {
	rate := figure.Figure{Name: "safeguard.events_per_second", Unit: "events/s", Goal: 100_000, Better: "higher", On: s.on, Note: note}
	ratio := figure.Figure{Name: "safeguard.floor_ratio", Unit: "ratio", Goal: 0.9, Better: "higher", On: s.on, Note: note}
	var rates, ratios []float64
	for i := range o.runs {
		r, err := s.run(ctx, i, o)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", i+1, err)
		}
		rates, ratios = append(rates, r.engine), append(ratios, r.engine/r.bare)
		rate.Runs = append(rate.Runs, fmt.Sprintf("%.0f/s of %.0f/s bare (batches of %.0f, records of %d bytes)", r.engine, r.bare, r.batch, r.recordBytes))
		rate.Events, rate.Seconds = rate.Events+r.counted, rate.Seconds+r.seconds
	}
	rate.Value, rate.Seconds = figure.Round(figure.Median(rates)), figure.Round(rate.Seconds)
	ratio.Value, ratio.Runs = figure.Round(figure.Median(ratios)), rate.Runs
	return []figure.Figure{rate, ratio}, nil
}
