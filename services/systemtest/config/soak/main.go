// Command soak kills two replicas of the config service, and their PostgreSQL, Kafka and Redis and the services that follow
// them, at random moments, and lets a replica stand still in whatever it does, while resources change through both and consumers
// subscribe to the event queue. After each minute nothing is killed, everything that was answered, watched and read is compared
// with what stands, and every subscription gets every event.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
	"github.com/tollgate/tollgate/services/systemtest/queue/consumers"
)

func main() {
	length, seed, err := kills.Options()
	if err == nil {
		err = fleet.InFolder("tollgate-soak-", func(dir string) error { return run(daemon.UntilSignal(), dir, length, seed) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak failed:", err)
		os.Exit(1)
	}
}

const (
	// between is how long it goes on between two quiet points.
	between = time.Minute
	// patience bounds what a quiet point waits for; it only ends runs that are stuck.
	patience   = 2 * time.Minute
	partitions = 4
)

// bed is two replicas of config on one PostgreSQL, and two of each service that follows them, one of either.
type bed struct {
	kafka, redis, postgres *fleet.Server
	fleet                  *fleet.Fleet
	replicas, followers    []*fleet.Member
	// ingest are those of the followers that serve the event queue.
	ingest []*fleet.Member
}

func open(ctx context.Context, dir string) (b *bed, err error) {
	b = &bed{}
	fleet.Report("building")
	binaries := filepath.Join(dir, "bin")
	if err := fleet.Build(ctx, binaries, "config", "trigger", "webhook", "ingest"); err != nil {
		return b, err
	}
	for kind, server := range map[string]**fleet.Server{fleet.Kafka: &b.kafka, fleet.Redis: &b.redis, fleet.Postgres: &b.postgres} {
		if *server, err = fleet.StartServer(ctx, kind, filepath.Join(dir, kind)); err != nil {
			return b, err
		}
	}
	if b.fleet, err = fleet.Open(ctx, fleet.Config{
		Brokers: []string{b.kafka.Address()}, Redis: b.redis.Address(), Postgres: b.postgres.Address(),
		Dir: filepath.Join(dir, "fleet"), Partitions: partitions, Binaries: binaries,
	}); err != nil {
		return b, err
	}
	for range 2 {
		m, err := b.fleet.Start(ctx, "config")
		if err != nil {
			return b, err
		}
		b.replicas = append(b.replicas, m)
	}
	for _, name := range []string{"trigger", "trigger", "webhook", "webhook", "ingest", "ingest"} {
		m, err := b.fleet.Start(ctx, name)
		if err != nil {
			return b, err
		}
		if b.followers = append(b.followers, m); name == "ingest" {
			b.ingest = append(b.ingest, m)
		}
	}
	return b, nil
}

func (b *bed) close(ctx context.Context) error {
	var faults []error
	if b.fleet != nil {
		faults = append(faults, b.fleet.Close(ctx))
	}
	for _, s := range []*fleet.Server{b.redis, b.kafka, b.postgres} {
		if s != nil {
			faults = append(faults, s.Stop(ctx))
		}
	}
	return errors.Join(faults...)
}

func (b *bed) ready(ctx context.Context) error {
	for _, m := range append(b.replicas[:2:2], b.followers...) {
		if err := m.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, dir string, length time.Duration, seed uint64) (err error) {
	fleet.Report("killing for %s, SEED=%d", length, seed)
	b, err := open(ctx, dir)
	defer func() { fleet.End(ctx, &err, b.close) }()
	if err != nil {
		return err
	}
	c, err := newCheck(b)
	if err != nil {
		return err
	}
	watching, ended := context.WithCancel(ctx)
	defer c.watch(watching)()
	defer ended()
	writers, err := newWriters(ctx, b, c, seed)
	if err != nil {
		return err
	}
	// Each replica of ingest asks one of config: both have the tenant before it is subscribed to.
	if _, err := c.same(ctx); err != nil {
		return err
	}
	if err := b.ready(ctx); err != nil {
		return err
	}
	queue := consumers.New(b.fleet, b.ingest, strings.TrimPrefix(tenant, "tenants/"), seed)
	stop := queue.Start(ctx)
	k, began := kills.New(seed), time.Now()
	// The first round kills nothing.
	if err := round(ctx, b, c, writers, queue, between/6, func(_, _ context.Context) error { return nil }); err != nil {
		return err
	}
	if n := writers.unanswered(); n > 0 {
		return fmt.Errorf("%d changes were not answered before anything was killed", n)
	}
	for left := length; left > 0 && !c.wrong(); left -= between {
		err := round(ctx, b, c, writers, queue, min(left, between), func(ctx, stretch context.Context) error { return disturb(ctx, stretch, b, k) })
		if err != nil {
			return err
		}
	}
	if err := stop(); err != nil {
		return err
	}
	return show(ctx, b, c, writers, queue, k, time.Since(began), seed)
}

// round changes resources and disturbs for a while, waits until every service is at the same revision, and compares.
func round(ctx context.Context, b *bed, c *check, w *writers, queue *consumers.Group, length time.Duration, kill func(ctx, stretch context.Context) error) error {
	stretch, done := context.WithTimeout(ctx, length)
	defer done()
	if err := kills.Together(
		func() error { return w.run(ctx, stretch) }, func() error { return queue.Publish(ctx, stretch) }, func() error { return kill(ctx, stretch) },
	); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fleet.Report("%d changes, %d of them not answered; %d events; quiet now", c.number(), w.unanswered(), queue.Published())
	quiet, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := b.ready(quiet); err != nil {
		return err
	}
	if err := w.settle(quiet); err != nil {
		return err
	}
	if err := c.compare(quiet); err != nil {
		return err
	}
	return queue.Await(ctx, patience)
}

// disturb kills until stretch ends, and leaves everything running.
func disturb(ctx, stretch context.Context, b *bed, k *kills.Kills) error {
	for pause.For(stretch, k.Between(500*time.Millisecond, 5*time.Second)) {
		err := k.Choose(ctx,
			kills.Choice{Weight: 10, Do: func(ctx context.Context) error { return k.Stall(ctx, k.One(b.replicas)) }},
			kills.Choice{Weight: 40, Do: func(ctx context.Context) error { return k.Member(ctx, "config", k.One(b.replicas)) }},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return k.All(ctx, "config", b.replicas) }},
			kills.Choice{Weight: 22, Do: func(ctx context.Context) error { return k.Server(ctx, "postgres", b.postgres) }},
			kills.Choice{Weight: 6, Do: func(ctx context.Context) error { return k.Server(ctx, "redis", b.redis) }},
			kills.Choice{Weight: 6, Do: func(ctx context.Context) error { return k.Server(ctx, "kafka", b.kafka) }},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return k.Member(ctx, "follower", k.One(b.followers)) }},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func show(ctx context.Context, b *bed, c *check, w *writers, queue *consumers.Group, k *kills.Kills, took time.Duration, seed uint64) error {
	for _, line := range c.examples {
		fleet.Report("%s", line)
	}
	total := k.Total()
	if total == 0 && !c.wrong() {
		return errors.New("nothing was killed: give it a longer time by FOR")
	}
	got, err := queue.Result(ctx)
	if err != nil {
		return err
	}
	on, err := fleet.On(ctx, b.kafka, b.redis)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("killed with -9: %s; seed %d; two replicas of config on PostgreSQL, two of trigger, of webhook and of ingest that follow them; %d changes, %d of them not answered; watchers received %d heads; %d subscriptions of %d events, %d sendings received, %d given up",
		k, seed, c.number(), w.unanswered(), c.received(), consumers.Subscriptions, queue.Published(), got.Received, got.GivenUp)
	of := figure.Figure{Name: "soak.config.", Note: note, On: on, Kills: &total, Events: int64(c.number()), Seconds: figure.Round(took.Seconds())}
	figures := figure.Counted(of, figure.Counts{Lost: c.lost, Doubled: c.doubled, OutOfOrder: c.outOfOrder})
	of.Name += "queue_"
	return figure.PrintUnbroken(append(figures, figure.Counted(of, figure.Counts{Lost: got.Lost, Doubled: got.Doubled, OutOfOrder: got.OutOfOrder})...)...)
}
