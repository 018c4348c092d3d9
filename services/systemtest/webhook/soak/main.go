// Command soak kills replicas of the webhook service, and their Redis and Kafka, at random moments, lets replicas stand still
// past their fence, and sets the configuration back to an older copy of its database, while deliveries are planned and their
// receiver fails at random: errors, Retry-After, no answer, connections closed before an answer, 410. Endpoints are paused,
// disabled, changed, and their secrets rotated. After each minute everything is mended and all that was planned is compared
// with what the receiver got and what the attempts hold. Then, as long as it killed, nothing is killed and most endpoints
// misbehave at each request, beside healthy ones whose deliveries take as long as without them.
//
// Package soak has the frame: what it runs on, the rounds, the comparison, the figures.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/kills"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

func main() { soak.Main("webhook", begin) }

// run is one run of the soak.
type run struct {
	bed       *soak.Bed
	plan      *plan
	endpoints *endpoints
	receiver  *receiver
	kills     *kills.Kills
	setBacks  *kills.SetBacks
	check     *soak.Check
}

func begin(ctx context.Context, b *soak.Bed, seed uint64) (*soak.Soak, error) {
	s := &run{bed: b, kills: kills.New(seed)}
	var err error
	if s.receiver, err = newReceiver(ctx, rand.New(rand.NewPCG(seed, 3))); err != nil {
		return nil, err
	}
	b.AtEnd(s.receiver.close)
	if s.endpoints, err = newEndpoints(ctx, b, s.receiver, seed); err != nil {
		return nil, err
	}
	s.check = soak.NewCheck(b.Fleet, func(n int) ([]soak.Receipt, error) { return s.receiver.since(n), nil })
	s.check.Resends = true
	s.plan = newPlan(b, s.check, s.endpoints, seed)
	if s.setBacks, err = kills.NewSetBacks(ctx, b.Fleet, b.Config); err != nil {
		return nil, err
	}
	s.setBacks.Change, s.setBacks.Watchers = s.endpoints.touch, len(b.Replicas)
	s.setBacks.Following = b.ReadyBy
	// Resources of before are in the copy: what was created is there, what was changed is made so again.
	s.setBacks.Accepted = s.endpoints.restored
	return &soak.Soak{
		Check: s.check, Plan: s.plan.Plan, Kills: s.kills, Kill: s.kill, Mend: s.endpoints.mend, After: s.neighbours, Stringer: s,
		Beside:  []func(ctx, stretch context.Context) error{s.endpoints.run, s.receiver.run},
		Disturb: func(on bool) error { s.receiver.disturbed.Store(on); return nil },
	}, nil
}

// String is what happened to endpoints and requests.
func (s *run) String() string {
	return fmt.Sprintf("%d endpoints; the configuration was set back %d times, accepted %d times; %s; receiver: %s",
		endpointCount, s.setBacks.Times, s.setBacks.Restores, s.endpoints, s.receiver)
}

// kill disturbs until stretch ends, and leaves everything running.
func (s *run) kill(ctx, stretch context.Context) error {
	for turn := 1; pause.For(stretch, s.kills.Between(500*time.Millisecond, 8*time.Second)); turn++ {
		if turn == 3 {
			if err := s.setBack(ctx, turn); err != nil {
				return err
			}
			continue
		}
		err := s.kills.Choose(ctx,
			kills.Choice{Weight: 15, Do: func(ctx context.Context) error { return s.kills.Stall(ctx, s.kills.One(s.bed.Replicas)) }},
			kills.Choice{Weight: 45, Do: func(ctx context.Context) error {
				return s.kills.Member(ctx, "replica", s.kills.One(s.bed.Replicas))
			}},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return s.kills.All(ctx, "replica", s.bed.Replicas) }},
			kills.Choice{Weight: 16, Do: func(ctx context.Context) error { return s.kills.Server(ctx, "redis", s.bed.Redis) }},
			kills.Choice{Weight: 16, Do: func(ctx context.Context) error { return s.kills.Server(ctx, "kafka", s.bed.Kafka) }},
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
