package delivery

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
		want := map[int64]reference{}
		slots := map[int64]int32{}
		p := newPages()
		next := int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "commits") {
			for range rapid.IntRange(0, 200).Draw(t, "changes") {
				switch rapid.IntRange(0, 2).Draw(t, "what") {
				case 0:
					r := reference{
						offset: next, due: rapid.Int64Range(0, 1<<47).Draw(t, "due"), attempts: uint8(next % 9),
						endpoint: uint32(next * 7), orderingKey: uint64(next) << 40,
					}
					next++
					slots[r.offset], want[r.offset] = p.add(r), r
				case 1:
					for offset := range want { // any
						p.remove(slots[offset])
						delete(want, offset)
						break
					}
				default:
					for offset, r := range want {
						r.attempts++
						p.set(slots[offset], r)
						want[offset] = r
						break
					}
				}
			}
			room := rapid.IntRange(0, 3).Draw(t, "room")
			puts, deletes, left := p.changes(room)
			for range left {
				more, gone, _ := p.changes(1)
				if len(more)+len(gone) != 1 {
					t.Fatalf("%d changes where there was room for one", len(more)+len(gone))
				}
				puts, deletes = append(puts, more...), append(deletes, gone...)
			}
			for _, e := range puts {
				if len(e.Value) == 0 || len(e.Value) > pageReferences*referenceBytes {
					t.Fatalf("page of %d bytes", len(e.Value))
				}
				store[e.Key] = e.Value
			}
			for _, key := range deletes {
				delete(store, key)
			}
		}
		loaded := newPages()
		for _, key := range pageKeys(0, p.number()) {
			if err := loaded.load(store[key]); err != nil {
				t.Fatal(err)
			}
		}
		got := map[int64]reference{}
		for _, r := range loaded.refs {
			if r.offset >= 0 {
				got[r.offset] = r
			}
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(reference{})); diff != "" {
			t.Fatal(diff)
		}
		if loaded.count != len(want) {
			t.Fatalf("count %d for %d references", loaded.count, len(want))
		}
		for page, used := range loaded.used {
			n := 0
			for _, r := range loaded.refs[page*64 : page*64+64] {
				if r.offset >= 0 {
					n++
				}
			}
			if n != int(used) {
				t.Fatalf("page %d holds %d references and counts %d", page, n, used)
			}
		}
		if extra := len(store) - p.number(); extra > 0 {
			t.Fatalf("%d pages are stored that no opening loads: %v", extra, slices.Collect(maps.Keys(store)))
		}
	})
}

func TestReference_EncodesTo33Bytes(t *testing.T) {
	r := reference{offset: 1<<62 + 5, due: 1 << 45, attempts: 8, endpoint: 1<<31 + 3, orderingKey: 1<<63 + 9}
	b := r.encode(nil)
	if len(b) != referenceBytes || parseReference(b) != r {
		t.Errorf("%d bytes, read back as %+v", len(b), parseReference(b))
	}
}
