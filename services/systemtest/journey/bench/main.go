// Command bench measures how long an event takes from the producer that sends it to the webhook about it, over every
// service as a process of its own, on a Kafka and a Redis of its own. Figures go to standard output, what happens
// meanwhile to standard error. It exits 1 without a figure where an event was lost, refused, or notified twice.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// options of a whole benchmark.
type options struct {
	runs, partitions, subscribers, rate int
	warmUp, length                      time.Duration
	direct                              bool
}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 3, "runs of which the median is printed")
	flag.IntVar(&o.partitions, "partitions", 8, "partitions of each topic")
	flag.IntVar(&o.subscribers, "subscribers", 10_000, "subscribers that use something")
	flag.IntVar(&o.rate, "rate", 1000, "events a second")
	flag.DurationVar(&o.warmUp, "warm-up", 10*time.Second, "not measured, of each run")
	flag.DurationVar(&o.length, "length", 30*time.Second, "measured, of each run")
	flag.BoolVar(&o.direct, "direct", false, "webhooks are about the usage itself, past safeguard, not about its outcome")
	flag.Parse()
	if err := fleet.InFolder("tollgate-bench-", func(dir string) error { return bench(daemon.UntilSignal(), dir, o) }); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, dir string, o options) (err error) {
	fleet.Report("building")
	binaries := filepath.Join(dir, "bin")
	if err := fleet.Build(ctx, binaries, "config", "ingest", "safeguard", "trigger", "webhook"); err != nil {
		return err
	}
	kafka, err := fleet.StartServer(ctx, fleet.Kafka, filepath.Join(dir, "kafka"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kafka.Stop(context.WithoutCancel(ctx))) }()
	redis, err := fleet.StartServer(ctx, fleet.Redis, filepath.Join(dir, "redis"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, redis.Stop(context.WithoutCancel(ctx))) }()
	on, err := fleet.On(ctx, kafka, redis)
	if err != nil {
		return err
	}

	j, err := open(ctx, o, fleet.Config{
		Brokers: []string{kafka.Address()}, Redis: redis.Address(), Dir: filepath.Join(dir, "fleet"), Partitions: o.partitions, Binaries: binaries,
	})
	if j != nil {
		defer func() { err = errors.Join(err, j.close(context.WithoutCancel(ctx))) }()
	}
	if err != nil {
		return err
	}
	var p50s, p99s []float64
	var runs []string
	events := 0
	for i := range o.runs {
		r, err := j.run(ctx, i)
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		p50s, p99s = append(p50s, r.sent.p50), append(p99s, r.sent.p99)
		events += r.events
		runs = append(runs, fmt.Sprintf("p50 %.2f p99 %.2f ms; since the answer p50 %.2f p99 %.2f ms; longest %.1f ms", r.sent.p50, r.sent.p99, r.answered.p50, r.answered.p99, r.sent.longest))
		fleet.Report("run %d: %s", i+1, runs[i])
	}
	path := "safeguard's outcome: ingest, safeguard, trigger, webhook"
	if o.direct {
		path = "the usage itself: ingest, trigger, webhook"
	}
	note := fmt.Sprintf("%d events/s by PublishStream, one webhook each, of %s; taken from the producer's sending, so that ingest's own part is in it, to the receiver's having read the request; "+
		"producer and receiver are one process beside the five services, on the machine of the servers", o.rate, path)
	figures := []figure.Figure{
		{Name: "webhook.latency_p50_ms", Value: figure.Round(figure.Median(p50s)), Goal: 5},
		{Name: "webhook.latency_p99_ms", Value: figure.Round(figure.Median(p99s)), Goal: 20},
	}
	for i := range figures {
		f := &figures[i]
		f.Unit, f.Better, f.On, f.Note, f.Events, f.Seconds, f.Runs = "ms", "lower", on, note, int64(events), float64(o.runs)*o.length.Seconds(), runs
	}
	return figure.Print(os.Stdout, figures...)
}
