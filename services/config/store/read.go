package store

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"github.com/tollgate/tollgate/pkg/secret"
)

// Suppression is the kind that is followed apart: no snapshot has it.
const Suppression = "suppression"

// Version is a resource as it was from a revision on.
type Version struct {
	Kind, Name string
	Revision   int64
	Deleted    bool
	// Body is the resource's message with its metadata, its secrets encrypted; nil where it was pruned.
	Body []byte
	// Key is what the secrets of one that is written are encrypted with; 0 where it has none.
	Key secret.KeyID
}

// Revisions are a revision, and the newest at or before it that is applied.
type Revisions struct{ Revision, Apply int64 }

// queries is what reads: a pool, or a transaction.
type queries interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Reader reads the tables: what is committed, or what a transaction sees.
type Reader struct {
	queries queries
	dialect *dialect
}

// row reads one row; ok is false where there is none.
func (r Reader) row(ctx context.Context, what, query string, args []any, into ...any) (ok bool, err error) {
	err = r.queries.QueryRowContext(ctx, query, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, r.dialect.failed(err, "read %s", what)
	}
	return true, nil
}

// each reads rows one by one.
func (r Reader) each(ctx context.Context, what, query string, args []any, row func(scan func(...any) error) error) error {
	rows, err := r.queries.QueryContext(ctx, query, args...)
	if err != nil {
		return r.dialect.failed(err, "read %s", what)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return r.dialect.failed(err, "read %s", what)
		}
	}
	if err := rows.Err(); err != nil {
		return r.dialect.failed(err, "read %s", what)
	}
	return nil
}

func (r Reader) versions(ctx context.Context, query string, args ...any) (all []Version, err error) {
	err = r.each(ctx, "resources", query, args, func(scan func(...any) error) error {
		var v Version
		if err := scan(&v.Kind, &v.Name, &v.Revision, &v.Deleted, &v.Body); err != nil {
			return err
		}
		all = append(all, v)
		return nil
	})
	return all, err
}

// Newest is the newest version of one resource; ok is false where it never was.
func (r Reader) Newest(ctx context.Context, kind, name string) (v Version, ok bool, err error) {
	v = Version{Kind: kind, Name: name}
	ok, err = r.row(ctx, kind+" "+name, `SELECT revision, deleted, body FROM resources WHERE kind = $1 AND name = $2`,
		[]any{kind, name}, &v.Revision, &v.Deleted, &v.Body)
	if !ok {
		return Version{}, false, err
	}
	return v, true, nil
}

// All lifts the limit of List.
const All = math.MaxInt32

// List is the newest versions of a kind below prefix and after a name, in the order of names, at most limit; deleted ones
// where deleted is set.
func (r Reader) List(ctx context.Context, kind, prefix, after string, deleted bool, limit int) ([]Version, error) {
	// Names are ASCII: everything that begins with the prefix lies between it and itself with a last byte no name has.
	return r.versions(ctx, `SELECT kind, name, revision, deleted, body FROM resources
		WHERE kind = $1 AND name > $2 AND name >= $3 AND name < $4 AND (NOT deleted OR $5)
		ORDER BY name LIMIT $6`, kind, after, prefix, prefix+"\x7f", deleted, limit)
}

// SuppressionsAfter are the suppressions, deleted ones included, that changed after a revision, in the order of revisions,
// at most limit. Their bodies are left out.
func (r Reader) SuppressionsAfter(ctx context.Context, revision int64, limit int) ([]Version, error) {
	return r.versions(ctx, `SELECT kind, name, revision, deleted, NULL FROM resources
		WHERE kind = 'suppression' AND revision > $1 ORDER BY revision LIMIT $2`, revision, limit)
}

// Health is what was reported of the targets of a kind from one name to another, by their names.
func (r Reader) Health(ctx context.Context, kind, first, last string) (map[string][]byte, error) {
	bodies := map[string][]byte{}
	err := r.each(ctx, "health", `SELECT name, body FROM target_health WHERE kind = $1 AND name >= $2 AND name <= $3`, []any{kind, first, last},
		func(scan func(...any) error) error {
			var name string
			var body []byte
			if err := scan(&name, &body); err != nil {
				return err
			}
			bodies[name] = body
			return nil
		})
	return bodies, err
}
