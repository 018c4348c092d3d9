package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	shared "github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// idsEach is how many ids a subscriber's record holds when its memory is measured: one of its activation, the others of usage.
const idsEach = 24

// remembered measures what Redis takes for a subscriber with three options and their timers, by used_memory before and after,
// while no other client is connected.
func (s *bed) remembered(ctx context.Context, o options) (figures []figure.Figure, err error) {
	client := redis.NewClient(&redis.Options{Addr: s.redis.Address()})
	defer client.Close() //nolint:errcheck // read only
	f, err := s.installation(ctx, "memory", o.partitions)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(context.WithoutCancel(ctx))) }()
	// Keys of what was measured before share one hash table with ours, whose size goes by powers of two.
	if err := client.FlushAll(ctx).Err(); err != nil {
		return nil, fmt.Errorf("empty Redis: %w", err)
	}
	before, err := shared.UsedMemory(ctx, client)
	if err != nil {
		return nil, err
	}
	m, err := f.Start(ctx, "safeguard")
	if err != nil {
		return nil, err
	}
	if err := m.Ready(ctx); err != nil {
		return nil, err
	}
	fleet.Report("memory: %d subscribers", o.memory)
	if err := activate(ctx, f, o.memory); err != nil {
		return nil, err
	}
	l := &load{spent: make([]int64, o.memory)}
	for round := 1; round < idsEach; round++ {
		if err := l.use(ctx, f, fmt.Sprintf("round-%d", round), o.memory, shuffled(o.memory)); err != nil {
			return nil, err
		}
		if err := counted(ctx, m, float64(o.memory*(round+1))); err != nil {
			return nil, err
		}
	}
	if err := l.check(ctx, f, m); err != nil {
		return nil, err
	}
	if err := m.Stop(ctx); err != nil {
		return nil, err
	}
	bytes, err := shared.RecordBytes(ctx, s.redis, f, "safeguard")
	if err != nil {
		return nil, err
	}
	after, err := shared.UsedMemory(ctx, client)
	if err != nil {
		return nil, err
	}
	each := float64(after-before) / float64(o.memory)
	fleet.Report("memory: %.0f bytes a subscriber, records of %d bytes", each, bytes)
	return []figure.Figure{{
		Name: "safeguard.bytes_per_subscriber", Value: figure.Round(each), Unit: "bytes", Goal: 512, Better: "lower", On: s.on,
		Note:   fmt.Sprintf("used_memory of %d subscribers with three options, %d ids each, due lists included; a record is %d bytes long", o.memory, idsEach, bytes),
		Events: int64(o.memory) * idsEach,
	}}, nil
}
