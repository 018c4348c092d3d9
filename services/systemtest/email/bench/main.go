// Command bench measures the email service: how many messages a second it sends for one profile over kept connections
// (email.messages_per_second), beside a bare loop of the same library over as many connections (email.floor_ratio), with
// DKIM signatures (email.dkim_messages_per_second), over 1 to 100 profiles, and how long messages of healthy profiles take
// beside one whose server hangs (email.neighbour_ratio). Kafka, Redis, the service and the mail server are processes of
// their own.
//
// Each figure goes to standard output once it is measured, what happens meanwhile to standard error. A part that fails, for
// example because a message was lost or came twice though nothing was killed, has no figure; the others are measured, and it
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
	runs, partitions, connections, most int
	warmUp, length, window              time.Duration
	throughput, dkim, growth, neighbour bool
	profile                             string
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
	flag.IntVar(&o.connections, "connections", 32, "connections of the one profile, and of the bare loop")
	flag.IntVar(&o.most, "most", 10_000, "messages planned for each second of a run; where all are sent before, the run ends")
	flag.DurationVar(&o.warmUp, "warm-up", 3*time.Second, "not measured, of each run")
	flag.DurationVar(&o.length, "length", 10*time.Second, "measured, of each run")
	flag.DurationVar(&o.window, "window", 20*time.Second, "length of a window beside the profile that hangs, and of one alone")
	flag.BoolVar(&o.throughput, "throughput", true, "measure messages a second and the bare loop")
	flag.BoolVar(&o.dkim, "dkim", true, "measure messages a second with DKIM signatures")
	flag.BoolVar(&o.growth, "growth", true, "measure over 1, 10 and 100 profiles")
	flag.BoolVar(&o.neighbour, "neighbour", true, "measure beside a profile that hangs")
	flag.StringVar(&o.profile, "profile", "", "a file for the service's processor profile of each measured run")
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
	b.Bed, err = bench.Start(ctx, dir, "email", o.partitions)
	defer func() { fleet.End(ctx, &err, b.Stop) }()
	if err != nil {
		return err
	}
	if b.receiver, err = startReceiver(ctx); err != nil {
		return err
	}
	b.AtEnd(b.receiver.stop)
	return bench.Parts(ctx,
		bench.Part{Name: "throughput", Wanted: o.throughput, Limit: 5 * time.Minute, Measure: b.compared},
		bench.Part{Name: "dkim", Wanted: o.dkim, Limit: 2 * time.Minute, Measure: b.signed},
		bench.Part{Name: "growth", Wanted: o.growth, Limit: 3 * time.Minute, Measure: b.grown},
		bench.Part{Name: "neighbour", Wanted: o.neighbour, Limit: 2*time.Minute + 2*time.Duration(o.runs)*(o.window+10*time.Second), Measure: b.neighbours},
	)
}
