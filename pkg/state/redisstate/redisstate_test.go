package redisstate_test

import (
	"fmt"
	"slices"
	"testing"

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

// address is of a part of these tests.
func address(i int) string { return fmt.Sprintf("%032d", i) }

func TestSweepRevisions_KeepsTheNewestThreeAndThoseThatPartitionsAreAt(t *testing.T) {
	for _, server := range statetest.Redises(t) {
		t.Run(server.Name, func(t *testing.T) {
			store, prefix := server.Open(t)
			client := redis.NewClient(&redis.Options{Addr: server.Address})
			defer client.Close()
			ctx := t.Context()
			const space = "trigger"
			revision := func(n int64) state.Revision { return state.Revision{History: 7, Number: n} }
			// Part 0 is of all revisions, and each has one of its own.
			put := func(n int) {
				t.Helper()
				list := []string{address(0), address(n)}
				missing, err := store.PutRevision(ctx, space, revision(int64(n)), []byte{byte(n)}, list)
				if err != nil || !slices.Contains(missing, 1) {
					t.Fatalf("missing %v: %v", missing, err)
				}
				if head, _, err := store.GetRevision(ctx, space, revision(int64(n))); err != nil || head != nil {
					t.Fatalf("a revision without a part is there: %v %v", head, err)
				}
				for _, i := range missing {
					if err := store.PutParts(ctx, space, list[i:i+1], [][]byte{[]byte("part " + list[i])}); err != nil {
						t.Fatal(err)
					}
				}
				if missing, err := store.PutRevision(ctx, space, revision(int64(n)), []byte{byte(n)}, list); err != nil || len(missing) != 0 {
					t.Fatalf("missing %v: %v", missing, err)
				}
			}
			for n := range 6 {
				put(n + 1)
			}
			at := map[state.Partition]state.Revision{{Domain: "safeguard", Number: 3, Count: 8}: revision(2)}
			if err := store.NameRevisions(ctx, space, at); err != nil {
				t.Fatal(err)
			}
			if newest, err := store.NewestRevision(ctx, space); err != nil || newest != revision(6) {
				t.Fatalf("newest %s: %v", newest, err)
			}
			going := spaceKey(prefix, space, "going")
			sweep := func(want ...string) {
				t.Helper()
				if err := store.SweepRevisions(ctx, space); err != nil {
					t.Fatal(err)
				}
				if got, err := client.ZRange(ctx, going, 0, -1).Result(); err != nil || !slices.Equal(got, want) {
					t.Errorf("revisions %v go, want %v: %v", got, want, err)
				}
			}
			sweep("0000000000000007:1", "0000000000000007:3")
			// Whoever needs one that is going holds it.
			if there, err := store.HoldRevision(ctx, space, revision(3)); err != nil || !there {
				t.Fatal(there, err)
			}
			if err := store.NameRevisions(ctx, space, map[state.Partition]state.Revision{{Domain: "safeguard", Number: 4, Count: 8}: revision(3)}); err != nil {
				t.Fatal(err)
			}
			sweep("0000000000000007:1")
			left := func(want ...int) {
				t.Helper()
				for n := range 7 {
					parts, err := store.GetParts(ctx, space, []string{address(n)})
					if err != nil || (parts[0] != nil) != slices.Contains(want, n) {
						t.Errorf("part %d is there: %t, %v", n, parts[0] != nil, err)
					}
				}
			}
			left(0, 1, 2, 3, 4, 5, 6)
			// A minute is over.
			if err := client.ZIncrBy(ctx, going, -61, "0000000000000007:1").Err(); err != nil {
				t.Fatal(err)
			}
			sweep()
			left(0, 2, 3, 4, 5, 6)
			head, list, err := store.GetRevision(ctx, space, revision(3))
			if err != nil || !slices.Equal(head, []byte{3}) || !slices.Equal(list, []string{address(0), address(3)}) {
				t.Errorf("revision 3 is %v %v: %v", head, list, err)
			}
			// What lost a part is not there for those who hold it.
			if err := client.HDel(ctx, spaceKey(prefix, space, "parts"), address(4)).Err(); err != nil {
				t.Fatal(err)
			}
			if there, err := store.HoldRevision(ctx, space, revision(4)); err != nil || there {
				t.Errorf("a revision without one of its parts is held: %v", err)
			}
			if newest, err := store.NewestRevision(ctx, "webhook"); err != nil || newest.Number != 0 {
				t.Errorf("another space has %s: %v", newest, err)
			}
		})
	}
}

func spaceKey(prefix, space, key string) string {
	return "{" + prefix + ":config:" + space + "}:" + key
}
