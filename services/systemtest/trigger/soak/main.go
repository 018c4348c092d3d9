// Command soak kills replicas of the trigger service, and their Redis, Kafka and config, at random moments, and lets replicas
// stand still past their fence, while events of a hundred subscribers come in under rules of every kind that keeps a state:
// crossing, depleted, restored, thresholds, delays that are renewed, cancelled and repeated, absence, caps. Log time runs an hour a second,
// so that days of a delay pass. After each minute nothing is killed, and what was planned and decided is compared with an
// independent model of the log.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
	"github.com/tollgate/tollgate/services/systemtest/soak"
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

// between is how long it goes on between two quiet points.
const between = time.Minute

func run(ctx context.Context, dir string, length time.Duration, seed uint64) (err error) {
	fleet.Report("seed %d", seed)
	b, err := soak.Open(ctx, dir, ahead, "trigger")
	defer func() { fleet.End(ctx, &err, b.Close) }()
	if err != nil {
		return err
	}
	if err := configure(ctx, b); err != nil {
		return err
	}
	t := &traffic{bed: b, rand: rand.New(rand.NewPCG(seed, 3)), now: time.Now().UTC().Truncate(time.Millisecond)}
	c, k, began := newCheck(b.Fleet), kills.New(seed), time.Now()
	// The first round kills nothing.
	if err := round(ctx, b, t, c, between/4, func(_, _ context.Context) error { return nil }); err != nil {
		return err
	}
	if c.repeats > 0 {
		return fmt.Errorf("%d deliveries and decisions were published twice before anything was killed", c.repeats)
	}
	for left := length; left > 0 && !c.wrong(); left -= between {
		err := round(ctx, b, t, c, min(left, between), func(ctx, stretch context.Context) error { return disturb(ctx, stretch, b, k) })
		if err != nil {
			return err
		}
	}
	return show(ctx, b, t, c, k, time.Since(began), seed)
}

// ahead lets the broker take records of a time to come: log time runs faster than the clock.
func ahead(topics []stream.TopicSpec) {
	for i := range topics {
		topics[i].Config["message.timestamp.after.max.ms"] = "9223372036854775807"
	}
}

// round lets events come in and disturbs for a while, waits until everything is worked, and compares.
func round(ctx context.Context, b *soak.Bed, t *traffic, c *check, length time.Duration, kill func(ctx, stretch context.Context) error) error {
	stretch, done := context.WithTimeout(ctx, length)
	defer done()
	if err := kills.Together(func() error { return t.run(ctx, stretch) }, func() error { return kill(ctx, stretch) }); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fleet.Report("%d events, log time %s; quiet now", t.events, t.now.Format(time.DateTime))
	if err := b.Ready(ctx); err != nil {
		return err
	}
	return c.rests(ctx)
}

// disturb kills until stretch ends, and leaves everything running.
func disturb(ctx, stretch context.Context, b *soak.Bed, k *kills.Kills) error {
	for pause.For(stretch, k.Between(500*time.Millisecond, 8*time.Second)) {
		err := k.Choose(ctx,
			kills.Choice{Weight: 12, Do: func(ctx context.Context) error { return k.Stall(ctx, k.One(b.Replicas)) }},
			kills.Choice{Weight: 46, Do: func(ctx context.Context) error { return k.Member(ctx, "replica", k.One(b.Replicas)) }},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return k.All(ctx, "replica", b.Replicas) }},
			kills.Choice{Weight: 14, Do: func(ctx context.Context) error { return k.Server(ctx, "redis", b.Redis) }},
			kills.Choice{Weight: 12, Do: func(ctx context.Context) error { return k.Server(ctx, "kafka", b.Kafka) }},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return k.Member(ctx, "config", b.Config) }},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func show(ctx context.Context, b *soak.Bed, t *traffic, c *check, k *kills.Kills, took time.Duration, seed uint64) error {
	for _, line := range c.examples {
		fleet.Report("%s", line)
	}
	total := k.Total()
	if total == 0 && !c.wrong() {
		return errors.New("nothing was killed: give it a longer time by FOR")
	}
	if missing := c.missing(); len(missing) > 0 && !c.wrong() {
		return fmt.Errorf("the run shows nothing of %v", missing)
	}
	on, err := fleet.On(ctx, b.Kafka, b.Redis)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("killed with -9: %s; seed %d; two replicas; %d events; as the model of the log has them: %s; %d published again after a crash",
		k, seed, t.events, c, c.repeats)
	return figure.PrintUnbroken(figure.Counted(figure.Figure{
		Name: "soak.trigger.", Note: note, On: on, Kills: &total, Events: int64(t.events), Seconds: figure.Round(took.Seconds()),
	}, figure.Counts{Lost: c.lost, Doubled: c.doubled, OutOfOrder: c.outOfOrder})...)
}
