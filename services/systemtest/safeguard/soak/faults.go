package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/kills"
)

// faults disturbs at random.
type faults struct {
	bed      *bed
	catalog  *catalog
	kills    *kills.Kills
	setBacks *kills.SetBacks
}

func newFaults(ctx context.Context, b *bed, c *catalog, seed uint64) (*faults, error) {
	back, err := kills.NewSetBacks(ctx, b.fleet, b.config)
	if err != nil {
		return nil, err
	}
	f := &faults{bed: b, catalog: c, kills: kills.New(seed), setBacks: back}
	f.kills.Back = b.listens
	back.Change, back.Following, back.Watchers = c.change, b.readyBy, len(b.replicas)+1 // and ingest
	back.Accepted = f.accepted
	return f, nil
}

func (f *faults) String() string {
	return fmt.Sprintf("%s; the configuration was set back %d times, which was accepted %d times", f.kills, f.setBacks.Times, f.setBacks.Restores)
}

// run kills until killing ends, and leaves everything running. A group takes some six seconds to settle: sometimes it does so
// between two kills, sometimes it does not. Every third time the configuration is set back instead.
func (f *faults) run(killing, ctx context.Context) error {
	for turn := 1; pause.For(killing, f.kills.Between(500*time.Millisecond, 10*time.Second)); turn++ {
		if turn == 3 {
			if err := f.setBack(ctx); err != nil {
				return err
			}
			continue
		}
		err := f.kills.Choose(ctx,
			kills.Choice{Weight: 12, Do: func(ctx context.Context) error { return f.kills.Stall(ctx, f.kills.One(f.bed.replicas)) }},
			kills.Choice{Weight: 48, Do: func(ctx context.Context) error { return f.kills.Member(ctx, "replica", f.kills.One(f.bed.replicas)) }},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return f.kills.All(ctx, "replica", f.bed.replicas) }},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return f.kills.Member(ctx, "ingest", f.bed.ingest) }},
			kills.Choice{Weight: 14, Do: func(ctx context.Context) error { return f.kills.Server(ctx, "redis", f.bed.redis) }},
			kills.Choice{Weight: 10, Do: func(ctx context.Context) error { return f.kills.Server(ctx, "kafka", f.bed.kafka) }},
		)
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// setBack sets the configuration back. Nothing else changes it meanwhile.
func (f *faults) setBack(ctx context.Context) error {
	f.catalog.mu.Lock()
	defer f.catalog.mu.Unlock()
	f.kills.Count("config")
	return f.setBacks.Run(ctx, f.kills.Between(0, 2) == 0, f.kills.Between(0, 2) == 0)
}

// accepted notes the revision of an accepted restore: it is above every revision that was given before.
func (f *faults) accepted(ctx context.Context) error {
	highest := f.catalog.highest
	if err := f.catalog.note(ctx, 0); err != nil {
		return err
	}
	if f.catalog.highest <= highest {
		f.catalog.twice = append(f.catalog.twice, fmt.Sprintf("a restore was accepted and the configuration did not go on above revision %d, which was given before", highest))
	}
	return nil
}
