package fold

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tollgate/tollgate/pkg/wire"
)

// What is remembered is compared with a list of everything, over hours, seals
// and the record being written and read again.
func TestIdsAreRememberedWhereverTheyStand(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	type entry struct {
		id   id
		hour int64
	}
	var s ids
	var all []entry
	seals := make(map[uint64][]byte)
	hour := int64(490_000)
	wrong := 0
	for i := range 3000 {
		if r.IntN(60) == 0 {
			hour++
		}
		for _, number := range s.expire(hour - WindowHours) {
			delete(seals, number)
		}
		a := id(r.Uint64())
		if raw := s.add(a, hour); raw != nil {
			seals[s.next-1] = raw
		}
		all = append(all, entry{a, hour})
		if i%7 == 0 {
			b := s.append(nil)
			s = ids{seals: s.seals[:0]}
			rd := wire.Reader{Rest: b}
			if s.decode(&rd); rd.Bad || len(rd.Rest) > 0 {
				t.Fatal("what was written can't be read")
			}
		}
		find := func(a id) (id, bool) {
			if found, ok := s.find(a); ok {
				return found, true
			}
			for _, x := range s.seals {
				if !a.mayBeIn(x.filter[:]) {
					if _, ok := findSealed(seals[x.number], a); ok {
						t.Fatal("an id is in a seal whose filter denies it")
					}
					continue
				}
				if found, ok := findSealed(seals[x.number], a); ok {
					return found, true
				}
				wrong++
			}
			return 0, false
		}
		within := slices.DeleteFunc(slices.Clone(all), func(e entry) bool { return e.hour < hour-WindowHours })
		within = within[max(0, len(within)-(idsPerSubject-idsInRecord)):]
		known := within[r.IntN(len(within))]
		if found, ok := find(known.id ^ 0x1234); !ok || found != known.id {
			t.Fatalf("after %d: one of hour %d is not known at hour %d", i, known.hour, hour)
		}
		if _, ok := find(id(r.Uint64())); ok {
			t.Fatalf("after %d: one is known that never was", i)
		}
	}
	if len(seals) != len(s.seals) {
		t.Errorf("%d seals stand, the record knows %d", len(seals), len(s.seals))
	}
	// Each time thirty-one filters at most are asked for one that never was, and
	// as many on the way to one that was; one in fifty says yes.
	if limit := 3000 * 62 / 40; wrong > limit {
		t.Errorf("%d seals were looked through for nothing; at most %d", wrong, limit)
	}
}

func TestARecordOfADayIsSmall(t *testing.T) {
	h := header{applied: 1 << 40, last: 1 << 41, listed: 1 << 25}
	names := timerNames{"period", "late", "mark"}
	for _, name := range names {
		h.schedule(writtenName(t, names, name), 1<<41)
	}
	for i := range 24 {
		h.ids.add(id(i)<<16, 490_000+int64(i))
	}
	if n := len(h.append(nil)); n > 305 { // each id of another hour: at its largest
		t.Errorf("the engine's part of a record with three timers and 24 ids is %d bytes", n)
	}
	for i := range 32 {
		h.ids.add(id(100+i)<<16, 490_100)
	}
	if n := len(h.append(nil)); n > 305+48 {
		t.Errorf("with a seal it is %d bytes", n)
	}
}

func TestTheCacheForgetsWhatWasNotUsed(t *testing.T) {
	c := newCache(3)
	has := func(keys string) {
		t.Helper()
		for _, k := range "abcdef" {
			_, ok := c.index[string(k)]
			if want := slices.Contains([]rune(keys), k); ok != want {
				t.Errorf("%c is held: %t", k, ok)
			}
		}
	}
	for _, k := range []string{"a", "b", "c"} {
		c.put(k, []byte(k))
	}
	c.put("d", nil) // all were used; the hand passes each over once
	has("bcd")
	c.get([]byte("b"))
	c.put("e", nil)
	has("bde")
	c.remove("d")
	c.put("f", nil)
	has("bef")
	if v, ok := c.get([]byte("b")); !ok || string(v) != "b" {
		t.Errorf("b is %q", v)
	}
	c.resize(1)
	if len(c.index) != 1 {
		t.Errorf("%d are held after it was made smaller", len(c.index))
	}
	c.resize(100)
	for i := range 200 {
		c.put(fmt.Sprint(i), nil)
	}
	if len(c.index) != 100 || len(c.slots) > 103 {
		t.Errorf("%d are held, in %d places", len(c.index), len(c.slots))
	}
}
