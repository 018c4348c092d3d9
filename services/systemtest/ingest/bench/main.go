// Command bench measures ingest: how many events a second it takes from Kafka (ingest.kafka_events_per_second) beside a
// bare loop that fetches the same records and publishes them again (ingest.floor_ratio), how many by one PublishStream
// (ingest.grpc_events_per_second), and how many it hands out by EventQueueService to one stream (queue.events_per_second),
// and whether a hundred streams get 500 a second each. Kafka and ingest are processes of their own, and so is the consumer
// of the queue.
//
// Each figure goes to standard output once it is measured, what happens meanwhile to standard error. A part that loses or doubles an
// event has no figure; the others are measured, and it exits 1.
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
	runs, partitions, subjects, streams int
	warmUp, length                      time.Duration
	profile                             string
}

// bed is what is measured on.
type bed struct {
	options
	*bench.Bed
}

// names of the parts.
var names = []string{"kafka", "grpc", "queue", "streams"}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 3, "runs of which the median is printed")
	flag.IntVar(&o.partitions, "partitions", 8, "partitions of each topic")
	flag.IntVar(&o.subjects, "subjects", 100_000, "subjects of the events")
	flag.IntVar(&o.streams, "streams", 100, "streams of the part with many")
	flag.DurationVar(&o.warmUp, "warm-up", 10*time.Second, "not measured, of each run")
	flag.DurationVar(&o.length, "length", 30*time.Second, "measured, of each run")
	flag.StringVar(&o.profile, "profile", "", "folder for a profile of the service in each run")
	only := flag.String("only", strings.Join(names, ","), "what to measure")
	flag.Parse()
	for _, name := range strings.Split(*only, ",") {
		if !slices.Contains(names, name) {
			fmt.Fprintf(os.Stderr, "-only %s: there is no %q among %s\n", *only, name, strings.Join(names, ","))
			os.Exit(2)
		}
	}
	if o.runs < 1 || o.partitions < 1 || o.subjects < 1 || o.streams < 1 {
		fmt.Fprintln(os.Stderr, errors.New("every number must be at least 1"))
		os.Exit(2)
	}
	if err := fleet.InFolder("tollgate-bench-", func(dir string) error { return measure(daemon.UntilSignal(), dir, o, *only) }); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, dir string, o options, only string) (err error) {
	b := &bed{options: o}
	b.Bed, err = bench.Start(ctx, dir, "ingest", o.partitions)
	defer func() { fleet.End(ctx, &err, b.Stop) }()
	if err != nil {
		return err
	}
	var parts []bench.Part
	for i, do := range []func(context.Context) error{b.kafka, b.grpc, b.queue, b.many} {
		parts = append(parts, bench.Part{Name: names[i], Wanted: slices.Contains(strings.Split(only, ","), names[i]), Limit: 15 * time.Minute, Measure: do})
	}
	return bench.Parts(ctx, parts...)
}

// prepared is an installation with a tenant and ingest running.
type prepared struct {
	*fleet.Fleet
	ingest *fleet.Member
}

func (b *bed) prepare(ctx context.Context) (*prepared, error) {
	f, err := b.Installation(ctx)
	if err != nil {
		return nil, err
	}
	p := &prepared{Fleet: f}
	if _, err = f.Configure(ctx, tenant()); err == nil {
		p.ingest, err = f.Start(ctx, "ingest")
	}
	if err == nil {
		err = p.ingest.Ready(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, bench.Close(ctx, f))
	}
	return p, nil
}

// profiled keeps a profile of the service while a run is measured, where that is wanted.
func (b *bed) profiled(ctx context.Context, m *fleet.Member, name string) (wait func() error) {
	if b.profile == "" {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() {
		raw, err := m.Profile(ctx, min(b.length, 10*time.Second))
		if err == nil {
			err = os.WriteFile(b.profile+"/"+name+".pprof", raw, 0o600)
		}
		done <- err
	}()
	return func() error { return <-done }
}
