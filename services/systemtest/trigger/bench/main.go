// Command bench measures the trigger service: how long it takes to have ten thousand notifications
// (trigger.config_load_seconds), how many events a second it matches with a hundred (trigger.events_per_second), what an
// event takes of the processor with ten thousand beside one (trigger.rules_ratio), how fast a rule is whose state each event
// changes beside a bare loop (trigger.stateful_ratio), what a state takes of Redis (trigger.armed_bytes), and how many
// records a second a dry run reads (trigger.dry_run_events_per_second). Kafka, Redis and the service are processes of their own.
//
// Each figure goes to standard output once it is measured, what happens meanwhile to standard error. A part that plans other
// deliveries than its events lead to, or reads less than all of them, has no figure; the others are measured, and it exits 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// options of a whole benchmark.
type options struct {
	runs, partitions, events, subjects, notifications, armed int
	warmUp, length                                           time.Duration
}

// bed is what is measured on.
type bed struct {
	options
	*bench.Bed
}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 3, "runs of which the median is printed")
	flag.IntVar(&o.partitions, "partitions", 8, "partitions of each topic")
	flag.IntVar(&o.events, "events", 5_000_000, "events of each run; three fifths of them of a dry run, and where the processor's time is measured")
	flag.IntVar(&o.subjects, "subjects", 100_000, "subjects of the events")
	flag.IntVar(&o.notifications, "notifications", 10_000, "notifications, of the parts with many")
	flag.IntVar(&o.armed, "armed", 1_000_000, "subjects whose memory is measured")
	flag.DurationVar(&o.warmUp, "warm-up", 10*time.Second, "not measured, of each run")
	flag.DurationVar(&o.length, "length", 30*time.Second, "measured, of each run; less where the log ends before")
	only := flag.String("only", strings.Join(names, ","), "what to measure")
	flag.Parse()
	if err := o.check(*only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := fleet.InFolder("tollgate-bench-", func(dir string) error { return measure(daemon.UntilSignal(), dir, o, *only) }); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

// names of the parts.
var names = []string{"throughput", "stateful", "rules", "armed", "dry-run"}

func (o options) check(only string) error {
	for _, name := range strings.Split(only, ",") {
		if !slices.Contains(names, name) {
			return fmt.Errorf("-only %s: there is no %q among %s", only, name, strings.Join(names, ","))
		}
	}
	if o.runs < 1 || o.partitions < 1 || o.events < 1 || o.subjects < 1 || o.notifications < 1 || o.armed < 1 {
		return errors.New("every number must be at least 1")
	}
	return nil
}

func measure(ctx context.Context, dir string, o options, only string) (err error) {
	b := &bed{options: o}
	b.Bed, err = bench.Start(ctx, dir, "trigger", o.partitions)
	defer func() { fleet.End(ctx, &err, b.Stop) }()
	if err != nil {
		return err
	}
	var parts []bench.Part
	for i, do := range []func(context.Context) error{b.throughput, b.stateful, b.rules, b.remembered, b.dryRuns} {
		parts = append(parts, bench.Part{Name: names[i], Wanted: slices.Contains(strings.Split(only, ","), names[i]), Limit: 15 * time.Minute, Measure: do})
	}
	return bench.Parts(ctx, parts...)
}
