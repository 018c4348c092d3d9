package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// faults kills at random.
type faults struct {
	bed      *bed
	setBacks *setBacks
	rand     *rand.Rand
	kills    map[string]int
	// stalls are no kills: a process that was paused goes on.
	stalls int
}

func (f *faults) String() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(f.kills)) {
		parts = append(parts, fmt.Sprintf("%s %d times", kind, f.kills[kind]))
	}
	return strings.Join(parts, ", ") +
		fmt.Sprintf("; %d times a replica stood still for 3 to 20 s and went on; the configuration was set back %d times, which was accepted %d times",
			f.stalls, f.setBacks.times, f.setBacks.accepted)
}

func (f *faults) total() int {
	sum := 0
	for _, n := range f.kills {
		sum += n
	}
	return sum
}

// between is a random time.
func (f *faults) between(shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(f.rand.Int64N(int64(longest-shortest)))
}

// run kills until killing ends, and leaves everything running. A group takes some six seconds to settle: sometimes it does so
// between two kills, sometimes it does not. Every third time the configuration is set back instead.
func (f *faults) run(killing, ctx context.Context) error {
	for turn := 1; pause(killing, f.between(500*time.Millisecond, 10*time.Second)); turn++ {
		var err error
		switch n := f.rand.IntN(100); {
		case turn == 3:
			f.kills["config"]++
			err = f.setBacks.run(ctx, f.rand.IntN(2) == 0, f.rand.IntN(2) == 0)
		case n < 12:
			err = f.stall(ctx, f.bed.replicas[f.rand.IntN(2)])
		case n < 60:
			err = f.member(ctx, "replica", f.bed.replicas[f.rand.IntN(2)])
		case n < 68:
			err = f.both(ctx)
		case n < 76:
			err = f.member(ctx, "ingest", f.bed.ingest)
		case n < 90:
			err = f.server(ctx, "redis", f.bed.redis)
		default:
			err = f.server(ctx, "kafka", f.bed.kafka)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// pause waits; false where ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *faults) member(ctx context.Context, kind string, m *fleet.Member) error {
	f.kills[kind]++
	m.Kill()
	away := f.between(0, 3*time.Second)
	report("killed %s, back in %s", m.Name, away.Round(time.Millisecond))
	pause(ctx, away)
	err := m.Restart(ctx)
	f.bed.listens()
	return err
}

// stall makes a zombie: a process that is paused for longer than its group waits for it, or nearly, and then goes on.
func (f *faults) stall(ctx context.Context, m *fleet.Member) error {
	f.stalls++
	away := f.between(3*time.Second, 20*time.Second)
	report("%s is paused for %s", m.Name, away.Round(time.Millisecond))
	return m.Stall(ctx, away)
}

// both kills every owner.
func (f *faults) both(ctx context.Context) error {
	for _, m := range f.bed.replicas {
		f.kills["replica"]++
		m.Kill()
	}
	report("killed both replicas")
	for _, m := range f.bed.replicas {
		if err := m.Restart(ctx); err != nil {
			return err
		}
	}
	f.bed.listens()
	return nil
}

func (f *faults) server(ctx context.Context, kind string, s *fleet.Server) error {
	f.kills[kind]++
	if err := s.Kill(); err != nil {
		return err
	}
	report("killed %s", kind)
	if err := s.Restart(ctx); err != nil {
		return err
	}
	report("%s is back", kind)
	return nil
}
