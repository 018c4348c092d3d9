package kills

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// Kills counts what it ends.
type Kills struct {
	// Back is called after a process was started again: it listens elsewhere.
	Back func()

	rand   *rand.Rand
	counts map[string]int
	// made are the choices that were made, by their place in the list.
	made map[int]bool
	// stalls are no kills: a process that stood still goes on.
	stalls int
}

// New returns one whose choices follow from a seed.
func New(seed uint64) *Kills {
	return &Kills{Back: func() {}, rand: rand.New(rand.NewPCG(seed, 2)), counts: map[string]int{}, made: map[int]bool{}}
}

// String lists what was ended, for people.
func (k *Kills) String() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(k.counts)) {
		parts = append(parts, fmt.Sprintf("%s %d times", kind, k.counts[kind]))
	}
	return strings.Join(parts, ", ") + fmt.Sprintf("; %d times a replica stood still for 3 to 20 s and went on", k.stalls)
}

// Total is how many kills there were.
func (k *Kills) Total() int {
	sum := 0
	for _, n := range k.counts {
		sum += n
	}
	return sum
}

// Between is a random time.
func (k *Kills) Between(shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(k.rand.Int64N(int64(longest-shortest)))
}

// Choice is something to do, as often as its weight among the others.
type Choice struct {
	Weight int
	Do     func(context.Context) error
}

// Choose does one of them. A caller's choices are always the same ones: each is made once before any is made again, so that
// a run of some minutes has seen all.
func (k *Kills) Choose(ctx context.Context, choices ...Choice) error {
	all := len(k.made) == len(choices)
	sum := 0
	for i, c := range choices {
		if all || !k.made[i] {
			sum += c.Weight
		}
	}
	n := k.rand.IntN(sum)
	for i, c := range choices {
		if !all && k.made[i] {
			continue
		}
		if n -= c.Weight; n < 0 {
			k.made[i] = true
			return c.Do(ctx)
		}
	}
	return nil
}

// One draws one of the members.
func (k *Kills) One(members []*fleet.Member) *fleet.Member { return members[k.rand.IntN(len(members))] }

// Count adds a kill that was made elsewhere.
func (k *Kills) Count(kind string) { k.counts[kind]++ }

// Member ends a process, and starts it again a moment later.
func (k *Kills) Member(ctx context.Context, kind string, m *fleet.Member) error {
	k.counts[kind]++
	m.Kill()
	away := k.Between(0, 3*time.Second)
	fleet.Report("killed %s, back in %s", m.Name, away.Round(time.Millisecond))
	pause.For(ctx, away)
	err := m.Restart(ctx)
	k.Back()
	return err
}

// All ends every one of the members, and starts them again at once.
func (k *Kills) All(ctx context.Context, kind string, members []*fleet.Member) error {
	for _, m := range members {
		k.counts[kind]++
		m.Kill()
	}
	fleet.Report("killed all %d of %s", len(members), kind)
	for _, m := range members {
		if err := m.Restart(ctx); err != nil {
			return err
		}
	}
	k.Back()
	return nil
}

// Stall lets a process stand still for longer than its group waits for it, or nearly, and then go on.
func (k *Kills) Stall(ctx context.Context, m *fleet.Member) error {
	k.stalls++
	away := k.Between(3*time.Second, 20*time.Second)
	fleet.Report("%s stands still for %s", m.Name, away.Round(time.Millisecond))
	return m.Stall(ctx, away)
}

// Server ends a server and starts it again.
func (k *Kills) Server(ctx context.Context, kind string, s *fleet.Server) error {
	k.counts[kind]++
	if err := s.Kill(); err != nil {
		return err
	}
	fleet.Report("killed %s", kind)
	if err := s.Restart(ctx); err != nil {
		return err
	}
	fleet.Report("%s is back", kind)
	return nil
}
