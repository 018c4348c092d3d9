package statetest_test

import (
	"flag"
	"testing"

	"github.com/tollgate/tollgate/pkg/state/statetest"
)

var (
	seed  = flag.Uint64("seed", 0, "replays one history of the law")
	seeds = flag.Uint64("seeds", 3000, "how many histories the law runs in memory")
)

func TestLaw(t *testing.T) {
	if *seed != 0 {
		law(400).Check(t, *seed, statetest.NewMemory())
		return
	}
	for s := uint64(1); s <= *seeds; s++ {
		law(400).Check(t, s, statetest.NewMemory())
		if t.Failed() {
			return
		}
	}
}
