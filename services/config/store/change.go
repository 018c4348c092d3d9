package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// run is the history of what one process writes. A database that is set back to an older copy never gives a revision of
// one history a second content: a new process draws another history, and one that runs on finds that the database does
// not have what it wrote last.
type run struct {
	history uint64
	// last is the newest revision that it wrote.
	last int64
}

// newHistory draws one; 0 is none.
func newHistory() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return max(binary.LittleEndian.Uint64(b[:]), 1)
}

// Tx is one change. Changes are one after the other, across all processes: each begins by locking the row of the head.
// So a number is given to a transaction that nobody else is beside, and revisions are committed in their order.
type Tx struct {
	Reader
	store *Store
	tx    *sql.Tx
	head  head
	run   run
}

// Begin begins a change. It has to be ended by Commit or Rollback.
func (s *Store) Begin(ctx context.Context) (*Tx, error) {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, s.dialect.failed(err, "begin change")
	}
	t := &Tx{Reader: Reader{queries: tx, dialect: s.dialect}, store: s, tx: tx}
	var revision int64
	if _, err := t.row(ctx, "head", `SELECT revision FROM head WHERE id = 1`+s.dialect.lock, nil, &revision); err != nil {
		return nil, errors.Join(err, ignoreDone(tx.Rollback()))
	}
	if t.head, err = t.Reader.head(ctx); err != nil {
		return nil, errors.Join(err, ignoreDone(tx.Rollback()))
	}
	s.mu.Lock()
	t.run = s.run
	s.mu.Unlock()
	return t, nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Rollback gives the change up, unless it was committed.
func (t *Tx) Rollback() { _ = t.tx.Rollback() }

// Commit makes the change stand. Where it is not known whether it does, the error's reason is Unknown.
func (t *Tx) Commit() error {
	err := t.tx.Commit()
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	if err != nil {
		// The next change is of another history: what this one may have written stays the only one of its number.
		t.store.run = run{}
		return failing(Unknown, t.dialect.failed(err, "commit revision %d", t.head.revision))
	}
	t.store.run = t.run
	return nil
}

// Newest revisions of all, which a next one is made from.
func (t *Tx) Last() Revisions { return Revisions{Revision: t.head.revision, Apply: t.head.apply} }

// Entry is what is known of a revision beside its content.
type Entry struct {
	Revisions
	At     time.Time
	Caller string
	Action string
	// Kind and Name are of what was changed.
	Kind, Name string
}

// BeginHistory has the change begin a history of its own.
func (t *Tx) BeginHistory() { t.run = run{history: newHistory()} }

// Record adds a revision.
func (t *Tx) Record(ctx context.Context, e Entry) error {
	if err := t.continueRun(ctx); err != nil {
		return err
	}
	followed := t.head.followed
	if e.Kind != Suppression {
		followed = e.Revision
	}
	history := int64(t.run.history)
	for _, step := range []step{
		{`INSERT INTO revisions (revision, apply_revision, history, changed_at, caller, action, kind, name) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			[]any{e.Revision, e.Apply, history, e.At.UnixMilli(), e.Caller, e.Action, e.Kind, e.Name}},
		{`INSERT INTO histories (history, last) VALUES ($1, $2) ON CONFLICT (history) DO UPDATE SET last = excluded.last`, []any{history, e.Revision}},
		{`UPDATE head SET revision = $1, apply_revision = $2, followed_revision = $3 WHERE id = 1`, []any{e.Revision, e.Apply, followed}},
	} {
		if err := t.exec(ctx, step, e.Revision); err != nil {
			return err
		}
	}
	t.run.last = e.Revision
	t.head = head{revision: e.Revision, apply: e.Apply, followed: followed}
	return nil
}

// continueRun goes on with the history of this process, where the database has all that was written under it.
func (t *Tx) continueRun(ctx context.Context) error {
	if t.run.history != 0 && t.run.last != 0 {
		var last int64
		ok, err := t.row(ctx, "history", `SELECT last FROM histories WHERE history = $1`, []any{int64(t.run.history)}, &last)
		if err != nil {
			return err
		}
		if ok && last == t.run.last {
			return nil
		}
		t.run = run{}
	}
	if t.run.history == 0 {
		t.BeginHistory()
	}
	return nil
}

type step struct {
	query string
	args  []any
}

func (t *Tx) exec(ctx context.Context, s step, revision int64) error {
	if _, err := t.tx.ExecContext(ctx, s.query, s.args...); err != nil {
		return t.dialect.failed(err, "write revision %d", revision)
	}
	return nil
}

// Write adds a revision and the version it makes; what stood before becomes an old version.
func (t *Tx) Write(ctx context.Context, e Entry, v Version) error {
	e.Kind, e.Name = v.Kind, v.Name
	return t.WriteAll(ctx, e, []Version{v})
}

// WriteAll adds a revision of several versions, all of the entry's kind. The entry's name is that of their collection.
func (t *Tx) WriteAll(ctx context.Context, e Entry, all []Version) error {
	if err := t.Record(ctx, e); err != nil {
		return err
	}
	for _, v := range all {
		for _, step := range []step{
			{`INSERT INTO versions (kind, name, revision, until, deleted, body, secrets_key)
				SELECT kind, name, revision, CAST($1 AS BIGINT), deleted, body, secrets_key FROM resources WHERE kind = $2 AND name = $3`,
				[]any{e.Revision, v.Kind, v.Name}},
			{`INSERT INTO resources (kind, name, revision, deleted, body, secrets_key) VALUES ($1, $2, $3, $4, $5, $6)
				ON CONFLICT (kind, name) DO UPDATE SET revision = excluded.revision, deleted = excluded.deleted, body = excluded.body,
					secrets_key = excluded.secrets_key`,
				[]any{v.Kind, v.Name, v.Revision, v.Deleted, v.Body, int64(v.Key)}},
		} {
			if err := t.exec(ctx, step, e.Revision); err != nil {
				return err
			}
		}
	}
	return nil
}

// Lose notes that revisions of a history, up to one, are given up.
func (t *Tx) Lose(ctx context.Context, p *configv1.Position, standsIn int64, who, why string) error {
	return t.exec(ctx, step{`INSERT INTO lost_revisions (history, revision, stands_in, accepted_by, why) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (history, revision) DO NOTHING`, []any{int64(p.GetHistory()), p.GetRevision(), standsIn, who, why}}, standsIn)
}

// Report stores what was found out about a target. It is no revision.
func (t *Tx) Report(ctx context.Context, kind, name string, body []byte) error {
	if _, err := t.tx.ExecContext(ctx, `INSERT INTO target_health (kind, name, body) VALUES ($1, $2, $3)
		ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body`, kind, name, body); err != nil {
		return t.dialect.failed(err, "write health of %s", name)
	}
	return nil
}
