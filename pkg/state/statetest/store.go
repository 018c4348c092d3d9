// Package statetest holds what every state store must pass, and the Redis servers that tests run on.
package statetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/state"
)

// Store runs the contract of state.Store on stores that begin empty.
func Store(t *testing.T, empty func(t *testing.T) state.Store) {
	p := state.Partition{Domain: "contract", Number: 3, Count: 8}
	other := state.Partition{Domain: "contract", Number: 4, Count: 8}
	open := func(t *testing.T, s state.Store, p state.Partition, address string) state.Watermark {
		t.Helper()
		w, err := s.Open(t.Context(), p, address)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		return w
	}
	commit := func(t *testing.T, s state.Store, p state.Partition, from, to state.Watermark, c state.Commit) {
		t.Helper()
		if err := s.Commit(t.Context(), p, from, to, c); err != nil {
			t.Fatalf("commit: %v", err)
		}
	}
	load := func(t *testing.T, s state.Store, p state.Partition, w state.Watermark, keys ...string) [][]byte {
		t.Helper()
		values, err := s.Load(t.Context(), p, w, keys)
		if err != nil {
			t.Fatalf("load: %v", err)
		}
		return values
	}
	next := func(w state.Watermark) state.Watermark {
		w.Serial++
		w.Offset += 10
		w.Status = state.Ready
		return w
	}

	t.Run("opening an empty partition makes a blank watermark with our address", func(t *testing.T) {
		s := empty(t)
		w := open(t, s, p, "10.0.0.1:7030")
		if w.Status != state.Blank || w.Address != "10.0.0.1:7030" || w.Token == (state.Token{}) || w.Before != (state.Token{}) {
			t.Fatalf("watermark %+v", w)
		}
		load(t, s, p, w)
	})
	t.Run("opening again keeps everything but token and address", func(t *testing.T) {
		s := empty(t)
		w := open(t, s, p, "a-rather-long-host.example:7030")
		to := next(w)
		to.LogTime, to.Revision, to.PublishedOffset, to.LastHash, to.DueMinute, to.Extra = 1_700_000_000_123, state.Revision{History: 1 << 63, Number: 7}, 5, 1<<63, 28_333_333, []byte("more\x00")
		commit(t, s, p, w, to, state.Commit{})
		again := open(t, s, p, "b:1")
		if again.Token == to.Token {
			t.Fatal("token was not drawn anew")
		}
		want := to
		want.Token, want.Before, want.Address = again.Token, to.Token, "b:1"
		if diff := cmp.Diff(want, again); diff != "" {
			t.Fatal(diff)
		}
		load(t, s, p, again)
	})
	t.Run("who has been opened over can neither read nor write", func(t *testing.T) {
		s := empty(t)
		zombie := open(t, s, p, "a:1")
		owner := open(t, s, p, "a:1")
		if _, err := s.Load(t.Context(), p, zombie, []string{"r:x"}); !errors.Is(err, state.ErrFenced) {
			t.Fatalf("load: %v", err)
		}
		err := s.Commit(t.Context(), p, zombie, next(zombie), state.Commit{Puts: []state.Entry{{Key: "r:x", Value: []byte("zombie")}}})
		if !errors.Is(err, state.ErrFenced) {
			t.Fatalf("commit: %v", err)
		}
		if got := load(t, s, p, owner, "r:x"); got[0] != nil {
			t.Fatalf("a refused commit wrote %q", got[0])
		}
	})
	t.Run("the same commit twice is refused the second time", func(t *testing.T) {
		s := empty(t)
		w := open(t, s, p, "a:1")
		commit(t, s, p, w, next(w), state.Commit{Appends: []state.Entry{{Key: "d:1", Value: []byte("x")}}})
		err := s.Commit(t.Context(), p, w, next(w), state.Commit{Appends: []state.Entry{{Key: "d:1", Value: []byte("x")}}})
		if !errors.Is(err, state.ErrFenced) {
			t.Fatalf("commit: %v", err)
		}
		if got := load(t, s, p, next(w), "d:1"); string(got[0]) != "x" {
			t.Fatalf("list is %q", got[0])
		}
	})
	t.Run("a commit puts, appends and deletes in one step", func(t *testing.T) {
		s := empty(t)
		w := open(t, s, p, "a:1")
		binary := []byte{0, 1, 255, '\r', '\n', '{', '}'}
		commit(t, s, p, w, next(w), state.Commit{
			Puts:    []state.Entry{{Key: "r:a", Value: binary}, {Key: "r:b", Value: []byte("b")}, {Key: "r:e", Value: []byte{}}},
			Appends: []state.Entry{{Key: "d:1", Value: []byte("one")}},
		})
		w = next(w)
		commit(t, s, p, w, next(w), state.Commit{
			Puts:    []state.Entry{{Key: "r:c", Value: []byte("c")}},
			Appends: []state.Entry{{Key: "d:1", Value: []byte("two")}},
			Deletes: []string{"r:b", "r:never"},
		})
		got := load(t, s, p, next(w), "r:a", "r:b", "r:c", "d:1", "r:never", "r:e")
		want := [][]byte{binary, nil, []byte("c"), []byte("onetwo"), nil, {}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
	t.Run("partitions and domains share nothing", func(t *testing.T) {
		s := empty(t)
		w := open(t, s, p, "a:1")
		commit(t, s, p, w, next(w), state.Commit{Puts: []state.Entry{{Key: "r:a", Value: []byte("mine")}}})
		o := open(t, s, other, "a:1")
		if got := load(t, s, other, o, "r:a"); got[0] != nil {
			t.Fatalf("other partition reads %q", got[0])
		}
		d := state.Partition{Domain: "contract2", Number: p.Number, Count: p.Count}
		w2 := open(t, s, d, "a:1")
		if got := load(t, s, d, w2, "r:a"); w2.Status != state.Blank || got[0] != nil {
			t.Fatalf("other domain reads %q at %v", got[0], w2.Status)
		}
	})
	t.Run("who does not own it may peek", func(t *testing.T) {
		s := empty(t)
		if w, got, err := s.Peek(t.Context(), p, []string{"r:a"}); err != nil || w.Status != state.Blank || got[0] != nil {
			t.Fatalf("peek at nothing: %+v %q %v", w, got, err)
		}
		w := open(t, s, p, "a:1")
		commit(t, s, p, w, next(w), state.Commit{Puts: []state.Entry{{Key: "r:a", Value: []byte("v")}}})
		got, values, err := s.Peek(t.Context(), p, []string{"r:a", "r:b"})
		if err != nil || got.Address != "a:1" || got.Offset != 10 || string(values[0]) != "v" || values[1] != nil {
			t.Fatalf("peek: %+v %q %v", got, values, err)
		}
	})
	t.Run("a scan finds each key with the prefix, and no other partition's", func(t *testing.T) {
		s := empty(t)
		w := open(t, s, p, "a:1")
		var c state.Commit
		var want []string
		for i := range 700 {
			key := fmt.Sprintf("r:tenant/%04d", i)
			want = append(want, key)
			c.Puts = append(c.Puts, state.Entry{Key: key, Value: []byte("v")})
		}
		c.Puts = append(c.Puts, state.Entry{Key: "s:tenant/0001", Value: []byte("v")}, state.Entry{Key: "d:5", Value: []byte("v")})
		commit(t, s, p, w, next(w), c)
		o := open(t, s, other, "a:1")
		commit(t, s, other, o, next(o), state.Commit{Puts: []state.Entry{{Key: "r:foreign", Value: []byte("v")}}})
		var got []string
		for cursor := ""; ; {
			keys, after, err := s.Scan(t.Context(), p, "r:", cursor, 50)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, keys...)
			if cursor = after; cursor == "" {
				break
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
			t.Fatal(diff)
		}
	})
	t.Run("walks of two partitions find what stands throughout, whatever is made and deleted meanwhile", func(t *testing.T) {
		s := empty(t)
		partitions := []state.Partition{p, other}
		var at []state.Watermark
		put := func(i int, name string, n int) {
			var c state.Commit
			for k := range n {
				c.Puts = append(c.Puts, state.Entry{Key: fmt.Sprintf("r:%s/%04d", name, k), Value: []byte("v")})
			}
			commit(t, s, partitions[i], at[i], next(at[i]), c)
			at[i] = next(at[i])
		}
		for i, p := range partitions {
			at = append(at, open(t, s, p, "a:1"))
			put(i, fmt.Sprint("stands-", i), 300)
			put(i, "goes", 200)
		}
		found := []map[string]bool{{}, {}}
		cursors, over := []string{"", ""}, []bool{false, false}
		for step := 0; !over[0] || !over[1]; step++ {
			for i, p := range partitions {
				if over[i] || i == 1 && step < 3 { // the second one begins in the midst of the first
					continue
				}
				keys, after, err := s.Walk(t.Context(), p, "r:", cursors[i], 50)
				if err != nil {
					t.Fatal(err)
				}
				for _, k := range keys {
					found[i][k] = true
				}
				cursors[i], over[i] = after, after == ""
			}
			switch {
			case step == 2:
				var c state.Commit
				for k := range 200 {
					c.Deletes = append(c.Deletes, fmt.Sprintf("r:goes/%04d", k))
				}
				commit(t, s, p, at[0], next(at[0]), c)
				at[0] = next(at[0])
			case step < 12:
				put(1, fmt.Sprint("comes-", step), 100)
			}
		}
		for i := range partitions {
			for k := range 300 {
				if key := fmt.Sprintf("r:stands-%d/%04d", i, k); !found[i][key] {
					t.Errorf("partition %d: %s was not found", i, key)
				}
			}
			if found[i][fmt.Sprintf("r:stands-%d/0000", 1-i)] {
				t.Errorf("partition %d: found what is the other's", i)
			}
		}
	})
	t.Run("the largest commit fits, a larger one is refused before it is sent", func(t *testing.T) {
		s := empty(t)
		w := open(t, s, p, "a:1")
		var c state.Commit
		value := bytes.Repeat([]byte("v"), state.MaxBytes/state.MaxKeys-8)
		for i := range state.MaxKeys - 1 {
			c.Puts = append(c.Puts, state.Entry{Key: fmt.Sprintf("r:%05d", i), Value: value})
		}
		commit(t, s, p, w, next(w), c)
		w = next(w)
		more := state.Commit{Puts: append(c.Puts, state.Entry{Key: "r:x", Value: value})}
		if err := s.Commit(t.Context(), p, w, next(w), more); !errors.Is(err, state.ErrTooLarge) {
			t.Fatalf("too many keys: %v", err)
		}
		huge := state.Commit{Puts: []state.Entry{{Key: "r:x", Value: []byte(strings.Repeat("v", state.MaxBytes))}}}
		if err := s.Commit(t.Context(), p, w, next(w), huge); !errors.Is(err, state.ErrTooLarge) {
			t.Fatalf("too many bytes: %v", err)
		}
		load(t, s, p, w)
	})
}
