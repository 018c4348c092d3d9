package ahead

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/state"
)

// held is a commit that a test lets land.
type held struct {
	done   chan struct{}
	err    error
	commit func() error
}

func (h *held) Done() <-chan struct{} { return h.done }
func (h *held) Err() error            { h.land(); return h.err }

func (h *held) land() {
	select {
	case <-h.done:
	default:
		h.err = h.commit()
		close(h.done)
	}
}

// bench is a store of maps whose commits land when they are let.
type bench struct {
	values  map[string]string
	stored  state.Watermark
	now     time.Time
	flights []*held
	fails   error
	landed  int
	work    *Work
}

func newBench(t *testing.T) *bench {
	b := &bench{values: make(map[string]string), now: time.Unix(1e9, 0)}
	b.work = New(Config{
		Commit: func(_ context.Context, from, to state.Watermark, c state.Commit) error {
			if err := c.Check(); err != nil {
				t.Error(err)
			}
			if b.fails != nil {
				return b.fails
			}
			if from.Serial != b.stored.Serial || to.Serial != from.Serial+1 {
				t.Errorf("commit from %d to %d, stored is %d", from.Serial, to.Serial, b.stored.Serial)
			}
			b.stored = to
			for _, e := range c.Puts {
				b.values[e.Key] = string(e.Value)
			}
			for _, e := range c.Appends {
				b.values[e.Key] += string(e.Value)
			}
			for _, key := range c.Deletes {
				delete(b.values, key)
			}
			return nil
		},
		Begin: func(commit func() error) Flight {
			f := &held{done: make(chan struct{}), commit: commit}
			b.flights = append(b.flights, f)
			return f
		},
		Clock:  func() time.Time { return b.now },
		Landed: func(state.Commit, time.Duration) { b.landed++ },
	})
	return b
}

func put(key, value string) state.Commit {
	return state.Commit{Puts: []state.Entry{{Key: key, Value: []byte(value)}}}
}

func (b *bench) add(t *testing.T, offset int64, c state.Commit, after ...func()) {
	t.Helper()
	if err := b.work.Add(t.Context(), state.Watermark{Offset: offset}, c, after...); err != nil {
		t.Fatal(err)
	}
	if err := b.work.Advance(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestWork_OneCommitIsOnItsWayAndOneCollects(t *testing.T) {
	b := newBench(t)
	for i := range int64(4) {
		b.add(t, i, put("k", fmt.Sprint(i)))
	}
	if len(b.flights) != 1 || b.work.Stored.Offset != 0 || len(b.values) != 0 {
		t.Fatalf("%d commits are on their way, stored is %d", len(b.flights), b.work.Stored.Offset)
	}
	if v, ok := b.work.Get([]byte("k")); !ok || string(v) != "3" {
		t.Errorf("the newest value is %q", v)
	}
	b.flights[0].land()
	if err := b.work.Advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.values["k"] != "0" || b.landed != 1 {
		t.Errorf("the store has %q after %d", b.values["k"], b.landed)
	}
	if b.add(t, 4, put("k", "4")); len(b.flights) != 1 {
		t.Error("another one was begun within 10 ms")
	}
	if wait, _ := b.work.Until(time.Second, nil); wait != every {
		t.Errorf("waits for %s", wait)
	}
	b.now = b.now.Add(every)
	if b.add(t, 5, put("l", "5")); len(b.flights) != 2 {
		t.Fatal("none was begun after 10 ms")
	}
	if err := b.work.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.values["k"] != "4" || b.values["l"] != "5" || b.work.Stored.Offset != 5 || b.work.Stored.Serial != 2 || b.work.Any() {
		t.Errorf("the store has %v at %d after %d commits", b.values, b.work.Stored.Offset, b.work.Stored.Serial)
	}
	if v, ok := b.work.Get([]byte("k")); ok {
		t.Errorf("%q is still ahead", v)
	}
}

func TestWork_OneThatIsWaitedForBeginsAtOnce(t *testing.T) {
	b := newBench(t)
	b.add(t, 1, put("a", "1"))
	answered := 0
	b.add(t, 2, put("b", "2"), func() { answered++ })
	b.flights[0].land()
	for range 2 {
		if err := b.work.Advance(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.flights) != 2 || answered != 0 {
		t.Fatalf("%d commits were begun, %d answered", len(b.flights), answered)
	}
	b.flights[1].land()
	if err := b.work.Advance(t.Context()); err != nil || answered != 1 {
		t.Errorf("answered %d times: %v", answered, err)
	}
}

func TestWork_FailedCommitAnswersNothing(t *testing.T) {
	b := newBench(t)
	b.fails = state.ErrFenced
	b.add(t, 1, put("a", "1"), func() { t.Error("answered") })
	if err := b.work.Flush(t.Context()); !errors.Is(err, state.ErrFenced) {
		t.Errorf("flush: %v", err)
	}
	if b.landed > 0 {
		t.Error("readers were shown it")
	}
}

// What a commit is not to hold together: more than the store takes, and an append to what it deletes.
func TestWork_BeginsWhatCanNotBeJoined(t *testing.T) {
	for name, c := range map[string][2]state.Commit{
		"keys":   {many(0, state.MaxKeys/2), many(state.MaxKeys/2, state.MaxKeys/2)},
		"bytes":  {put("a", string(make([]byte, state.MaxBytes/2))), put("b", string(make([]byte, state.MaxBytes/2)))},
		"append": {state.Commit{Deletes: []string{"d"}}, state.Commit{Appends: []state.Entry{{Key: "d", Value: []byte("x")}}}},
	} {
		b := newBench(t)
		b.values["d"] = "before"
		b.add(t, 1, put("first", ""))
		b.add(t, 2, c[0])
		b.add(t, 3, c[1])
		if len(b.flights) != 2 {
			t.Errorf("%s: %d were begun", name, len(b.flights))
		}
		if err := b.work.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if name == "append" && b.values["d"] != "x" {
			t.Errorf("%s: %q", name, b.values["d"])
		}
	}
}

func many(from, n int) (c state.Commit) {
	for i := range n {
		c.Puts = append(c.Puts, state.Entry{Key: fmt.Sprint("k", from+i)})
	}
	return c
}

// Random commits leave the store as they would one after the other, and what is read meanwhile is the newest.
func TestWork_JoinedCommitsMeanTheSame(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := newBench(t)
		want := make(map[string]string)
		for i := range int64(60) {
			c := random(r, i)
			for _, e := range c.Puts {
				want[e.Key] = string(e.Value)
			}
			for _, e := range c.Appends {
				want[e.Key] += string(e.Value)
			}
			for _, key := range c.Deletes {
				delete(want, key)
			}
			b.add(t, i, c)
			if r.IntN(4) == 0 {
				b.flights[len(b.flights)-1].land()
			}
			b.now = b.now.Add(time.Duration(r.IntN(8)) * time.Millisecond)
			for _, key := range []string{"r:0", "r:1", "r:2", "r:3"} {
				got, ahead := b.work.Get([]byte(key))
				if !ahead {
					got = []byte(b.values[key])
				}
				if string(got) != want[key] {
					t.Fatalf("seed %d: %s is %q at %d, want %q", seed, key, got, i, want[key])
				}
			}
		}
		if err := b.work.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(b.values, want) {
			t.Fatalf("seed %d: the store has %v, want %v", seed, b.values, want)
		}
	}
}

// random is a commit of records, of which one is put or deleted, and of lists, which are appended to or deleted.
func random(r *rand.Rand, i int64) (c state.Commit) {
	keys := []string{"r:0", "r:1", "r:2", "r:3"}
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys[:r.IntN(3)] {
		if r.IntN(3) == 0 {
			c.Deletes = append(c.Deletes, key)
		} else {
			c.Puts = append(c.Puts, state.Entry{Key: key, Value: []byte(fmt.Sprint(i))})
		}
	}
	list := fmt.Sprint("d:", r.IntN(3))
	switch r.IntN(4) {
	case 0:
		c.Deletes = append(c.Deletes, list)
	case 1, 2:
		c.Appends = append(c.Appends, state.Entry{Key: list, Value: []byte(fmt.Sprint(i, ","))})
	}
	return state.Commit{Puts: slices.Clone(c.Puts), Appends: slices.Clone(c.Appends), Deletes: slices.Clone(c.Deletes)}
}
