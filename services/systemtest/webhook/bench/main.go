// Command bench measures the webhook service: how many deliveries a second it makes beside a bare loop that fetches, signs,
// posts, and records the same (webhook.deliveries_per_second, webhook.floor_ratio), what that takes of the processor over 1 to
// 10,000 endpoints, how long the deliveries of healthy endpoints take beside endpoints that misbehave
// (webhook.neighbour_ratio), what deliveries that wait take of Redis and of the heap, and how long a lost Redis keeps it
// from sending (webhook.recovery_seconds). Kafka, Redis, the service and the receiver are processes of their own.
//
// Each figure goes to standard output once it is measured, what happens meanwhile to standard error. A part that fails, for
// example because a delivery was lost or came twice though nothing was killed, has no figure; the others are measured, and it
// exits 1.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// options of a whole benchmark.
type options struct {
	runs, partitions, endpoints, connections, most     int
	warmUp, length, window, history                    time.Duration
	growth, neighbour, throughput, waiting, recovering bool
	waitingReferences, waitingBehind                   int
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == bench.Receive {
		if err := receive(daemon.UntilSignal()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.IntVar(&o.runs, "runs", 3, "runs of which the median is printed")
	flag.IntVar(&o.partitions, "partitions", 8, "partitions of each topic")
	flag.IntVar(&o.endpoints, "endpoints", 32, "endpoints, of the measured throughput")
	flag.IntVar(&o.connections, "connections", 256, "connections in all, of the measured throughput")
	flag.IntVar(&o.most, "most", 16_000, "deliveries planned for each second of a run; where all are made before, the run ends")
	flag.DurationVar(&o.warmUp, "warm-up", 3*time.Second, "not measured, of each run")
	flag.DurationVar(&o.length, "length", 8*time.Second, "measured, of each run")
	flag.DurationVar(&o.window, "window", time.Minute, "length of a window beside misbehaving endpoints, and of one alone")
	flag.BoolVar(&o.throughput, "throughput", true, "measure deliveries a second and the bare loop")
	flag.BoolVar(&o.growth, "growth", true, "measure over 1, 10, 1,000 and 10,000 endpoints")
	flag.BoolVar(&o.neighbour, "neighbour", true, "measure beside misbehaving endpoints")
	flag.BoolVar(&o.waiting, "waiting", true, "measure what deliveries that wait take")
	flag.IntVar(&o.waitingReferences, "waiting-references", 1_000_000, "deliveries that wait, of that part")
	flag.IntVar(&o.waitingBehind, "waiting-behind", 10_000_000, "deliveries to the endpoint that is behind, of that part")
	flag.BoolVar(&o.recovering, "recovery", true, "measure how long it takes until deliveries are sent again after Redis was lost")
	flag.DurationVar(&o.history, "history", 75*time.Second, "how long deliveries come before, of that part; a snapshot is written after a minute")
	flag.Parse()
	if err := fleet.InFolder("tollgate-bench-", func(dir string) error { return measure(daemon.UntilSignal(), dir, o) }); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

// bed is what is measured on.
type bed struct {
	options
	*bench.Bed
	receiver *receiver
}

func measure(ctx context.Context, dir string, o options) (err error) {
	b := &bed{options: o}
	b.Bed, err = bench.Start(ctx, dir, "webhook", o.partitions)
	defer func() { fleet.End(ctx, &err, b.Stop) }()
	if err != nil {
		return err
	}
	if b.receiver, err = startReceiver(ctx); err != nil {
		return err
	}
	b.AtEnd(b.receiver.stop)
	return bench.Parts(ctx,
		bench.Part{Name: "throughput", Wanted: o.throughput, Limit: 5 * time.Minute, Measure: b.throughput},
		bench.Part{Name: "growth", Wanted: o.growth, Limit: 5 * time.Minute, Measure: b.growth},
		bench.Part{Name: "neighbour", Wanted: o.neighbour, Limit: 2*time.Minute + 2*time.Duration(o.runs)*(o.window+10*time.Second), Measure: b.neighbour},
		bench.Part{Name: "waiting", Wanted: o.waiting, Limit: 8 * time.Minute, Measure: b.held},
		bench.Part{Name: "recovery", Wanted: o.recovering, Limit: 3*time.Minute + o.history, Measure: b.recovery},
	)
}
