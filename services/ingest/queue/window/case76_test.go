package window

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// The events of case 76, of two subjects in one partition: N1 O1 N2 O2 N3, at offsets 0 to 4.
const (
	keyN = 7601
	keyO = 7605
)

var names76 = []string{"N1", "O1", "N2", "O2", "N3"}

func window76(t *testing.T, start Start) *Window {
	t.Helper()
	w := New([]Start{start}, true)
	for i, name := range names76 {
		key := uint64(keyN)
		if name[0] == 'O' {
			key = keyO
		}
		if int64(i) < start.Next {
			continue
		}
		if err := w.Add(0, Event{Offset: int64(i), Key: key, Name: uint64(100 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// take is what is sent at a second: the name of each event, with the number of its sending where it is not the first, and ~ where it is
// marked.
func take(w *Window, second int) string {
	var out []string
	for _, s := range w.Take(at(second), MaxUnacked, nil) {
		text := names76[s.Offset]
		if s.Number > 1 {
			text += fmt.Sprint("#", s.Number)
		}
		if s.MaybeSeen {
			text += "~"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func at(second int) time.Time { return time.Unix(1_700_000_000+int64(second), 0) }

func offsetOf(name string) Ref { return Ref{0, int64(slices.Index(names76, name))} }

// The rows of the case, one after the other: what the consumer does at a second, and what is sent then.
func TestCase76_RowsAToE(t *testing.T) {
	w := window76(t, Start{})
	for _, row := range []struct {
		name   string
		second int
		acks   func()
		want   string
	}{
		{"a: at once the first of each subject", 0, func() {}, "N1 O1"},
		{"b: O2 follows O1, N1 holds it not", 1, func() { w.Ack(offsetOf("O1")) }, "O2"},
		{"nothing before 30 s have passed", 29, func() {}, ""},
		{"c: N1 again, marked, and no N2", 30, func() {}, "N1#2~"},
		{"O2 was sent a second later", 31, func() {}, "O2#2~"},
		{"d: the cursor of the first sending of N1 counts, N2 at once", 40, func() { w.AckTo(1) }, "N2"},
		{"N1 does not come a third time", 61, func() {}, "O2#3~"},
		{"e: acks of what is acknowledged do nothing", 62, func() { w.Ack(offsetOf("N1")); w.AckTo(2) }, ""},
	} {
		row.acks()
		if got := take(w, row.second); got != row.want {
			t.Fatalf("%s: %q is sent, want %q", row.name, got, row.want)
		}
	}
	if got := w.Position(0); got != 2 {
		t.Errorf("the position is %d: N2 at 2 is the first that is not acknowledged", got)
	}
}

func TestCase76_RowF_KilledResumesFromPrefix(t *testing.T) {
	w := window76(t, Start{})
	take(w, 0)
	w.AckTo(2)
	if got := take(w, 1); got != "N2 O2" {
		t.Fatal(got)
	}
	w.Ack(offsetOf("N2"))
	if got := w.Position(0); got != 3 {
		t.Fatalf("the position is %d, want that of O2", got)
	}
	// Killed: all that is known is the position. The log ended at 5.
	w = window76(t, Start{Next: 3, SeenBelow: 5})
	if got := take(w, 2); got != "O2~ N3~" {
		t.Errorf("%q is sent, want O2 first", got)
	}
}

func TestCase76_RowG_UnackedComesAtOnceOnTheNextStream(t *testing.T) {
	w := window76(t, Start{})
	take(w, 0)
	next := window76(t, Start{Next: w.Position(0), SeenBelow: w.Reach(0)})
	if got := take(next, 1); got != "N1~ O1~" {
		t.Errorf("%q is sent", got)
	}
	next.AckTo(2)
	if got := take(next, 2); got != "N2 O2" {
		t.Errorf("%q is sent: N2 and O2 were never sent before", got)
	}
}

func TestCase76_RowH_OneUnackedHoldsItsSubjectAlone(t *testing.T) {
	w := New([]Start{{}}, true)
	offset := int64(0)
	add := func(key uint64) {
		if err := w.Add(0, Event{Offset: offset, Key: key}); err != nil {
			t.Fatal(err)
		}
		offset++
	}
	add(keyO)
	stuck := w.Take(at(0), 1, nil)[0]
	for i := range 100_000 {
		add(uint64(10 + i%5000))
		for _, s := range w.Take(at(1), MaxUnacked, nil) {
			w.Ack(Ref{s.Partition, s.Offset})
		}
	}
	if w.Position(0) != stuck.Offset || w.Unacked() != 1 {
		t.Fatalf("position %d, %d unacknowledged", w.Position(0), w.Unacked())
	}
	// Given up counts as an ack.
	w.Ack(Ref{0, stuck.Offset})
	if w.Position(0) != offset {
		t.Errorf("the position is %d, want the end, %d", w.Position(0), offset)
	}
}

func TestCursor_AcksWhatWasSentAndNotWhatIsHeldBack(t *testing.T) {
	w := window76(t, Start{})
	take(w, 0)
	w.Ack(offsetOf("O1"))
	take(w, 0) // O2 at offset 3 is sent, N2 at 2 waits for N1
	w.AckTo(w.Seq())
	if got := take(w, 1); got != "N2" {
		t.Errorf("%q is sent: N2 was held back when the cursor came", got)
	}
	if got := w.Position(0); got != 2 {
		t.Errorf("the position is %d", got)
	}
}

func TestWindow_SendsNoMoreThanAThousandWithoutAck(t *testing.T) {
	w := New([]Start{{}}, false)
	for i := range MaxReady {
		if err := w.Add(0, Event{Offset: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if w.Room() != 0 {
		t.Errorf("room for %d", w.Room())
	}
	first := w.Take(at(0), 5000, nil)
	if len(first) != MaxUnacked || w.Sendable() {
		t.Fatalf("%d were sent", len(first))
	}
	if again := w.Take(at(30), 5000, nil); len(again) != MaxUnacked || again[0].Number != 2 {
		t.Errorf("%d were sent again", len(again))
	}
	w.AckTo(1)
	if more := w.Take(at(31), 5000, nil); len(more) != 1 || more[0].Offset != MaxUnacked {
		t.Errorf("%v", more)
	}
}

// One event without an ack holds all of its subject: in order no more than one of them is ready, and the bound is of those behind.
func TestWindow_InOrderHoldsNoMoreThanItsBoundBehindOneEvent(t *testing.T) {
	w := New([]Start{{}}, true)
	n := int64(0)
	for ; w.Room() > 0; n++ {
		if err := w.Add(0, Event{Offset: n, Key: 7, Name: uint64(n + 1)}); err != nil {
			t.Fatal(err)
		}
		if sent := w.Take(at(0), 5000, nil); n > 0 && len(sent) > 0 {
			t.Fatalf("%v is sent before what is ahead of it was acknowledged", sent)
		}
	}
	if n != MaxPending {
		t.Errorf("it has room for %d, not for %d", n, MaxPending)
	}
	w.Ack(Ref{0, 0})
	if w.Room() != 1 {
		t.Errorf("behind an ack it has room for %d", w.Room())
	}
}

// A subscriber that reads a response for a minute has 30 s for it all the same.
func TestWritten_BeginsTheTimeForTheAck(t *testing.T) {
	w := window76(t, Start{})
	take(w, 0)
	w.Written(1, at(60))
	if got := take(w, 61); got != "" {
		t.Errorf("%q is sent again", got)
	}
	if got := take(w, 90); got != "N1#2~ O1#2~" {
		t.Errorf("%q is sent", got)
	}
}

func TestNamed_FindsARepeatToo(t *testing.T) {
	w := New([]Start{{}, {}}, false)
	for p := range 2 {
		if err := w.Add(p, Event{Offset: 5, Name: 9}); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Named(9); got != nil {
		t.Errorf("%v was not sent", got)
	}
	w.Take(at(0), 10, nil)
	if got := w.Named(9); len(got) != 2 {
		t.Errorf("%v", got)
	}
	w.Ack(Ref{0, 5})
	if got := w.Named(9); len(got) != 1 || got[0] != (Ref{1, 5}) {
		t.Errorf("%v", got)
	}
}
