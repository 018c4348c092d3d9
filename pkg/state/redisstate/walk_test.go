package redisstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/state"
)

// keyspace is a server whose keys lie in order.
type keyspace struct {
	keys  []string
	name  string
	scans int
	err   error
}

func (s *keyspace) run(context.Context) (string, error) { return s.name, nil }

func (s *keyspace) scan(_ context.Context, from uint64, _ string, count int) ([]string, uint64, error) {
	s.scans++
	if s.err != nil {
		return nil, 0, s.err
	}
	to := min(int(from)+count, len(s.keys))
	if to == len(s.keys) {
		return s.keys[from:], 0, nil
	}
	return s.keys[from:to], uint64(to), nil
}

// keysOf are keys of partitions a, b, …, in turn.
func keysOf(partitions, each int) (keys []string) {
	for i := range each {
		for p := range partitions {
			keys = append(keys, fmt.Sprintf("{%c}r:%05d", 'a'+p, i))
		}
	}
	return keys
}

func roundsOn(s server) (*rounds, *time.Time) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &rounds{walks: &walks{}, server: s, now: func() time.Time { return now }, walkers: map[string]*walker{}, riding: map[string]*walker{}}, &now
}

// walking is one walk, step by step.
type walking struct {
	t      *testing.T
	rounds *rounds
	base   string
	cursor string
	found  []string
	over   bool
}

func (w *walking) step() error {
	w.t.Helper()
	if w.over {
		return nil
	}
	keys, next, err := w.rounds.walk(w.t.Context(), w.base, "r:", w.cursor, 10)
	w.found, w.cursor, w.over = append(w.found, keys...), next, err == nil && next == ""
	return err
}

func walksOf(t *testing.T, r *rounds, n int) (all []*walking) {
	for p := range n {
		all = append(all, &walking{t: t, rounds: r, base: fmt.Sprintf("{%c}", 'a'+p)})
	}
	return all
}

func walkAll(t *testing.T, all ...*walking) {
	t.Helper()
	for range 10_000 {
		if !slices.ContainsFunc(all, func(w *walking) bool { return !w.over }) {
			return
		}
		for _, w := range all {
			if err := w.step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatal("a walk does not end")
}

func TestWalk_PartitionsShareTwoRounds(t *testing.T) {
	const partitions, each = 24, 100
	s := &keyspace{keys: keysOf(partitions, each)}
	r, _ := roundsOn(s)
	all := walksOf(t, r, partitions)
	walkAll(t, all...)
	for p, w := range all {
		var want []string
		for i := range each {
			want = append(want, fmt.Sprintf("r:%05d", i))
		}
		if diff := cmp.Diff(want, w.found); diff != "" {
			t.Fatalf("partition %d: %s", p, diff)
		}
	}
	if most := 2 * partitions * each / 10; s.scans > most {
		t.Errorf("%d steps; two rounds take %d", s.scans, most)
	}
}

// A key that was made behind a round that is on its way is found by who begins after it was made.
func TestWalk_WhoComesLateWaitsForTheNextRound(t *testing.T) {
	s := &keyspace{keys: keysOf(2, 50)}
	r, _ := roundsOn(s)
	all := walksOf(t, r, 2)
	for range 4 {
		if err := all[0].step(); err != nil {
			t.Fatal(err)
		}
	}
	s.keys[1] = "{b}r:made" // in place of another, behind the round
	walkAll(t, all...)
	if !slices.Contains(all[1].found, "r:made") || len(all[1].found) != 50 {
		t.Errorf("found %v", all[1].found)
	}
}

// Keys that a partition does not take hold the round, for a minute.
func TestWalk_LeftAloneIsGivenUp(t *testing.T) {
	s := &keyspace{keys: append(keysOf(1, 2*mostFound), "{b}r:1")}
	r, now := roundsOn(s)
	alone := &walking{t: t, rounds: r, base: "{a}", cursor: r.enter("{a}", "r:")}
	w := &walking{t: t, rounds: r, base: "{b}"}
	for range mostFound/10 + 3 {
		if err := w.step(); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(r.riding["{a}"].keys); got != mostFound || w.over {
		t.Fatalf("%d keys lie ready, over %t", got, w.over)
	}
	for range 2 {
		*now = now.Add(paused/2 + time.Second)
		if err := w.step(); err != nil {
			t.Fatal(err)
		}
	}
	if walkAll(t, w); len(w.found) != 1 {
		t.Errorf("found %v", w.found)
	}
	if err := alone.step(); !errors.Is(err, state.ErrWalk) {
		t.Errorf("a walk that was left alone: %v", err)
	}
}

func TestWalk_ServerThatWasStartedAgainEndsIt(t *testing.T) {
	s := &keyspace{keys: keysOf(1, 50), name: "1"}
	r, _ := roundsOn(s)
	w := walksOf(t, r, 1)[0]
	if err := w.step(); err != nil {
		t.Fatal(err)
	}
	s.name = "2"
	for !w.over {
		if err := w.step(); err != nil {
			if !errors.Is(err, state.ErrWalk) {
				t.Fatal(err)
			}
			break
		}
	}
	if w.over {
		t.Fatal("a round over two runs of the server passed for whole")
	}
	again := walksOf(t, r, 1)[0]
	if walkAll(t, again); len(again.found) != 50 {
		t.Errorf("found %d", len(again.found))
	}
}

func TestWalk_AfterAnErrorItGoesOn(t *testing.T) {
	s := &keyspace{keys: keysOf(1, 50), err: errors.New("away")}
	r, _ := roundsOn(s)
	w := walksOf(t, r, 1)[0]
	if err := w.step(); !errors.Is(err, s.err) {
		t.Fatal(err)
	}
	away := s.err
	s.err = nil
	w = walksOf(t, r, 1)[0]
	for range 2 {
		if err := w.step(); err != nil {
			t.Fatal(err)
		}
	}
	s.err = away
	cursor := w.cursor
	if err := w.step(); !errors.Is(err, away) {
		t.Fatal(err)
	}
	s.err, w.cursor = nil, cursor
	if walkAll(t, w); len(w.found) != 50 {
		t.Errorf("found %v", w.found)
	}
}

// Where no key stands nothing is looked at again before something is written.
func TestWalk_OfNothingIsOver(t *testing.T) {
	s := &keyspace{keys: []string{"{a}" + watermarkKey}}
	r, _ := roundsOn(s)
	for range 3 {
		walkAll(t, walksOf(t, r, 1)[0])
	}
	if s.scans != 1 {
		t.Errorf("%d steps", s.scans)
	}
	s.keys = keysOf(1, 3)
	r.walks.written.Add(1)
	w := walksOf(t, r, 1)[0]
	if walkAll(t, w); len(w.found) != 3 {
		t.Errorf("found %v", w.found)
	}
}
