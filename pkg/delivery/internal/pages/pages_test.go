package pages

import (
	"bytes"
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
		p := New(func(number int32) Reference { return want[int64(number)] })
		next := int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "commits") {
			for range rapid.IntRange(0, 200).Draw(t, "changes") {
				switch rapid.IntRange(0, 2).Draw(t, "what") {
				case 0:
					r := Reference{
						Offset: next, Due: rapid.Int64Range(0, 1<<47).Draw(t, "due"), Attempts: uint8(next % 9),
						Endpoint: uint64(next * 7), OrderingKey: uint64(next%3) << 40, Collapse: uint64(next%5) * 3, Deadline: uint32(next), First: uint32(next % 2),
					}
					next++
					want[r.Offset] = r
					slots[r.Offset] = p.Add(int32(r.Offset))
				case 1:
					for offset := range want { // any
						p.Remove(slots[offset])
						delete(want, offset)
						break
					}
				default:
					for offset, r := range want {
						r.Attempts++
						want[offset] = r
						p.Touch(slots[offset])
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
				if len(e.Value) == 0 || len(e.Value) > pageReferences*mostBytes {
					t.Fatalf("page of %d bytes", len(e.Value))
				}
				store[e.Key] = e.Value
			}
			for _, key := range deletes {
				delete(store, key)
			}
		}
		loaded := New(p.reference)
		var all []Stored
		for _, key := range Keys(0, p.Number()) {
			var err error
			if all, err = loaded.Load(all, store[key]); err != nil {
				t.Fatal(err)
			}
		}
		got := map[int64]Reference{}
		for _, s := range all {
			got[s.Offset] = s.Reference
			loaded.Put(s.Slot, int32(s.Offset))
		}
		loaded.Loaded()
		for n := range loaded.pages {
			if string(loaded.encode(int32(n))) != string(store[pageKey(int32(n))]) {
				t.Fatalf("page %d is stored as another", n)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if loaded.Count != len(want) {
			t.Fatalf("count %d for %d references", loaded.Count, len(want))
		}
		for number, of := range loaded.pages {
			n := 0
			for _, reference := range of.numbers {
				if reference != free {
					n++
				}
			}
			if n != int(of.used) {
				t.Fatalf("page %d holds %d references and counts %d", number, n, of.used)
			}
		}
		if extra := len(store) - p.Number(); extra > 0 {
			t.Fatalf("%d pages are stored that no opening loads: %v", extra, slices.Collect(maps.Keys(store)))
		}
	})
}

func TestReference_TakesWhatItHas(t *testing.T) {
	full := Reference{
		Offset: 1<<47 + 5, Due: 1 << 45, Attempts: 8, Endpoint: 1<<61 + 3, OrderingKey: 1<<63 + 9, Collapse: 1<<63 + 7, ID: 1<<31 + 1, Deadline: 1<<31 + 2, First: 1<<31 + 3,
	}
	for want, less := range map[int]func(*Reference){
		50: func(*Reference) {},
		42: func(r *Reference) { r.Collapse = 0 },
		38: func(r *Reference) { r.Collapse, r.First = 0, 0 },
		30: func(r *Reference) { r.Collapse, r.First, r.OrderingKey = 0, 0, 0 },
	} {
		r := full
		less(&r)
		b := append(r.encode(nil), 1, 2, 3)
		got, rest, ok := parseReference(b)
		if len(b)-3 != want || !ok || got != r || len(rest) != 3 {
			t.Errorf("%d bytes, want %d, read back as %+v, %t, and %d bytes more", len(b)-3, want, got, ok, len(rest))
		}
		for n := range want {
			if _, rest, ok := parseReference(b[:n]); ok {
				t.Errorf("%d of %d bytes are taken as a reference, with %d bytes more", n, want, len(rest))
			}
		}
	}
}

func TestPages_DamagedOneIsRefused(t *testing.T) {
	one := Reference{Offset: 1, OrderingKey: 2}.encode(nil)
	unknown := slices.Clone(one)
	unknown[13] |= 8
	for name, value := range map[string][]byte{
		"cut short": one[:len(one)-1], "unknown part": unknown, "too many": bytes.Repeat(one, pageReferences+1),
	} {
		if _, err := New(nil).Load(nil, value); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if all, err := New(nil).Load(nil, bytes.Repeat(one, pageReferences)); err != nil || len(all) != pageReferences {
		t.Errorf("a full one: %d, %v", len(all), err)
	}
}
