package redisstate_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/statetest"
)

func TestStore(t *testing.T) {
	for _, server := range statetest.Redises(t) {
		t.Run(server.Name, func(t *testing.T) {
			statetest.Store(t, func(t *testing.T) state.Store {
				s, _ := server.Open(t)
				return s
			})
		})
	}
}

func TestSweepRevisions_KeepsTheNewestThreeAndThoseThatPartitionsAreAt(t *testing.T) {
	for _, server := range statetest.Redises(t) {
		t.Run(server.Name, func(t *testing.T) {
			store, prefix := server.Open(t)
			client := redis.NewClient(&redis.Options{Addr: server.Address})
			defer client.Close()
			revision := func(n int64) state.Revision { return state.Revision{History: 7, Number: n} }
			for n := range int64(6) {
				if err := store.PutRevision(t.Context(), revision(n+1), []byte{byte(n + 1)}); err != nil {
					t.Fatal(err)
				}
			}
			at := map[state.Partition]state.Revision{{Domain: "safeguard", Number: 3, Count: 8}: revision(2)}
			if err := store.NameRevisions(t.Context(), at); err != nil {
				t.Fatal(err)
			}
			going := func() (numbers []int64) {
				t.Helper()
				for n := int64(1); n <= 6; n++ {
					left, err := client.TTL(t.Context(), prefix+":revision:0000000000000007:"+string(rune('0'+n))).Result()
					if err != nil || left == -2 {
						t.Fatalf("revision %d is not at its position: %v", n, err)
					}
					if left > 0 {
						numbers = append(numbers, n)
					}
					if left > time.Minute {
						t.Errorf("revision %d stays for %s", n, left)
					}
				}
				return numbers
			}
			if err := store.SweepRevisions(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := going(); !slices.Equal(got, []int64{1, 3}) {
				t.Errorf("revisions %v go, want 1 and 3: 4 to 6 are the newest, a partition is at 2", got)
			}
			// Whoever needs one that is going holds it.
			if there, err := store.HoldRevision(t.Context(), revision(3)); err != nil || !there {
				t.Fatal(there, err)
			}
			if got := going(); !slices.Equal(got, []int64{1}) {
				t.Errorf("revisions %v go after 3 was held", got)
			}
		})
	}
}
