package trigger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/delivery"
)

var comparePositions = cmp.AllowUnexported(position{})

func anID(n int) string {
	return delivery.NewID(time.UnixMilli(int64(n)), "t", "s", "x", "e", "n", "a", "", "r")
}

func TestPositions_DecodeToWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ps positions
		for _, key := range rapid.SliceOfDistinct(rapid.StringN(0, 20, 63), rapid.ID).Draw(t, "keys") {
			at := time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "at")).UTC()
			for range rapid.IntRange(1, 3).Draw(t, "times") {
				ps = ps.take(key, anID(rapid.IntRange(0, 1<<40).Draw(t, "id")), at)
			}
		}
		encoded := ps.append(nil)
		back, err := decodePositions(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ps, back, comparePositions); len(ps) > 0 && diff != "" {
			t.Fatal(diff)
		}
		// Nothing cut short or lengthened is taken for positions.
		for n := range encoded {
			if _, err := decodePositions(encoded[:n]); err == nil {
				t.Fatalf("%d of %d bytes were decoded", n, len(encoded))
			}
		}
		if _, err := decodePositions(append(encoded, 0)); err == nil {
			t.Fatal("a byte too many was passed over")
		}
	})
}

func FuzzDecodePositions(f *testing.F) {
	f.Add(positions{}.take("crm", anID(1), time.UnixMilli(5)).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		ps, err := decodePositions(b)
		if err != nil {
			return
		}
		again, err := decodePositions(ps.append(nil))
		if err != nil || cmp.Diff(ps, again, comparePositions) != "" {
			t.Errorf("%v became %v (%v)", ps, again, err)
		}
	})
}

func TestPositions_AreForgottenNinetyDaysAfterTheirLastUse(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ps := positions{}.take("a", anID(1), start).take("b", anID(2), start.Add(time.Hour)).take("a", anID(3), start.Add(2*time.Hour))
	if got := ps.forget(); !got.Equal(start.Add(time.Hour + positionKept)) {
		t.Errorf("first forgotten at %s", got)
	}
	if got := len(ps.keep(start.Add(time.Hour + positionKept - time.Millisecond))); got != 2 {
		t.Errorf("%d positions a moment before", got)
	}
	kept := ps.keep(start.Add(time.Hour + positionKept))
	if len(kept) != 1 || kept[0].key != "a" {
		t.Errorf("kept %v", kept)
	}
	want := channel.Position{Sequence: 3, Previous: anID(3)}
	if got := kept.next("a"); got != want {
		t.Errorf("next %v, want %v", got, want)
	}
	if got := kept.next("b"); got != (channel.Position{Sequence: 1}) {
		t.Errorf("a forgotten position goes on with %v", got)
	}
	if !slices.IsSortedFunc(ps, func(a, b position) int { return strings.Compare(a.key, b.key) }) {
		t.Errorf("not sorted: %v", ps)
	}
}

// A subject's record stays within the size of one commit, however many keys it meets.
func TestPositions_AboveTheBoundForgetTheOneUnusedForLongest(t *testing.T) {
	var ps positions
	for i := range maxPositions + 10 {
		ps = ps.take(fmt.Sprintf("e%05d", (i*7919)%100_000), anID(i), epoch.Add(time.Duration(i)*time.Second))
	}
	if len(ps) != maxPositions {
		t.Fatalf("%d positions", len(ps))
	}
	if !slices.IsSortedFunc(ps, func(a, b position) int { return strings.Compare(a.key, b.key) }) {
		t.Error("not sorted")
	}
	for _, p := range ps {
		if p.used.Before(epoch.Add(10 * time.Second)) {
			t.Errorf("%s is of %s", p.key, p.used)
		}
	}
	if size := len(ps.append(nil)); size > 512<<10 {
		t.Errorf("takes %d bytes", size)
	}
}
