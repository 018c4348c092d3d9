package config

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// store is the table of versions. Writers are one at a time; readers see the newest committed state and never wait.
type store struct {
	writer *sql.DB
	reader *sql.DB
}

// version is one row of resource_versions.
type version struct {
	kind     string
	name     string
	revision int64
	deleted  bool
	body     []byte
}

// revisions are the newest revision, and the newest that is applied.
type revisions struct{ revision, apply int64 }

func openStore(ctx context.Context, path string) (*store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	// Made here and not by SQLite, so that no other user can read it; -wal and -shm take its mode.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s := &store{}
	// FULL: what was answered survives a power cut. IMMEDIATE: a change takes the lock before it reads.
	s.writer, err = openSQLite(path, "_txlock=immediate", "_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	s.writer.SetMaxOpenConns(1)
	s.reader, err = openSQLite(path, "_pragma=query_only(1)")
	if err != nil {
		return nil, errors.Join(err, s.writer.Close())
	}
	s.reader.SetMaxOpenConns(4)
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func openSQLite(path string, parameters ...string) (*sql.DB, error) {
	parameters = append(parameters, "_pragma=busy_timeout(5000)", "_pragma=journal_mode(WAL)", "_pragma=foreign_keys(1)")
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: strings.Join(parameters, "&")}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return db, nil
}

func (s *store) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.writer, files)
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	return nil
}

func (s *store) close() error { return errors.Join(s.reader.Close(), s.writer.Close()) }

// queries is what reads: the reader, or the transaction of a change.
type queries interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// newestRevisions are of the last change of all, suppressions included.
func newestRevisions(ctx context.Context, q queries) (revisions, error) {
	st, _, err := scanRevisions(q.QueryRowContext(ctx, `SELECT revision, apply_revision FROM revisions ORDER BY revision DESC LIMIT 1`))
	return st, err
}

// followedRevisions are the newest that services follow: suppressions are no part of the configuration that they read.
func followedRevisions(ctx context.Context, q queries) (revisions, error) {
	st, _, err := scanRevisions(q.QueryRowContext(ctx, `SELECT revision, apply_revision FROM revisions
		WHERE kind <> 'suppression' ORDER BY revision DESC LIMIT 1`))
	return st, err
}

// revisionsAt are the revisions as of one; not ok where there is none of that number.
func revisionsAt(ctx context.Context, q queries, revision int64) (st revisions, ok bool, err error) {
	return scanRevisions(q.QueryRowContext(ctx, `SELECT revision, apply_revision FROM revisions WHERE revision = $1`, revision))
}

func scanRevisions(row *sql.Row) (st revisions, ok bool, err error) {
	err = row.Scan(&st.revision, &st.apply)
	if errors.Is(err, sql.ErrNoRows) {
		return revisions{}, false, nil
	}
	if err != nil {
		return revisions{}, false, fmt.Errorf("read revision: %w", err)
	}
	return st, true, nil
}

// newest is the newest version of one resource; ok is false where it never was.
func newest(ctx context.Context, q queries, kind, name string) (v version, ok bool, err error) {
	v = version{kind: kind, name: name}
	err = q.QueryRowContext(ctx, `SELECT revision, deleted, body FROM resource_versions
		WHERE kind = $1 AND name = $2 AND until IS NULL`, kind, name).Scan(&v.revision, &v.deleted, &v.body)
	if errors.Is(err, sql.ErrNoRows) {
		return version{}, false, nil
	}
	if err != nil {
		return version{}, false, fmt.Errorf("read %s %s: %w", kind, name, err)
	}
	return v, true, nil
}

// list is the newest versions of a kind below prefix and after a name, in the order of names, at most limit.
func list(ctx context.Context, q queries, kind, prefix, after string, deleted bool, limit int) ([]version, error) {
	// Names are ASCII: everything that begins with the prefix lies between it and itself with a last byte no name has.
	return collect(q.QueryContext(ctx, `SELECT kind, name, revision, deleted, body FROM resource_versions
		WHERE kind = $1 AND until IS NULL AND name > $2 AND name >= $3 AND name < $4 AND (deleted = 0 OR $5)
		ORDER BY name LIMIT $6`, kind, after, prefix, prefix+"\x7f", deleted, limit))
}

// asOf is every resource as of a revision, deleted ones and suppressions left out, in the order of kinds and names.
func asOf(ctx context.Context, q queries, revision int64) ([]version, error) {
	return collect(q.QueryContext(ctx, `SELECT kind, name, revision, deleted, body FROM resource_versions
		WHERE kind < 'suppression' AND revision <= $1 AND (until IS NULL OR until > $1) AND deleted = 0
		UNION ALL SELECT kind, name, revision, deleted, body FROM resource_versions
		WHERE kind > 'suppression' AND revision <= $1 AND (until IS NULL OR until > $1) AND deleted = 0 ORDER BY kind, name`, revision))
}

// suppressionsAfter are the newest versions of suppressions, deleted ones included, that were made after a revision, in
// the order of revisions, at most limit. Their bodies are left out.
func suppressionsAfter(ctx context.Context, q queries, revision int64, limit int) ([]version, error) {
	return collect(q.QueryContext(ctx, `SELECT kind, name, revision, deleted, NULL FROM resource_versions
		WHERE kind = 'suppression' AND until IS NULL AND revision > $1 ORDER BY revision LIMIT $2`, revision, limit))
}

func collect(rows *sql.Rows, err error) ([]version, error) {
	if err != nil {
		return nil, fmt.Errorf("read resources: %w", err)
	}
	defer rows.Close()
	var out []version
	for rows.Next() {
		var v version
		if err := rows.Scan(&v.kind, &v.name, &v.revision, &v.deleted, &v.body); err != nil {
			return nil, fmt.Errorf("read resources: %w", err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read resources: %w", err)
	}
	return out, nil
}

// entry is one row of revisions.
type entry struct {
	revisions
	at     time.Time
	caller string
	action string
	// kind and name of what was changed.
	kind, name string
	// history of the run that makes it.
	history uint64
}

// record adds a revision.
func record(ctx context.Context, tx *sql.Tx, e entry) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO revisions (revision, apply_revision, changed_at, caller, action, kind, name) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		e.revision, e.apply, e.at.UnixMilli(), e.caller, e.action, e.kind, e.name); err != nil {
		return fmt.Errorf("write revision %d: %w", e.revision, err)
	}
	return begin(ctx, tx, e.history, e.revision)
}

// write adds a revision and the version it makes.
func write(ctx context.Context, tx *sql.Tx, e entry, v version) error {
	e.kind, e.name = v.kind, v.name
	if err := record(ctx, tx, e); err != nil {
		return err
	}
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`UPDATE resource_versions SET until = $1 WHERE kind = $2 AND name = $3 AND until IS NULL`,
			[]any{e.revision, v.kind, v.name}},
		{`INSERT INTO resource_versions (kind, name, revision, deleted, body) VALUES ($1, $2, $3, $4, $5)`,
			[]any{v.kind, v.name, v.revision, v.deleted, v.body}},
	} {
		if _, err := tx.ExecContext(ctx, step.query, step.args...); err != nil {
			return fmt.Errorf("write revision %d: %w", e.revision, err)
		}
	}
	return nil
}
