package pages

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPages_LoadAsStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := map[string][]byte{}
		want := map[int64]Reference{}
		slots := map[int64]int32{}
		p := New()
		next := int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "commits") {
			for range rapid.IntRange(0, 200).Draw(t, "changes") {
				switch rapid.IntRange(0, 2).Draw(t, "what") {
				case 0:
					r := Reference{
						Offset: next, Due: rapid.Int64Range(0, 1<<47).Draw(t, "due"), Attempts: uint8(next % 9),
						Endpoint: uint64(next * 7), OrderingKey: uint64(next) << 40, Collapse: uint64(next) * 3, Deadline: uint32(next),
					}
					next++
					slots[r.Offset], want[r.Offset] = p.Add(r), r
				case 1:
					for offset := range want { // any
						p.Remove(slots[offset])
						delete(want, offset)
						break
					}
				default:
					for offset, r := range want {
						r.Attempts++
						p.Set(slots[offset], r)
						want[offset] = r
						break
					}
				}
			}
			room := rapid.IntRange(0, 3).Draw(t, "room")
			puts, deletes, left := p.Changes(room)
			for range left {
				more, gone, _ := p.Changes(1)
				if len(more)+len(gone) != 1 {
					t.Fatalf("%d changes where there was room for one", len(more)+len(gone))
				}
				puts, deletes = append(puts, more...), append(deletes, gone...)
			}
			for _, e := range puts {
				if len(e.Value) == 0 || len(e.Value) > pageReferences*Bytes {
					t.Fatalf("page of %d bytes", len(e.Value))
				}
				store[e.Key] = e.Value
			}
			for _, key := range deletes {
				delete(store, key)
			}
		}
		loaded := New()
		for _, key := range Keys(0, p.Number()) {
			if err := loaded.Load(store[key]); err != nil {
				t.Fatal(err)
			}
		}
		got := map[int64]Reference{}
		for _, r := range loaded.Refs {
			if r.Offset >= 0 {
				got[r.Offset] = r
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if loaded.Count != len(want) {
			t.Fatalf("count %d for %d references", loaded.Count, len(want))
		}
		for page, used := range loaded.used {
			n := 0
			for _, r := range loaded.Refs[page*64 : page*64+64] {
				if r.Offset >= 0 {
					n++
				}
			}
			if n != int(used) {
				t.Fatalf("page %d holds %d references and counts %d", page, n, used)
			}
		}
		if extra := len(store) - p.Number(); extra > 0 {
			t.Fatalf("%d pages are stored that no opening loads: %v", extra, slices.Collect(maps.Keys(store)))
		}
	})
}

func TestReference_EncodesTo45Bytes(t *testing.T) {
	r := Reference{
		Offset: 1<<47 + 5, Due: 1 << 45, Attempts: 8, Endpoint: 1<<61 + 3, OrderingKey: 1<<63 + 9, Collapse: 1<<63 + 7, ID: 1<<31 + 1, Deadline: 1<<31 + 2,
	}
	b := r.encode(nil)
	if len(b) != 45 || parseReference(b) != r {
		t.Errorf("%d bytes, read back as %+v", len(b), parseReference(b))
	}
}
