// Command soak kills replicas of the webhook service, and their Redis and Kafka, at random moments, lets replicas stand still
// past their fence, and sets the configuration back to an older copy of its database, while deliveries are planned and their
// receiver fails at random: errors, Retry-After, no answer, connections closed before an answer, 410. Endpoints are paused,
// disabled, changed, and their secrets rotated. After each minute everything is mended and all that was planned is compared
// with what the receiver got and what the attempts hold. Then, as long as it killed, nothing is killed and most endpoints
// misbehave at each request, beside healthy ones whose deliveries take as long as without them.
//
// FOR is how long it kills, SEED repeats the same choices. Standard output has the figures, standard error the progress. It
// exits 1 without a figure where the run shows nothing, and 1 with its figures where anything was lost, doubled or out of
// order.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
)

func main() {
	if err := soak(daemon.UntilSignal()); err != nil {
		fmt.Fprintln(os.Stderr, "soak failed:", err)
		os.Exit(1)
	}
}

// between is how long it goes on between two quiet points, patience how long all that waits may take there; it only ends
// runs that are stuck.
const (
	between  = time.Minute
	patience = 5 * time.Minute
)

func soak(ctx context.Context) error {
	length, seed, err := kills.Options()
	if err != nil {
		return err
	}
	fleet.Report("killing for %s, SEED=%d", length, seed)
	return fleet.InFolder("tollgate-soak-", func(dir string) error { return soakIn(ctx, dir, length, seed) })
}

func soakIn(ctx context.Context, dir string, length time.Duration, seed uint64) (err error) {
	b, err := start(ctx, dir, seed)
	defer func() { fleet.End(ctx, &err, b.stop) }()
	if err != nil {
		return err
	}
	s, err := newRun(ctx, b, seed)
	if err != nil {
		return err
	}
	// The first round kills nothing: what is repeated there has no excuse.
	if err := s.round(ctx, between/4, func(_, _ context.Context) error { return nil }); err != nil {
		return err
	}
	s.check.calm = s.check.repeats
	from := time.Now()
	for left := length; left > 0 && !s.check.wrong(); left -= between {
		if err := s.round(ctx, min(left, between), s.kill); err != nil {
			return err
		}
	}
	took := time.Since(from)
	if !s.check.wrong() {
		if s.neighbour, err = s.neighbours(ctx, length); err != nil {
			return err
		}
	}
	return s.print(ctx, took, seed)
}

// run is one run of the soak.
type run struct {
	bed       *bed
	plan      *plan
	endpoints *endpoints
	kills     *kills.Kills
	setBacks  *kills.SetBacks
	check     *check
	neighbour *neighbour
}

func newRun(ctx context.Context, b *bed, seed uint64) (*run, error) {
	s := &run{bed: b, kills: kills.New(seed)}
	var err error
	if s.endpoints, err = newEndpoints(ctx, b, seed); err != nil {
		return nil, err
	}
	s.plan = newPlan(b, s.endpoints, seed)
	s.check = newCheck(b, s.plan)
	if s.setBacks, err = kills.NewSetBacks(ctx, b.fleet, b.config); err != nil {
		return nil, err
	}
	s.setBacks.Change, s.setBacks.Watchers = s.endpoints.touch, len(b.replicas)
	s.setBacks.Following = b.readyBy
	// Resources of before are in the copy: what was created is there, what was changed is made so again.
	s.setBacks.Accepted = s.endpoints.restored
	return s, b.ready(ctx)
}

// round disturbs for a while, mends everything, waits until nothing waits, and compares.
func (s *run) round(ctx context.Context, length time.Duration, disturb func(ctx, stretch context.Context) error) error {
	stretch, done := context.WithTimeout(ctx, length)
	defer done()
	s.bed.receiver.disturbed.Store(true)
	err := kills.Together(
		func() error { return s.plan.run(ctx, stretch) },
		func() error { return s.endpoints.run(ctx, stretch) },
		func() error { return s.bed.receiver.run(stretch) },
		func() error { return disturb(ctx, stretch) },
	)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.bed.receiver.disturbed.Store(false)
	fleet.Report("%d deliveries planned, %d receipts; %s; %s; quiet now", s.plan.number(), s.bed.receiver.number(), s.endpoints, s.kills)
	if err := s.bed.ready(ctx); err != nil {
		return err
	}
	return s.check.rests(ctx, s.endpoints.mend)
}

// kill disturbs until stretch ends, and leaves everything running.
func (s *run) kill(ctx, stretch context.Context) error {
	for turn := 1; kills.Pause(stretch, s.kills.Between(500*time.Millisecond, 8*time.Second)); turn++ {
		if turn == 3 {
			if err := s.setBack(ctx, turn); err != nil {
				return err
			}
			continue
		}
		err := s.kills.Choose(ctx,
			kills.Choice{Weight: 15, Do: func(ctx context.Context) error { return s.kills.Stall(ctx, s.kills.One(s.bed.replicas)) }},
			kills.Choice{Weight: 45, Do: func(ctx context.Context) error {
				return s.kills.Member(ctx, "replica", s.kills.One(s.bed.replicas))
			}},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return s.kills.All(ctx, "replica", s.bed.replicas) }},
			kills.Choice{Weight: 16, Do: func(ctx context.Context) error { return s.kills.Server(ctx, "redis", s.bed.redis) }},
			kills.Choice{Weight: 16, Do: func(ctx context.Context) error { return s.kills.Server(ctx, "kafka", s.bed.kafka) }},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *run) setBack(ctx context.Context, turn int) error {
	s.endpoints.mu.Lock()
	defer s.endpoints.mu.Unlock()
	s.kills.Count("config")
	return s.setBacks.Run(ctx, turn%2 == 0, s.kills.Between(0, 2) == 0)
}

func (s *run) print(ctx context.Context, took time.Duration, seed uint64) error {
	for _, line := range s.check.examples {
		fleet.Report("%s", line)
	}
	total := s.kills.Total()
	if total == 0 {
		return errors.New("nothing was killed: give it a longer time by FOR")
	}
	if s.check.calm > 0 {
		return fmt.Errorf("%d requests without an attempt before anything was killed", s.check.calm)
	}
	on, err := fleet.On(ctx, s.bed.kafka, s.bed.redis)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("killed with -9: %s; the configuration was set back %d times, accepted %d times; seed %d; %d endpoints, two replicas; %s; receiver: %s; settled: %s; %d requests repeated in their attempt, %d receipts without an attempt (in flight at a kill)",
		s.kills, s.setBacks.Times, s.setBacks.Restores, seed, endpointCount, s.endpoints, s.bed.receiver, s.check.settlements(), s.check.repeatedRequests, s.check.repeats)
	var figures []figure.Figure
	for _, count := range []struct {
		name  string
		value int
	}{{"lost", s.check.lost}, {"doubled", s.check.doubled}, {"out_of_order", s.check.outOfOrder}} {
		figures = append(figures, figure.Figure{
			Name: "soak.webhook." + count.name, Value: float64(count.value), Unit: "count", Goal: 0, Better: "lower", On: on, Note: note,
			Kills: &total, Events: int64(s.plan.number()), Seconds: figure.Round(took.Seconds()),
		})
	}
	if s.neighbour != nil {
		figures = append(figures, s.neighbour.figure(on, seed))
	}
	if err := figure.Print(os.Stdout, figures...); err != nil {
		return err
	}
	return figure.Broken(figures...)
}

// bed is what is tested, and what it runs on.
type bed struct {
	kafka, redis *fleet.Server
	fleet        *fleet.Fleet
	config       *fleet.Member
	replicas     []*fleet.Member
	receiver     *receiver
}

const partitions = 8

func start(ctx context.Context, dir string, seed uint64) (b *bed, err error) {
	b = &bed{}
	fleet.Report("building")
	binaries := filepath.Join(dir, "bin")
	if err := fleet.Build(ctx, binaries, "config", "webhook"); err != nil {
		return b, err
	}
	if b.kafka, err = fleet.StartServer(ctx, fleet.Kafka, filepath.Join(dir, "kafka")); err != nil {
		return b, err
	}
	if b.redis, err = fleet.StartServer(ctx, fleet.Redis, filepath.Join(dir, "redis")); err != nil {
		return b, err
	}
	if b.fleet, err = fleet.Open(ctx, fleet.Config{
		Brokers: []string{b.kafka.Address()}, Redis: b.redis.Address(), Dir: filepath.Join(dir, "fleet"), Partitions: partitions, Binaries: binaries,
	}); err != nil {
		return b, err
	}
	if b.receiver, err = newReceiver(ctx, rand.New(rand.NewPCG(seed, 3))); err != nil {
		return b, err
	}
	if b.config, err = b.fleet.Start(ctx, "config"); err != nil {
		return b, err
	}
	for range 2 {
		m, err := b.fleet.Start(ctx, "webhook")
		if err != nil {
			return b, err
		}
		b.replicas = append(b.replicas, m)
	}
	return b, nil
}

func (b *bed) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return b.readyBy(ctx)
}

// readyBy waits as long as ctx lets it.
func (b *bed) readyBy(ctx context.Context) error {
	for _, m := range b.replicas {
		if err := m.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop ends everything that was started, also after a start that failed.
func (b *bed) stop(ctx context.Context) error {
	var faults []error
	if b.fleet != nil {
		faults = append(faults, b.fleet.Close(ctx))
	}
	if b.receiver != nil {
		faults = append(faults, b.receiver.close())
	}
	for _, s := range []*fleet.Server{b.redis, b.kafka} {
		if s != nil {
			faults = append(faults, s.Stop(ctx))
		}
	}
	return errors.Join(faults...)
}
