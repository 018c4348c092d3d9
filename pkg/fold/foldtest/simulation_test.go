package foldtest_test

import (
	"testing"

	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// How many histories the simulations make, in memory and on real servers.
var (
	historiesInMemory  = simulation.Histories{Short: 60, Test: 350, Long: 10_000}
	historiesOnServers = simulation.Histories{Short: 10, Test: 100, Long: 1000}
	movesInMemory      = simulation.Histories{Short: 10, Test: 50, Long: 1500}
	rulesInMemory      = simulation.Histories{Short: 30, Test: 150, Long: 4000}
	rulesOnServers     = simulation.Histories{Short: 4, Test: 30, Long: 300}
	movesOnServers     = simulation.Histories{Short: 4, Test: 20, Long: 400}
)

// A history in memory has four hundred choices, one on servers fewer: each of its calls is a round trip.
const (
	stepsInMemory  = 400
	stepsOnServers = 120
)

func TestSimulation_InMemory(t *testing.T) {
	_, one := simulation.Only(t)
	t.Cleanup(func() {
		enough := !one && historiesInMemory.Count(t) >= 100
		checkTally(t, enough)
		t.Logf("batches published by an owner whose partition another one had taken: %d at most", foldtest.MostAhead.Load())
		if enough && foldtest.MostAhead.Load() < 3 {
			t.Error("none ran ahead by three batches")
		}
	})
	simulation.Run(t, historiesInMemory, func(t *testing.T, seed uint64) { counting(stepsInMemory).Run(t, seed, foldtest.NewMemory()) })
}

func TestSimulation_OnServers(t *testing.T) {
	servers, histories := newServers(t, historiesOnServers, simulation.Histories{Short: 2, Test: 16, Long: 16}, 1)
	simulation.Each(t, histories, 1_000_000, func(t *testing.T, i int, seed uint64) {
		counting(stepsOnServers).Run(t, seed, servers.Backend(t, i))
	})
}

// newServers are real ones where TOLLGATE_REAL is set, embedded ones where it is not; on those histories are slower, and
// fewer.
func newServers(t *testing.T, real, embedded simulation.Histories, partitions int) (servers *foldtest.Servers, histories int) {
	t.Helper()
	brokers, kafka := streamtest.RealKafka(t)
	address, redis := statetest.RealRedis(t)
	if kafka && redis {
		histories = real.Count(t)
	} else {
		histories = embedded.Count(t)
		brokers, address = streamtest.Embedded(t), statetest.Redises(t)[0].Address
	}
	redises := statetest.Redis{Name: "redis", Address: address, Real: redis && kafka}
	return foldtest.NewServers(t, brokers, redises, partitions*histories), histories
}

// checkTally logs the answers of callers, and fails where something that may happen to a call never did.
func checkTally(t *testing.T, enough bool) {
	for what, n := range map[string]int64{
		"accepted": tally.Accepted.Load(), "repeated": tally.Repeated.Load(), "refused": tally.Refused.Load(), "id reused": tally.Reused.Load(),
		"panicked": tally.Panics.Load(), "moved": tally.Moved.Load(), "unknown": tally.Unknown.Load(), "not ready": tally.NotReady.Load(),
		"superseded copies": tally.Superseded.Load(),
	} {
		t.Logf("calls %s: %d", what, n)
		if enough && n == 0 {
			t.Errorf("no call was ever %s", what)
		}
	}
}

// Events with records of rules, timers on each.
func TestSimulation_RulesInMemory(t *testing.T) {
	simulation.Run(t, rulesInMemory, func(t *testing.T, seed uint64) { ruling(stepsInMemory).Run(t, seed, foldtest.NewMemory()) })
}

func TestSimulation_RulesOnServers(t *testing.T) {
	servers, histories := newServers(t, rulesOnServers, simulation.Histories{Short: 1, Test: 6, Long: 6}, 1)
	simulation.Each(t, histories, 3_000_000, func(t *testing.T, i int, seed uint64) {
		ruling(stepsOnServers).Run(t, seed, servers.Backend(t, i))
	})
}
