package foldtest_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

var (
	seed  = flag.Uint64("seed", 0, "replays one history of the law")
	seeds = flag.Uint64("seeds", lawHistories, "how many histories the law runs in memory")
)

// A history in memory has four hundred choices, one on servers fewer: each of its calls is a round trip.
const (
	stepsInMemory  = 400
	stepsOnServers = 120
)

func TestLaw(t *testing.T) {
	if *seed != 0 {
		law(stepsInMemory).Check(t, *seed, foldtest.NewMemory())
		return
	}
	t.Cleanup(func() { checkTally(t, *seeds >= 100) })
	const lanes = 2
	for lane := range uint64(lanes) {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			for s := 1 + lane; s <= *seeds; s += lanes {
				law(stepsInMemory).Check(t, s, foldtest.NewMemory())
				if t.Failed() {
					return
				}
			}
		})
	}
}

func TestLawOnServers(t *testing.T) {
	brokers, kafka := streamtest.RealKafka(t)
	address, redis := statetest.RealRedis(t)
	if !kafka || !redis {
		brokers, address = streamtest.Embedded(t), statetest.Redises(t)[0].Address
	}
	histories := 20
	if kafka && redis {
		histories = lawHistoriesServers
	}
	servers := foldtest.NewServers(t, brokers, statetest.Redis{Name: "redis", Address: address, Real: redis && kafka}, histories)
	for i := range histories {
		s := uint64(i) + 1_000_000
		if *seed != 0 && s != *seed {
			continue
		}
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			t.Parallel()
			law(stepsOnServers).Check(t, s, servers.Bench(t, i))
		})
	}
}

// checkTally says what callers were told, and fails where something that may happen to a call never did.
func checkTally(t *testing.T, enough bool) {
	for what, n := range map[string]int64{
		"accepted": tally.Accepted.Load(), "repeated": tally.Repeated.Load(), "refused": tally.Refused.Load(), "id reused": tally.Reused.Load(),
		"panicked": tally.Panics.Load(), "moved": tally.Moved.Load(), "unknown": tally.Unknown.Load(), "not ready": tally.NotReady.Load(),
		"void copies": tally.Void.Load(),
	} {
		t.Logf("calls %s: %d", what, n)
		if enough && n == 0 {
			t.Errorf("no call was ever %s", what)
		}
	}
}
