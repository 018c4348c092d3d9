package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Wanted are the changes that are asked for; what is empty or 0 bounds nothing.
type Wanted struct {
	// Tenant is "tenants/{tenant}", Kind the one in the database, Name a whole resource name.
	Tenant, Kind, Name string
	// From and To are in milliseconds.
	From, To int64
	// Before is the revision that the page comes before.
	Before int64
}

// Change is a revision with its history.
type Change struct {
	Entry
	History uint64
}

// Changes are those that are wanted, the newest first, at most limit. Only what is asked for stands in the query, so that
// those of one name are found by their index; a change of several resources stands under the name of their collection.
func (r Reader) Changes(ctx context.Context, w Wanted, limit int) ([]Change, error) {
	where, args := "TRUE", []any{}
	and := func(condition string, values ...any) {
		for i, v := range values {
			args = append(args, v)
			condition = strings.ReplaceAll(condition, string(rune('a'+i))+"?", "$"+strconv.Itoa(len(args)))
		}
		where += " AND " + condition
	}
	if w.Kind != "" {
		and("kind = a?", w.Kind)
	}
	if w.Name != "" {
		and(`(name = a? OR name = b? AND (
			EXISTS (SELECT 1 FROM resources c WHERE c.kind = revisions.kind AND c.name = a? AND c.revision = revisions.revision)
			OR EXISTS (SELECT 1 FROM versions c WHERE c.kind = revisions.kind AND c.name = a? AND c.revision = revisions.revision)))`,
			w.Name, w.Name[:max(strings.LastIndexByte(w.Name, '/'), 0)])
	}
	if w.Tenant != "" {
		and("(name = a? OR name >= b? AND name < c?)", w.Tenant, w.Tenant+"/", w.Tenant+"/\x7f")
	}
	and("changed_at >= a?", w.From)
	if w.To != 0 {
		and("changed_at < a?", w.To)
	}
	if w.Before != 0 {
		and("revision < a?", w.Before)
	}
	args = append(args, limit)
	return r.changes(ctx, where+" ORDER BY revision DESC LIMIT $"+strconv.Itoa(len(args)), args...)
}

func (r Reader) changes(ctx context.Context, where string, args ...any) (all []Change, err error) {
	err = r.each(ctx, "changes", `SELECT revision, apply_revision, history, changed_at, caller, action, kind, name FROM revisions WHERE `+where, args,
		func(scan func(...any) error) error {
			var c Change
			var at, history int64
			if err := scan(&c.Revision, &c.Apply, &history, &at, &c.Caller, &c.Action, &c.Kind, &c.Name); err != nil {
				return err
			}
			c.At, c.History = time.UnixMilli(at), uint64(history)
			all = append(all, c)
			return nil
		})
	return all, err
}

// Names are the resources that a change of several of them changed, in the order of names.
func (r Reader) Names(ctx context.Context, c Change) (names []string, err error) {
	err = r.each(ctx, "changes", `SELECT name FROM versions WHERE until = $1 AND kind = $2 ORDER BY name`, []any{c.Revision, c.Kind},
		func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			names = append(names, name)
			return err
		})
	return names, err
}

// Versions are those that a change ended and made; nil where there was none, or where its content was pruned: whole is false
// then.
func (r Reader) Versions(ctx context.Context, c Change) (before, after *Version, whole bool, err error) {
	rows, err := r.versions(ctx, `SELECT kind, name, revision, deleted, body FROM resources WHERE kind = $1 AND name = $2 AND revision = $3
		UNION ALL SELECT kind, name, revision, deleted, body FROM versions WHERE kind = $1 AND name = $2 AND (revision = $3 OR until = $3)`,
		c.Kind, c.Name, c.Revision)
	if err != nil {
		return nil, nil, false, err
	}
	for i := range rows {
		switch {
		case rows[i].Body == nil:
		case rows[i].Revision == c.Revision:
			after = &rows[i]
		default:
			before = &rows[i]
		}
	}
	return before, after, after != nil && (before != nil || c.Action == "create"), nil
}

// VersionAt is a resource as of a revision; ok is false where it was not there, or its content was pruned.
func (r Reader) VersionAt(ctx context.Context, kind, name string, revision int64) (v Version, ok bool, err error) {
	v = Version{Kind: kind, Name: name}
	ok, err = r.row(ctx, fmt.Sprintf("%s %s of revision %d", kind, name, revision),
		`SELECT revision, deleted, body FROM resources WHERE kind = $1 AND name = $2 AND revision <= $3
		UNION ALL SELECT revision, deleted, body FROM versions WHERE kind = $1 AND name = $2 AND revision <= $3 AND until > $3`,
		[]any{kind, name, revision}, &v.Revision, &v.Deleted, &v.Body)
	return v, ok && v.Body != nil, err
}
