// Command soak kills replicas of provision, their Redis, their broker and config at random moments, while actions are decided and
// events arrive. Callers repeat each action under its key until it is answered, and some again afterwards; handlers fail now and
// then. After each minute everything is mended, and what callers and handlers got is compared with the log in the end: no action
// that was answered is lost or published under two ids, no handler is asked again about a settled key, each event that arrived is
// asked about under one id, and events of a subject are in their order.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

const (
	tenant = "soak"
	// between is how long it goes on between two quiet points.
	between = time.Minute
	// patience bounds what a quiet point waits for; it only ends runs that are stuck.
	patience = 3 * time.Minute
)

func main() { soak.Run(run, "provision") }

func run(ctx context.Context, b *soak.Bed, length time.Duration, seed uint64) error {
	s := &provisionSoak{bed: b, kills: kills.New(seed), check: newCheck()}
	var err error
	if s.handlers, err = startHandlers(ctx, s.check, seed); err != nil {
		return err
	}
	b.AtEnd(s.handlers.close)
	return s.whole(ctx, length, seed)
}

type provisionSoak struct {
	bed      *soak.Bed
	kills    *kills.Kills
	check    *check
	handlers *handlers
}

// hooks are two that are asked about actions, and two that are asked about events that arrive, of which one is slow.
func (s *provisionSoak) hooks() []*configv1.Hook {
	hook := func(id string, priority, concurrency int32, types ...string) *configv1.Hook {
		return &configv1.Hook{
			Name: "tenants/" + tenant + "/hooks/" + id, EventTypes: types, Priority: priority, Concurrency: concurrency,
			FailurePolicy: configv1.FailurePolicy_FAILURE_POLICY_FORBID,
			Handler:       &configv1.Hook_Http{Http: &configv1.HttpHandler{Url: s.handlers.url(id)}},
		}
	}
	return []*configv1.Hook{
		hook("first", 1, 64, typeAction), hook("second", 2, 64, typeAction), hook(quick, 1, 32, typeArrives), hook(slow, 1, 4, typeArrives),
	}
}

func (s *provisionSoak) whole(ctx context.Context, length time.Duration, seed uint64) error {
	if _, err := s.bed.Fleet.Configure(ctx, &configv1.Tenant{Name: "tenants/" + tenant, DisplayName: "Soak", Outbound: s.handlers.policy()}); err != nil {
		return err
	}
	for _, h := range s.hooks() {
		if _, err := s.bed.Fleet.Configure(ctx, h); err != nil {
			return err
		}
	}
	if err := s.bed.Ready(ctx); err != nil {
		return err
	}
	t := newTraffic(s.bed, s.check, seed)
	if err := t.inForce(ctx); err != nil {
		return err
	}
	began := time.Now()
	for left := length; left > 0; left -= between {
		if err := s.round(ctx, t, min(left, between)); err != nil {
			return err
		}
	}
	return s.print(ctx, time.Since(began), seed)
}

// round disturbs for a while, then mends everything and waits until all is answered and asked about.
func (s *provisionSoak) round(ctx context.Context, t *traffic, length time.Duration) error {
	stretch, done := context.WithTimeout(ctx, length)
	defer done()
	bounded, cancel := context.WithTimeout(ctx, length+patience)
	defer cancel()
	if err := kills.Together(
		func() error { return t.decide(bounded, stretch) },
		func() error { return t.publish(bounded, stretch) },
		func() error { return s.kill(ctx, stretch) },
	); err != nil {
		return err
	}
	fleet.Report("%s; %s; quiet now", s.check, s.kills)
	if err := s.bed.Ready(ctx); err != nil {
		return err
	}
	for began := time.Now(); s.check.missing() > 0; {
		if time.Since(began) > patience { // the figures have what is lost
			fleet.Report("%d events are not asked about after %s", s.check.missing(), patience)
			return nil
		}
		if !pause.For(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// kill disturbs until stretch ends, and leaves everything running.
func (s *provisionSoak) kill(ctx, stretch context.Context) error {
	for pause.For(stretch, s.kills.Between(500*time.Millisecond, 5*time.Second)) {
		err := s.kills.Choose(ctx,
			kills.Choice{Weight: 44, Do: func(ctx context.Context) error {
				return s.kills.Member(ctx, "replica", s.kills.One(s.bed.Replicas))
			}},
			kills.Choice{Weight: 14, Do: func(ctx context.Context) error { return s.kills.All(ctx, "replica", s.bed.Replicas) }},
			kills.Choice{Weight: 18, Do: func(ctx context.Context) error { return s.kills.Server(ctx, "kafka", s.bed.Kafka) }},
			kills.Choice{Weight: 18, Do: func(ctx context.Context) error { return s.kills.Server(ctx, "redis", s.bed.Redis) }},
			kills.Choice{Weight: 6, Do: func(ctx context.Context) error { return s.kills.Member(ctx, "config", s.bed.Config) }},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *provisionSoak) print(ctx context.Context, took time.Duration, seed uint64) error {
	if err := s.check.readLog(ctx, s.bed); err != nil {
		return err
	}
	s.check.compare()
	for _, line := range s.check.examples {
		fleet.Report("%s", line)
	}
	total := s.kills.Total()
	if total == 0 {
		return errors.New("nothing was killed: give it a longer time by FOR")
	}
	on, err := fleet.On(ctx, s.bed.Kafka, s.bed.Redis)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%s; SEED=%d; killed with -9: %s", s.check, seed, s.kills)
	return figure.PrintUnbroken(figure.Counted(figure.Figure{
		Name: "soak.provision.", On: on, Note: note, Kills: &total, Events: int64(s.check.events()), Seconds: figure.Round(took.Seconds()),
	}, figure.Counts{Lost: s.check.lost, Doubled: s.check.doubled, OutOfOrder: s.check.outOfOrder})...)
}
