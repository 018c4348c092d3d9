package table

import (
	"testing"

	"pgregory.net/rapid"
)

// As a map would: whatever is added, replaced and removed, each number is found by its hash, and no other.
func TestTable_FindsWhatItHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hashes := map[int32]uint64{}
		table := New(func(n int32) uint64 { return hashes[n] })
		held := map[int32]bool{}
		next := int32(0)
		spread := rapid.SampledFrom([]uint64{1, 7, 1 << 40}).Draw(t, "spread") // few hashes make long runs
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			any := func() (n int32) {
				for n = range held {
					break
				}
				return n
			}
			switch what := rapid.IntRange(0, 3).Draw(t, "what"); {
			case what <= 1 || len(held) == 0:
				hashes[next] = rapid.Uint64Range(0, spread).Draw(t, "hash")
				table.Add(next)
				held[next] = true
				next++
			case what == 2:
				n := any()
				table.Remove(n)
				table.Remove(n) // no change
				delete(held, n)
			default:
				n := any()
				hashes[next] = hashes[n]
				table.Replace(n, next)
				delete(held, n)
				held[next] = true
				next++
			}
		}
		if table.N != len(held) {
			t.Fatalf("%d held, want %d", table.N, len(held))
		}
		for n, hash := range hashes {
			got := table.Find(hash, func(other int32) bool { return other == n })
			if held[n] != (got == n) {
				t.Fatalf("%d is held: %t, found %d", n, held[n], got)
			}
		}
	})
}

func TestTable_TakesSevenBytesOfEach(t *testing.T) {
	hash := func(n int32) uint64 { return uint64(n) }
	for _, n := range []int32{1000, 41_667, 65_536, 100_000} {
		table := New(hash)
		for i := range n {
			table.Add(i)
		}
		if bytes := float64(4*len(table.slots)) / float64(n); bytes > 7 {
			t.Errorf("%d take %.1f bytes each", n, bytes)
		}
		longest := 0
		for i := range n {
			probes := 0
			table.Find(hash(i), func(other int32) bool { probes++; return other == i })
			longest = max(longest, probes)
		}
		if longest > 200 {
			t.Errorf("%d: a search looks at %d", n, longest)
		}
	}
}
