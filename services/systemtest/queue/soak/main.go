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
	"os"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

const (
	// between is how long it goes on between two quiet points.
	between = time.Minute
	// perSecond is how many events are published.
	perSecond = 300
	// patience bounds what a quiet point waits for: an event that was forgotten on a stream comes again after 30 s.
	patience = 3 * time.Minute
)

func main() {
	if err := run(daemon.UntilSignal()); err != nil {
		fmt.Fprintln(os.Stderr, "soak failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	length, seed, err := kills.Options()
	if err != nil {
		return err
	}
	fleet.Report("killing for %s, SEED=%d", length, seed)
	return fleet.InFolder("tollgate-soak-", func(dir string) (err error) {
		b, err := soak.Open(ctx, dir, "ingest", nil)
		defer func() { fleet.End(ctx, &err, b.Close) }()
		if err != nil {
			return err
		}
		s := &queueSoak{bed: b, kills: kills.New(seed), log: newPublished(b.Fleet, seed)}
		for i := range subscriptions {
			s.consumers = append(s.consumers, newConsumer(b, i, seed, s.log))
		}
		return s.whole(ctx, length, seed)
	})
}

// subscriptions are how many; two of three are ordered.
const subscriptions = 6

type queueSoak struct {
	bed       *soak.Bed
	kills     *kills.Kills
	log       *published
	consumers []*consumer
}

func (s *queueSoak) whole(ctx context.Context, length time.Duration, seed uint64) error {
	if _, err := s.bed.Fleet.Configure(ctx, &configv1.Tenant{Name: "tenants/" + tenant, DisplayName: "Soak"}); err != nil {
		return err
	}
	if err := s.bed.Ready(ctx); err != nil {
		return err
	}
	consuming, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, len(s.consumers))
	for _, c := range s.consumers {
		go func() { ended <- c.run(consuming) }()
	}
	began := time.Now()
	for left := length; left > 0; left -= between {
		if err := s.round(ctx, min(left, between)); err != nil {
			return err
		}
	}
	took := time.Since(began)
	stop()
	var faults []error
	for range s.consumers {
		faults = append(faults, <-ended)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return s.print(ctx, took, seed)
}

// round disturbs for a while, then mends everything and waits until every consumer has everything.
func (s *queueSoak) round(ctx context.Context, length time.Duration) error {
	stretch, done := context.WithTimeout(ctx, length)
	defer done()
	if err := kills.Together(
		func() error { return s.log.publish(ctx, stretch) },
		func() error { return s.kill(ctx, stretch) },
	); err != nil {
		return err
	}
	fleet.Report("%d events published; %s; quiet now", s.log.count(), s.kills)
	if err := s.bed.Ready(ctx); err != nil {
		return err
	}
	for began := time.Now(); ; {
		missing := 0
		for _, c := range s.consumers {
			missing += c.missing()
		}
		if missing == 0 {
			return nil
		}
		if time.Since(began) > patience { // the figures have what is lost
			fleet.Report("%d events are missing after %s", missing, patience)
			return nil
		}
		if !pause.For(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
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
	inLog, givenUp, err := s.log.read(ctx, s.bed)
	if err != nil {
		return err
	}
	lost, doubled, disorder := 0, 0, 0
	var received int64
	for _, c := range s.consumers {
		l, d, o, n := c.compare(inLog)
		lost, doubled, disorder, received = lost+l, doubled+d, disorder+o, received+n
	}
	total := s.kills.Total()
	if total == 0 {
		return errors.New("nothing was killed: give it a longer time by FOR")
	}
	on, err := fleet.On(ctx, s.bed.Kafka, s.bed.Redis)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%d subscriptions of %d events, %d sendings received, %d given up; SEED=%d; %s", subscriptions, s.log.count(), received, givenUp, seed, s.kills)
	var figures []figure.Figure
	for _, f := range []struct {
		name string
		n    int
	}{{"lost", lost}, {"doubled", doubled}, {"out_of_order", disorder}} {
		figures = append(figures, figure.Figure{
			Name: "soak.queue." + f.name, Value: float64(f.n), Unit: "events", Better: "lower", On: on, Note: note, Kills: &total, Events: received, Seconds: took.Seconds(),
		})
	}
	return errors.Join(figure.Print(os.Stdout, figures...), figure.Broken(figures...))
}
