package trigger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/rules"
)

var compareLanes = cmp.AllowUnexported(lane{})

func anID(n int) string {
	return delivery.NewID(time.UnixMilli(int64(n)), "t", "s", "x", "e", "n", "a", "", "r")
}

func TestLanesComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ls lanes
		for _, endpoint := range rapid.SliceOfDistinct(rapid.StringN(0, 20, 63), rapid.ID).Draw(t, "endpoints") {
			at := time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "at")).UTC()
			for range rapid.IntRange(1, 3).Draw(t, "times") {
				ls = ls.take(endpoint, anID(rapid.IntRange(0, 1<<40).Draw(t, "id")), at)
			}
		}
		encoded := ls.append(nil)
		back, err := decodeLanes(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ls, back, compareLanes); len(ls) > 0 && diff != "" {
			t.Fatal(diff)
		}
		// Nothing cut short or lengthened is taken for lanes.
		for n := range encoded {
			if _, err := decodeLanes(encoded[:n]); err == nil {
				t.Fatalf("%d of %d bytes were decoded", n, len(encoded))
			}
		}
		if _, err := decodeLanes(append(encoded, 0)); err == nil {
			t.Fatal("a byte too many was passed over")
		}
	})
}

func FuzzDecodeLanes(f *testing.F) {
	f.Add(lanes{}.take("crm", anID(1), time.UnixMilli(5)).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		ls, err := decodeLanes(b)
		if err != nil {
			return
		}
		again, err := decodeLanes(ls.append(nil))
		if err != nil || cmp.Diff(ls, again, compareLanes) != "" {
			t.Errorf("%v became %v (%v)", ls, again, err)
		}
	})
}

func TestALaneIsForgottenNinetyDaysAfterItsLastUse(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ls := lanes{}.take("a", anID(1), start).take("b", anID(2), start.Add(time.Hour)).take("a", anID(3), start.Add(2*time.Hour))
	if got := ls.forget(); !got.Equal(start.Add(time.Hour + laneKept)) {
		t.Errorf("first forgotten at %s", got)
	}
	if got := len(ls.keep(start.Add(time.Hour + laneKept - time.Millisecond))); got != 2 {
		t.Errorf("%d lanes a moment before", got)
	}
	kept := ls.keep(start.Add(time.Hour + laneKept))
	if len(kept) != 1 || kept[0].endpoint != "a" {
		t.Errorf("kept %v", kept)
	}
	want := rules.Lane{Sequence: 3, Previous: anID(3)}
	if got := kept.next("a"); got != want {
		t.Errorf("next %v, want %v", got, want)
	}
	if got := kept.next("b"); got != (rules.Lane{Sequence: 1}) {
		t.Errorf("a forgotten lane goes on with %v", got)
	}
	if !slices.IsSortedFunc(ls, func(a, b lane) int { return strings.Compare(a.endpoint, b.endpoint) }) {
		t.Errorf("not sorted: %v", ls)
	}
}

// Endpoints come and go; a subject's record stays within what one commit takes.
func TestALaneThatWasUsedLongestAgoIsForgottenFirst(t *testing.T) {
	var ls lanes
	for i := range maxLanes + 10 {
		ls = ls.take(fmt.Sprintf("e%05d", (i*7919)%100_000), anID(i), epoch.Add(time.Duration(i)*time.Second))
	}
	if len(ls) != maxLanes {
		t.Fatalf("%d lanes", len(ls))
	}
	if !slices.IsSortedFunc(ls, func(a, b lane) int { return strings.Compare(a.endpoint, b.endpoint) }) {
		t.Error("not sorted")
	}
	for _, l := range ls {
		if l.used.Before(epoch.Add(10 * time.Second)) {
			t.Errorf("%s is of %s", l.endpoint, l.used)
		}
	}
	if size := len(ls.append(nil)); size > 512<<10 {
		t.Errorf("takes %d bytes", size)
	}
}
