// Command soak kills replicas of ingest, their broker and config at random moments, and lets replicas stand still past
// their rights, while consumers of the event queue subscribe, acknowledge in every way, forget, give up, disconnect and leave
// streams behind that nobody reads. After each minute everything is mended, and what each subscription got is compared with
// the log: no event may be lost, none may come unmarked more often than the log has it, and those of a subject come in
// their order.
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
	"github.com/tollgate/tollgate/services/systemtest/queue/consumers"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

const (
	// between is how long it goes on between two quiet points.
	between = time.Minute
	// patience bounds what a quiet point waits for: an event that was forgotten on a stream comes again after 30 s.
	patience = 3 * time.Minute
)

func main() { soak.Run(run, "ingest") }

func run(ctx context.Context, b *soak.Bed, length time.Duration, seed uint64) error {
	s := &queueSoak{bed: b, kills: kills.New(seed), group: consumers.New(b.Fleet, b.Replicas, tenant, seed)}
	return s.whole(ctx, length, seed)
}

const tenant = "soak"

type queueSoak struct {
	bed   *soak.Bed
	kills *kills.Kills
	group *consumers.Group
}

func (s *queueSoak) whole(ctx context.Context, length time.Duration, seed uint64) error {
	if _, err := s.bed.Fleet.Configure(ctx, &configv1.Tenant{Name: "tenants/" + tenant, DisplayName: "Soak"}); err != nil {
		return err
	}
	if err := s.bed.Ready(ctx); err != nil {
		return err
	}
	stop := s.group.Start(ctx)
	began := time.Now()
	for left := length; left > 0; left -= between {
		if err := s.round(ctx, min(left, between)); err != nil {
			return errors.Join(err, stop())
		}
	}
	took := time.Since(began)
	if err := stop(); err != nil {
		return err
	}
	return s.print(ctx, took, seed)
}

// round disturbs for a while, then mends everything and waits until every consumer has everything.
func (s *queueSoak) round(ctx context.Context, length time.Duration) error {
	stretch, done := context.WithTimeout(ctx, length)
	defer done()
	if err := kills.Together(
		func() error { return s.group.Publish(ctx, stretch) },
		func() error { return s.kill(ctx, stretch) },
	); err != nil {
		return err
	}
	fleet.Report("%d events published; %s; quiet now", s.group.Published(), s.kills)
	if err := s.bed.Ready(ctx); err != nil {
		return err
	}
	return s.group.Await(ctx, patience)
}

// kill disturbs until stretch ends, and leaves everything running.
func (s *queueSoak) kill(ctx, stretch context.Context) error {
	for pause.For(stretch, s.kills.Between(500*time.Millisecond, 6*time.Second)) {
		err := s.kills.Choose(ctx,
			kills.Choice{Weight: 14, Do: func(ctx context.Context) error { return s.kills.Stall(ctx, s.kills.One(s.bed.Replicas)) }},
			kills.Choice{Weight: 44, Do: func(ctx context.Context) error {
				return s.kills.Member(ctx, "replica", s.kills.One(s.bed.Replicas))
			}},
			kills.Choice{Weight: 12, Do: func(ctx context.Context) error { return s.kills.All(ctx, "replica", s.bed.Replicas) }},
			kills.Choice{Weight: 16, Do: func(ctx context.Context) error { return s.kills.Server(ctx, "kafka", s.bed.Kafka) }},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return s.kills.Member(ctx, "config", s.bed.Config) }},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *queueSoak) print(ctx context.Context, took time.Duration, seed uint64) error {
	got, err := s.group.Result(ctx)
	if err != nil {
		return err
	}
	total := s.kills.Total()
	if total == 0 {
		return errors.New("nothing was killed: give it a longer time by FOR")
	}
	on, err := fleet.On(ctx, s.bed.Kafka, s.bed.Redis)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%d subscriptions of %d events, %d sendings received, %d given up; SEED=%d; %s", consumers.Subscriptions, s.group.Published(), got.Received, got.GivenUp, seed, s.kills)
	return figure.PrintUnbroken(figure.Counted(figure.Figure{
		Name: "soak.queue.", On: on, Note: note, Kills: &total, Events: got.Received, Seconds: figure.Round(took.Seconds()),
	}, figure.Counts{Lost: got.Lost, Doubled: got.Doubled, OutOfOrder: got.OutOfOrder})...)
}
