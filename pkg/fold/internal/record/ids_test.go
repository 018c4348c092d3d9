package record

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tollgate/tollgate/pkg/wire"
)

// What is remembered is compared with a list of everything, over hours, segments and the record being written and read
// again.
func TestIDs_FoundInRecordAndInSegments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	type entry struct {
		id   ID
		hour int64
	}
	var s IDs
	var all []entry
	segments := make(map[uint64][]byte)
	hour := int64(490_000)
	wrong := 0
	for i := range 3000 {
		if r.IntN(60) == 0 {
			hour++
		}
		for _, number := range s.Expire(hour-24, 1<<20) {
			delete(segments, number)
		}
		a := ID(r.Uint64())
		if raw := s.Add(a, hour); raw != nil {
			segments[s.Next-1] = raw
		}
		all = append(all, entry{a, hour})
		if i%7 == 0 {
			b := s.append(nil)
			s = IDs{Segments: s.Segments[:0]}
			rd := wire.Reader{Rest: b}
			if s.decode(&rd); rd.Bad || len(rd.Rest) > 0 {
				t.Fatal("what was written can't be read")
			}
		}
		find := func(a ID) (ID, bool) {
			if found, ok := s.Find(a); ok {
				return found, true
			}
			for _, x := range s.Segments {
				if !a.MayBeIn(x.Filter[:]) {
					if _, ok := FindInSegment(segments[x.Number], a); ok {
						t.Fatal("an id is in a segment whose filter denies it")
					}
					continue
				}
				if found, ok := FindInSegment(segments[x.Number], a); ok {
					return found, true
				}
				wrong++
			}
			return 0, false
		}
		within := slices.DeleteFunc(slices.Clone(all), func(e entry) bool { return e.hour < hour-24 })
		within = within[max(0, len(within)-(idsPerSubject-IDsInRecord)):]
		known := within[r.IntN(len(within))]
		if found, ok := find(known.id ^ 0x1234); !ok || found != known.id {
			t.Fatalf("after %d: one of hour %d is not known at hour %d", i, known.hour, hour)
		}
		if _, ok := find(ID(r.Uint64())); ok {
			t.Fatalf("after %d: one is known that never was", i)
		}
	}
	if len(segments) != len(s.Segments) {
		t.Errorf("%d segments stand, the record knows %d", len(segments), len(s.Segments))
	}
	// Each time thirty-one filters at most are asked for one that never was, and as many on the way to one that was;
	// one in fifty is a false hit.
	if limit := 3000 * 62 / 40; wrong > limit {
		t.Errorf("%d segments were looked through for nothing; at most %d", wrong, limit)
	}
}

func TestHeader_OfOneDayIsSmall(t *testing.T) {
	h := Header{Applied: 1 << 40, Last: 1 << 41, Listed: 1 << 25}
	names := TimerNames{"period", "late", "gone"}
	for _, name := range names {
		h.Schedule(writtenName(t, names, name), 1<<41)
	}
	for i := range 24 {
		h.IDs.Add(ID(i)<<16, 490_000+int64(i))
	}
	if n := len(h.Append(nil)); n > 305 { // each id of another hour: at its largest
		t.Errorf("the engine's part of a record with three timers and 24 ids is %d bytes", n)
	}
	for i := range 32 {
		h.IDs.Add(ID(100+i)<<16, 490_100)
	}
	if n := len(h.Append(nil)); n > 305+48 {
		t.Errorf("with a segment it is %d bytes", n)
	}
}
