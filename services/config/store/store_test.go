package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tollgate/tollgate/services/config/store"
	"github.com/tollgate/tollgate/services/config/store/storetest"
)

func TestSnapshot_OfEachRevisionIsAsItWas(t *testing.T) {
	d := storetest.New(t)
	r := open(t, d)
	asItWas := map[int64]string{}
	for i, step := range []struct{ kind, name, word string }{
		{"tenant", "a", "1"}, {"endpoint", "a/x", "1"}, {"endpoint", "a/B", "1"}, {"endpoint", "a/x", "2"}, {"suppression", "a/s", "1"},
		{"endpoint", "a/x", ""}, {"endpoint", "a/x", "3"}, {"suppression", "a/s", ""}, {"tenant", "a", "2"}, {"endpoint", "a/B", ""},
	} {
		n := r.must(step.kind, step.name, step.word)
		if n != int64(i+1) {
			t.Fatalf("change %d is revision %d", i, n)
		}
		r.sync()
		asItWas[n] = r.shown(0, n)
	}
	want := map[int64]string{1: "a=1", 3: "a/B=1 a/x=1 a=1", 4: "a/B=1 a/x=2 a=1", 5: "a/B=1 a/x=2 a=1", 6: "a/B=1 a=1", 10: "a/x=3 a=2"}
	for n, shown := range want {
		if asItWas[n] != shown {
			t.Errorf("revision %d was %q, want %q", n, asItWas[n], shown)
		}
	}
	for _, of := range []*replica{r, open(t, d)} {
		for n, shown := range asItWas {
			if got := of.shown(0, n); got != shown {
				t.Errorf("revision %d reads %q, was %q", n, got, shown)
			}
		}
		if got := of.index.of("endpoint"); got != 1 {
			t.Errorf("%d endpoints are counted", got)
		}
		if got := of.index.of(store.Suppression); got != 0 {
			t.Errorf("%d suppressions are counted", got)
		}
	}
}

// A snapshot read every version that ever was.
func TestSnapshot_OfTheNewestNeedsNoDatabase(t *testing.T) {
	r := open(t, storetest.New(t))
	for i := range 5 {
		r.must("tenant", "a", fmt.Sprint(i))
	}
	r.sync()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := r.shown(0, 0); got != "a=4" {
		t.Errorf("it reads %q", got)
	}
}

func TestNames_AreInTheOrderOfTheirBytes(t *testing.T) {
	r := open(t, storetest.New(t))
	names := []string{"t/A", "t/B-1", "t/B_1", "t/Ba", "t/a", "t/b"}
	for i := range names {
		r.must("endpoint", names[(i*5)%len(names)], "x")
	}
	r.must("endpoint", "u/c", "x")
	var got []string
	after := ""
	for {
		page, err := r.List(t.Context(), "endpoint", "t/", after, false, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, v := range page {
			got = append(got, v.Name)
		}
		after = got[len(got)-1]
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("pages are in the order %v", got)
	}
}

func TestReplicas_StartTogether(t *testing.T) {
	d := storetest.New(t)
	if !d.Postgres() {
		t.Skip("one process has a SQLite file")
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			s, err := store.Open(t.Context(), d.Config, &counted{}, nil)
			if err != nil {
				t.Errorf("start beside others: %v", err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// Whoever sees a revision can read all below it, in one order, whichever replica made them.
func TestReplicas_ChangeInOneOrder(t *testing.T) {
	d := storetest.New(t)
	const replicas, each = 3, 15
	var writers, watchers sync.WaitGroup
	ended := make(chan struct{})
	made := make(chan int64, replicas*each)
	var open1 []*replica
	for range replicas {
		open1 = append(open1, open(t, d))
	}
	for i, r := range open1 {
		writers.Go(func() {
			for n := range each {
				revision, err := r.change(t.Context(), "endpoint", fmt.Sprintf("t/%d-%d", i, n), "x")
				if err != nil {
					t.Errorf("replica %d: %v", i, err)
					return
				}
				made <- revision
			}
		})
		watchers.Go(func() {
			for last := false; ; {
				if _, _, err := r.Sync(t.Context()); err != nil {
					t.Error(err)
					return
				}
				s, err := r.Snapshot(t.Context(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				n := int64(0)
				for range s.All() {
					n++
				}
				if n != s.GetRevision() {
					t.Errorf("replica %d sees revision %d, and %d resources of as many changes", i, s.GetRevision(), n)
				}
				if last {
					if n != replicas*each {
						t.Errorf("replica %d ends with %d resources", i, n)
					}
					return
				}
				select {
				case <-ended:
					last = true
				default:
				}
			}
		})
	}
	writers.Wait()
	close(ended)
	watchers.Wait()
	close(made)
	seen := map[int64]bool{}
	for n := range made {
		if seen[n] {
			t.Errorf("revision %d was made twice", n)
		}
		seen[n] = true
	}
	if len(seen) != replicas*each || !seen[1] || !seen[replicas*each] {
		t.Errorf("%d revisions were made", len(seen))
	}
	h := open1[0].head()
	if n := len(h.GetEnds()); n != replicas-1 {
		t.Errorf("the head continues %d other histories", n)
	}
}

// A process that runs on over a database that was set back would give revisions of its history a second content.
func TestHistory_EndsWhereTheDatabaseIsSetBackUnderAProcess(t *testing.T) {
	d := storetest.New(t)
	if !d.Postgres() {
		t.Skip("a SQLite file is set back while it is closed")
	}
	one, two := open(t, d), open(t, d)
	one.must("tenant", "a", "1")
	two.must("tenant", "a", "2")
	restore := d.Copy()
	one.must("tenant", "a", "3")
	lost := one.head()
	two.sync()
	restore()
	// The replica whose newest revision the copy has goes on with its history: nothing of that was lost.
	before := two.head()
	two.must("tenant", "a", "4")
	if got := two.head(); got.GetHistory() != before.GetHistory() || got.GetRevision() != 3 || got.GetHistory() == lost.GetHistory() {
		t.Errorf("it goes on as %v after %v", got, before)
	}
	if got := two.shown(0, 0); got != "a=4" {
		two.sync()
		if got = two.shown(0, 0); got != "a=4" {
			t.Errorf("in memory is %q", got)
		}
	}
	one.must("tenant", "a", "5")
	if got := one.head(); got.GetHistory() == lost.GetHistory() {
		t.Errorf("revision %d has the history of the one that was lost", got.GetRevision())
	}
	if got := one.shown(lost.GetHistory(), 3); got != "not found" {
		t.Errorf("a lost revision reads %q", got)
	}
	one.sync()
	if got := one.shown(0, 0); got != "a=5" {
		t.Errorf("in memory is %q", got)
	}
}

func TestMigrations_OfANewerBinaryAreRefused(t *testing.T) {
	d := storetest.New(t)
	if err := open(t, d).Close(); err != nil {
		t.Fatal(err)
	}
	d.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, " + map[bool]string{true: "true", false: "1"}[d.Postgres()] + ")")
	_, err := store.Open(t.Context(), d.Config, &counted{}, nil)
	if err == nil || !strings.Contains(err.Error(), "tables of version 999") {
		t.Errorf("%v", err)
	}
}

func TestCommit_ThatIsCancelledLeavesNothing(t *testing.T) {
	r := open(t, storetest.New(t))
	r.must("tenant", "a", "1")
	ctx, cancel := context.WithCancel(t.Context())
	tx, err := r.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	last := tx.Last()
	if err := tx.Write(ctx, store.Entry{Revisions: store.Revisions{Revision: last.Revision + 1}}, store.Version{Kind: "tenant", Name: "a", Revision: last.Revision + 1, Body: []byte("2")}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := tx.Commit(); err == nil || errors.Is(err, sql.ErrConnDone) {
		t.Logf("commit after a cancellation: %v", err)
	}
	tx.Rollback()
	r.sync()
	if n := r.must("tenant", "a", "3"); n != 2 {
		t.Errorf("the next revision is %d", n)
	}
}

// A change that was refused had brought memory up to what another replica made, and watchers never learned of that.
func TestSync_ReturnsAHeadThatAChangeOrASnapshotReadFirst(t *testing.T) {
	d := storetest.New(t)
	if !d.Postgres() {
		t.Skip("one process has a SQLite file")
	}
	one, two := open(t, d), open(t, d)
	for what, read := range map[string]func(){
		"a change": func() {
			tx, err := two.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if err := tx.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"a snapshot": func() { two.shown(0, one.head().GetRevision()) },
	} {
		made := one.must("tenant", "a", what)
		read()
		head, moved, err := two.Sync(t.Context())
		if err != nil || !moved || head.GetRevision() != made {
			t.Errorf("after %s it returns %v, %t, %v", what, head, moved, err)
		}
		if _, moved, err := two.Sync(t.Context()); err != nil || moved {
			t.Errorf("it returns it again: %v", err)
		}
	}
}
