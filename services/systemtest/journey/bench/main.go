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
	direct, climb                       bool
	profiles                            string
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
	flag.BoolVar(&o.climb, "climb", true, "more and more events a second after that, until the p99 is too long")
	flag.StringVar(&o.profiles, "profiles", "", "a `folder` for a profile of each service, of ten seconds of each run")
	flag.Parse()
	if err := fleet.InFolder("tollgate-bench-", func(dir string) error { return measure(daemon.UntilSignal(), dir, o) }); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, dir string, o options) (err error) {
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
	j.measured = append(j.measured, measured{"kafka", kafka}, measured{"redis", redis})
	var p50s, p99s, costs, floors []float64
	var runs, bares []string
	events := 0
	for i := range o.runs {
		r, err := j.run(ctx, i, load{o.rate, o.warmUp, o.length})
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		p50s, p99s = append(p50s, r.sent.p50), append(p99s, r.sent.p99)
		costs = append(costs, r.cost())
		events += r.events
		runs = append(runs, r.String())
		fleet.Report("run %d: %s", i+1, runs[i])
		if r, err = j.bare(ctx, i, load{o.rate, o.warmUp, o.length}); err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		floors = append(floors, r.cost())
		bares = append(bares, fmt.Sprintf("p50 %.2f p99 %.2f ms; %s", r.sent.p50, r.sent.p99, r.perEvent))
		fleet.Report("run %d, bare: %s", i+1, bares[i])
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
	figures = append(figures, figure.Figure{
		Name: "journey.cpu_us_per_event", Value: figure.Round(figure.Median(costs)), Unit: "us", Goal: 1000, Better: "lower", On: on,
		Note: "processor time of five services, Kafka, Redis, and of producer and receiver; " + note, Events: int64(events), Runs: runs,
	}, figure.Figure{
		Name: "journey.bare_cpu_us_per_event", Value: figure.Round(figure.Median(floors)), Unit: "us", Better: "lower", On: on,
		Note:   fmt.Sprintf("a bare loop after each run: %d records/s of %d bytes, written, and read and written again %d times by clients of their own in the producer's process, and nothing else", o.rate, bareBytes, hops),
		Events: int64(events), Runs: bares,
	})
	if o.climb {
		f, err := j.climb(ctx, o.runs)
		if err != nil {
			return err
		}
		f.On = on
		figures = append(figures, f)
	}
	return figure.Print(os.Stdout, figures...)
}

// longestP99 is where the climb ends, in milliseconds.
const longestP99 = 250

// climb sends more and more events a second.
func (j *journey) climb(ctx context.Context, number int) (figure.Figure, error) {
	f := figure.Figure{
		Name: "journey.events_per_second_max", Unit: "events/s", Goal: 8000, Better: "higher",
		Note: fmt.Sprintf("the last of 100, 200, 500, 1,000, 2,000, 3,000, 4,000, 6,000, 8,000 whose p99 was at most %d ms, 15 s each; the whole journey on the machine of the servers", longestP99),
	}
	for i, rate := range []int{100, 200, 500, 1000, 2000, 3000, 4000, 6000, 8000} {
		r, err := j.run(ctx, number+i, load{rate, 5 * time.Second, 15 * time.Second})
		if errors.Is(err, errBusy) {
			f.Runs = append(f.Runs, fmt.Sprintf("%d/s: %v", rate, err))
			break
		}
		if err != nil {
			return f, fmt.Errorf("%d events/s: %w", rate, err)
		}
		f.Runs = append(f.Runs, fmt.Sprintf("%d/s: %s", rate, r))
		fleet.Report("%s", f.Runs[i])
		if r.sent.p99 > longestP99 {
			break
		}
		f.Value, f.Events, f.Seconds = float64(rate), int64(r.events), 15
	}
	return f, nil
}

// cost is the processor time of an event, in microseconds.
func (r *result) cost() float64 { return float64(r.used.all().Microseconds()) / float64(r.events) }

func (r *result) String() string {
	return fmt.Sprintf("p50 %.2f p99 %.2f ms; since the answer p50 %.2f p99 %.2f ms; longest %.1f ms; %s",
		r.sent.p50, r.sent.p99, r.answered.p50, r.answered.p99, r.sent.longest, r.perEvent)
}
