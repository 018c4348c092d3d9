package store

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

type uncounted struct{}

func (uncounted) Reset()               {}
func (uncounted) Change(_, _ *Version) {}

// older is a SQLite database with the tables of a version.
func older(t *testing.T, version int64) *Store {
	t.Helper()
	s, err := connectSQLite(filepath.Join(t.TempDir(), "config.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.current.index = uncounted{}
	if err := s.migrate(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Store) must(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := s.writer.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func TestMigrate_KeepsWhatOlderBinariesWrote(t *testing.T) {
	s := older(t, 4)
	for revision, name := range []string{"", "a", "b", "a", "s", "b"} {
		if revision == 0 {
			continue
		}
		kind := map[bool]string{true: Suppression, false: "tenant"}[name == "s"]
		apply := map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 5: 5}[revision]
		s.must(t, `INSERT INTO revisions VALUES ($1, $2, $3, 'caller', 'update', $4, $5)`, revision, apply, revision, kind, name)
		s.must(t, `UPDATE resource_versions SET until = $1 WHERE kind = $2 AND name = $3 AND until IS NULL`, revision, kind, name)
		s.must(t, `INSERT INTO resource_versions VALUES ($1, $2, $3, NULL, $4, $5)`, kind, name, revision, revision == 5, []byte(fmt.Sprint(revision)))
	}
	s.must(t, `INSERT INTO histories VALUES (1, 11), (3, 33)`)
	s.must(t, `INSERT INTO lost_revisions VALUES (77, 9, 3, 'ops', 'disk')`)
	s.must(t, `INSERT INTO target_health VALUES ('endpoint', 'e', X'01')`)
	if err := s.migrate(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for revision, want := range map[int64]string{1: "a=1", 2: "a=1 b=2", 3: "a=3 b=2", 4: "a=3 b=2", 5: "a=3"} {
		history := uint64(11)
		if revision >= 3 {
			history = 33
		}
		found, err := s.Snapshot(t.Context(), &configv1.Position{History: history, Revision: revision})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for v := range found.All() {
			got = append(got, v.Name+"="+string(v.Body))
		}
		if !found.Found || strings.Join(got, " ") != want {
			t.Errorf("revision %d reads %v %q, want %q", revision, found.Found, got, want)
		}
	}
	h, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h.GetRevision() != 5 || h.GetApplyRevision() != 5 || h.GetHistory() != 33 || len(h.GetEnds()) != 2 {
		t.Errorf("the head is %v", h)
	}
	if health, err := s.Health(t.Context(), "endpoint", "e", "e"); err != nil || len(health["e"]) != 1 {
		t.Errorf("health is %v, %v", health, err)
	}
	if rows, err := s.SuppressionsAfter(t.Context(), 0, 10); err != nil || len(rows) != 1 {
		t.Errorf("suppressions are %v, %v", rows, err)
	}
}

// try writes a tenant of a size.
func (s *Store) try(ctx context.Context, size int) (int64, error) {
	tx, err := s.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	made := Revisions{Revision: tx.Last().Revision + 1, Apply: tx.Last().Revision + 1}
	err = tx.Write(ctx, Entry{Revisions: made, At: time.UnixMilli(1), Action: "create"},
		Version{Kind: "tenant", Name: fmt.Sprintf("t%d", made.Revision), Revision: made.Revision, Body: make([]byte, size)})
	if err != nil {
		return 0, err
	}
	return made.Revision, tx.Commit()
}

func TestSQLite_ThatTakesNoMoreIsReported(t *testing.T) {
	for name, of := range map[string]struct{ set, unset, reason string }{
		"full":      {"PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000", Full},
		"read-only": {"PRAGMA query_only = 1", "PRAGMA query_only = 0", ReadOnly},
	} {
		t.Run(name, func(t *testing.T) {
			s := older(t, 0)
			if n, err := s.try(t.Context(), 10); n != 1 || err != nil {
				t.Fatalf("revision %d, %v", n, err)
			}
			s.must(t, of.set)
			_, err := s.try(t.Context(), 200_000)
			if fault.KindOf(err) != fault.Unavailable || fault.ReasonOf(err) != of.reason {
				t.Errorf("it answers %v", err)
			}
			if h, err := s.Head(t.Context()); err != nil || h.GetRevision() != 1 {
				t.Errorf("what was refused left %v, %v", h, err)
			}
			s.must(t, of.unset)
			if n, err := s.try(t.Context(), 200_000); n != 2 || err != nil {
				t.Errorf("afterwards it is revision %d, %v", n, err)
			}
		})
	}
}

// What PostgreSQL answers when it has no room, or takes no changes, is what a service reports as SQLite's.
func TestPostgres_ThatTakesNoMoreIsReported(t *testing.T) {
	for code, reason := range map[string]string{"53100": Full, "53200": Full, "25006": ReadOnly} {
		err := postgresDialect.failed(&pgconn.PgError{Code: code, Message: "could not extend file"}, "write %s", "tenants/a")
		if fault.KindOf(err) != fault.Unavailable || fault.ReasonOf(err) != reason || !strings.Contains(err.Error(), "tenants/a") {
			t.Errorf("%s: %v, want %s", code, err, reason)
		}
	}
}
