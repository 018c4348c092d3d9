package record

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/wire"
)

const hour = int64(HourMillis)

func TestCalls_KeepTheNewestSixteenOfADay(t *testing.T) {
	var c Calls
	for i := range 17 {
		c.Add(AcceptedCall{ID: uint64(i), At: 1000*hour + int64(i)})
	}
	if _, ok := c.Find(0, 1000*hour+16); ok || len(c) != 16 {
		t.Fatalf("the oldest of 17 stands among %d", len(c))
	}
	if _, ok := c.Find(1, 1024*hour); !ok {
		t.Error("forgotten within the day")
	}
	if _, ok := c.Find(1, 1024*hour+1); ok {
		t.Error("known for longer than a day")
	}
	c.Expire(1024*hour + 8)
	if len(c) != 8 || c[0].ID != 9 {
		t.Errorf("%d are left after a day, from %d on", len(c), c[0].ID)
	}
	r := wire.Reader{Rest: append(c.append(nil), "body"...)}
	if diff := cmp.Diff(c, decodeCalls(&r), cmp.AllowUnexported(AcceptedCall{})); diff != "" || string(r.Rest) != "body" || r.Bad {
		t.Errorf("read back, before %q: %s", r.Rest, diff)
	}
}

func TestCalls_CutShortIsRefused(t *testing.T) {
	whole := Calls{{1, 2, 3 * hour, 7, nil}, {4, 5, 6 * hour, 0, []byte("so much")}}.append(nil)
	for n := range len(whole) {
		r := wire.Reader{Rest: whole[:n]}
		if c := decodeCalls(&r); !r.Bad {
			t.Errorf("%d of %d bytes were read as %v", n, len(whole), c)
		}
	}
}

func TestCalls_JoinKeepsTheNewest(t *testing.T) {
	var a, b Calls
	for i := range int64(10) {
		a.Add(AcceptedCall{ID: uint64(2 * i), At: 2 * i})
		b.Add(AcceptedCall{ID: uint64(2*i + 1), At: 2*i + 1})
	}
	joined := a.Join(b)
	if len(joined) != CallsInRecord || joined[0].ID != 4 || joined[15].ID != 19 {
		t.Fatalf("joined %v", joined)
	}
	joined.Add(AcceptedCall{ID: 99, At: 7}) // the other partition's log time was ahead
	if last := joined[len(joined)-1]; last.ID != 99 || last.At != 19 {
		t.Errorf("added as %v", last)
	}
}
