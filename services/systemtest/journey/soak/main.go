// Command soak kills replicas of ingest, safeguard, trigger and webhook, and config, Redis and the broker, at random moments,
// while events go the whole way: each brings its subscriber to the limit or back from it, safeguard publishes that, trigger plans a
// webhook about it, and a receiver verifies it. After each minute nothing is killed, and what the receiver got is compared with
// what was sent: one webhook about each event, in the order of its subscriber.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

// between is how long it goes on between two quiet points.
const between = time.Minute

func main() { soak.Run(run, services...) }

func run(ctx context.Context, b *soak.Bed, length time.Duration, seed uint64) error {
	s := &journeySoak{bed: b, kills: kills.New(seed), check: newCheck()}
	var err error
	if s.traffic, err = openTraffic(ctx, b, s.check, seed); err != nil {
		return err
	}
	b.AtEnd(s.traffic.close)
	return s.whole(ctx, length, seed)
}

// services are on the way of an event, in its order.
var services = []string{"ingest", "safeguard", "trigger", "webhook"}

type journeySoak struct {
	bed     *soak.Bed
	kills   *kills.Kills
	check   *check
	traffic *traffic
}

func (s *journeySoak) whole(ctx context.Context, length time.Duration, seed uint64) error {
	if err := s.round(ctx, between/4, func(_, _ context.Context) error { return nil }); err != nil {
		return err
	}
	if n := s.check.repeated(); n > 0 {
		return fmt.Errorf("%d webhooks came again before anything was killed", n)
	}
	began := time.Now()
	for left := length; left > 0 && !s.check.wrong(); left -= between {
		if err := s.round(ctx, min(left, between), s.kill); err != nil {
			return err
		}
	}
	return s.print(ctx, time.Since(began), seed)
}

// round disturbs for a while, then lets everything go on and waits for every webhook.
func (s *journeySoak) round(ctx context.Context, length time.Duration, kill func(ctx, stretch context.Context) error) error {
	stretch, done := context.WithTimeout(ctx, length)
	defer done()
	if err := kills.Together(
		func() error { return s.traffic.run(ctx, stretch) },
		func() error { return kill(ctx, stretch) },
	); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fleet.Report("%d events sent; %s; quiet now", s.check.expected(), s.kills)
	if err := s.bed.Ready(ctx); err != nil {
		return err
	}
	return s.check.rests(ctx)
}

// kill disturbs until stretch ends, and leaves everything running.
func (s *journeySoak) kill(ctx, stretch context.Context) error {
	k := s.kills
	one := kills.Choice{Weight: 50, Do: func(ctx context.Context) error {
		m := k.One(s.bed.Replicas)
		return k.Member(ctx, kind(m), m)
	}}
	for pause.For(stretch, k.Between(500*time.Millisecond, 8*time.Second)) {
		err := k.Choose(ctx, one,
			kills.Choice{Weight: 10, Do: func(ctx context.Context) error { return k.Stall(ctx, k.One(s.bed.Replicas)) }},
			kills.Choice{Weight: 10, Do: func(ctx context.Context) error {
				of := kind(k.One(s.bed.Replicas))
				return k.All(ctx, of, s.replicas(of))
			}},
			kills.Choice{Weight: 12, Do: func(ctx context.Context) error { return k.Server(ctx, "redis", s.bed.Redis) }},
			kills.Choice{Weight: 10, Do: func(ctx context.Context) error { return k.Server(ctx, "kafka", s.bed.Kafka) }},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return k.Member(ctx, "config", s.bed.Config) }},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// kind is the service that a member is a replica of.
func kind(m *fleet.Member) string {
	name, _, _ := strings.Cut(m.Name, "-")
	return name
}

func (s *journeySoak) replicas(of string) (all []*fleet.Member) {
	for _, m := range s.bed.Replicas {
		if kind(m) == of {
			all = append(all, m)
		}
	}
	return all
}

func (s *journeySoak) print(ctx context.Context, took time.Duration, seed uint64) error {
	for _, line := range s.check.examples {
		fleet.Report("%s", line)
	}
	total := s.kills.Total()
	if total == 0 && !s.check.wrong() {
		return errors.New("nothing was killed: give it a longer time by FOR")
	}
	on, err := fleet.On(ctx, s.bed.Kafka, s.bed.Redis)
	if err != nil {
		return err
	}
	return figure.PrintUnbroken(figure.Counted(figure.Figure{
		Name: "soak.journey.", On: on, Kills: &total, Events: int64(s.check.expected()), Seconds: figure.Round(took.Seconds()),
		Note: fmt.Sprintf("killed with -9: %s; seed %d; two replicas of %s; %d webhooks came again under their id", s.kills, seed, strings.Join(services, ", "), s.check.repeated()),
	}, figure.Counts{Lost: s.check.lost, Doubled: s.check.doubled, OutOfOrder: s.check.outOfOrder})...)
}
