package store_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
	"github.com/tollgate/tollgate/services/config/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// counted is an index that counts what stands.
type counted struct {
	mu     sync.Mutex
	number map[string]int
}

func (c *counted) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number = map[string]int{}
}

func (c *counted) Change(before, after *store.Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before != nil {
		c.number[before.Kind]--
	}
	if after != nil {
		c.number[after.Kind]++
	}
}

func (c *counted) of(kind string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number[kind]
}

// replica is one process on a database.
type replica struct {
	*store.Store
	t     testing.TB
	index *counted
}

func open(t testing.TB, d *storetest.Database) *replica {
	t.Helper()
	index := &counted{}
	s, err := store.Open(t.Context(), d.Config, index, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	r := &replica{Store: s, t: t, index: index}
	r.sync()
	return r
}

func (r *replica) sync() {
	r.t.Helper()
	if _, _, err := r.Sync(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) head() *configv1.WatchResponse {
	r.t.Helper()
	h, err := r.Head(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// change stores a resource whose body is the word, or deletes it where the word is empty.
func (r *replica) change(ctx context.Context, kind, name, word string) (int64, error) {
	tx, err := r.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	if err := tx.Sync(ctx); err != nil {
		return 0, err
	}
	last := tx.Last()
	made := store.Revisions{Revision: last.Revision + 1, Apply: last.Revision + 1}
	if kind == store.Suppression {
		made.Apply = last.Apply
	}
	action := "create"
	if _, there, err := tx.Newest(ctx, kind, name); err != nil {
		return 0, err
	} else if there {
		action = "update"
	}
	if word == "" {
		action = "delete"
	}
	err = tx.Write(ctx, store.Entry{Revisions: made, At: time.UnixMilli(1_800_000_000_000), Caller: "test", Action: action},
		store.Version{Kind: kind, Name: name, Revision: made.Revision, Deleted: word == "", Body: []byte(word)})
	if err != nil {
		return 0, err
	}
	return made.Revision, tx.Commit()
}

func (r *replica) must(kind, name, word string) int64 {
	r.t.Helper()
	n, err := r.change(r.t.Context(), kind, name, word)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// shown is a snapshot in words.
func (r *replica) shown(history uint64, revision int64) string {
	r.t.Helper()
	s, err := r.Snapshot(r.t.Context(), &configv1.Position{History: history, Revision: revision})
	if err != nil {
		r.t.Fatal(err)
	}
	if !s.Found {
		return "not found"
	}
	var out []string
	for v := range s.All() {
		out = append(out, fmt.Sprintf("%s=%s", v.Name, v.Body))
	}
	if s.Pruned {
		out = append(out, "pruned")
	}
	return strings.Join(out, " ")
}
