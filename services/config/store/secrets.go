package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/secret"
)

// Secrets encrypts what bodies hold of secrets. Rows name the key, so that those under an old one are found.
type Secrets interface {
	// String names the keyset.
	String() string
	// Kinds are those whose bodies may hold secrets.
	Kinds() []string
	// Encrypt has the secrets in a body encrypted with the primary key, those too that were with another one, and returns that
	// key; 0 where there are none. What it can't decrypt stays as it is, and the error names it.
	Encrypt(kind, name string, body []byte) (encrypted []byte, key secret.KeyID, err error)
	// Keys are all keys in the order in which they were added, and the primary one.
	Keys() []secret.KeyID
	Primary() secret.KeyID
}

// rewriteBatch bounds how long other changes wait for one round.
const rewriteBatch = 500

// place is a row of resources or versions.
type place struct {
	kind, name string
	revision   int64
}

// rewriting encrypts rows within a transaction.
type rewriting struct {
	Reader
	tx      *sql.Tx
	secrets Secrets
}

// some encrypts up to a batch of rows of a table that are under one of some keys and come after a place. It returns where it
// came to, how many it changed and how many it read, and what could not be decrypted.
func (w rewriting) some(ctx context.Context, table string, under []secret.KeyID, after place) (last place, changed, read int, failed []error, err error) {
	rows, err := w.versions(ctx, fmt.Sprintf(`SELECT kind, name, revision, deleted, body FROM %s WHERE secrets_key IN (%s) AND kind IN ('%s') AND body IS NOT NULL
		AND (kind, name, revision) > ($1, $2, $3) ORDER BY kind, name, revision LIMIT %d`,
		table, numbers(under), strings.Join(w.secrets.Kinds(), "', '"), rewriteBatch), after.kind, after.name, after.revision)
	if err != nil {
		return after, 0, 0, nil, err
	}
	last = after
	for _, v := range rows {
		last = place{v.Kind, v.Name, v.Revision}
		body, key, unreadable := w.secrets.Encrypt(v.Kind, v.Name, v.Body)
		if unreadable != nil {
			failed = append(failed, fmt.Errorf("revision %d: %w", v.Revision, unreadable))
			continue
		}
		if key == 0 {
			continue
		}
		if _, err := w.tx.ExecContext(ctx, fmt.Sprintf(`UPDATE %s SET body = $1, secrets_key = $2 WHERE kind = $3 AND name = $4 AND revision = $5`, table),
			body, int64(key), v.Kind, v.Name, v.Revision); err != nil {
			return last, changed, len(rows), failed, w.dialect.failed(err, "encrypt secrets of %s", v.Name)
		}
		changed++
	}
	return last, changed, len(rows), failed, nil
}

func numbers(ids []secret.KeyID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = fmt.Sprint(int64(id))
	}
	return strings.Join(words, ", ")
}

// encrypted are the tables with bodies.
var encrypted = []string{"resources", "versions"}

// encryptTables is version 8 of the tables: secrets are encrypted, and what stands and stood before in clear is from now on.
func (s *Store) encryptTables(ctx context.Context, tx *sql.Tx) error {
	integer, boolean, clear := "BIGINT", "BOOLEAN", "TRUE"
	if s.dialect == sqliteDialect {
		integer, boolean, clear = "INTEGER", "INTEGER", "1"
	}
	no := map[string]string{"TRUE": "FALSE", "1": "0"}[clear]
	var statements []string
	for _, t := range encrypted {
		statements = append(statements,
			fmt.Sprintf(`ALTER TABLE %s ADD COLUMN secrets_key %s NOT NULL DEFAULT 0`, t, integer),
			fmt.Sprintf(`CREATE INDEX %s_by_secrets_key ON %s (secrets_key) WHERE secrets_key <> 0`, t, t))
	}
	statements = append(statements,
		fmt.Sprintf(`CREATE TABLE secrets_work (id %s PRIMARY KEY CHECK (id = 1), scrub %s NOT NULL, announce %s NOT NULL)`, integer, boolean, boolean),
		fmt.Sprintf(`INSERT INTO secrets_work VALUES (1, %s, %s)`, clear, no))
	for _, q := range statements {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	if s.secrets == nil || len(s.secrets.Kinds()) == 0 {
		return nil
	}
	w := rewriting{Reader{queries: tx, dialect: s.dialect}, tx, s.secrets}
	for _, t := range encrypted {
		for at, more := (place{}), true; more; {
			var read int
			var err error
			// What looks encrypted and is not was given so, and its resource can't be read any more: that is not the others' fault.
			if at, _, read, _, err = w.some(ctx, t, []secret.KeyID{0}, at); err != nil {
				return err
			}
			more = read == rewriteBatch
		}
	}
	return nil
}

// scrub removes what the files of the database still hold of content that was replaced: secrets were in clear before. It is
// done again at each start until it was done once.
func (s *Store) scrub(ctx context.Context) error {
	var due bool
	if _, err := s.row(ctx, "work on secrets", `SELECT scrub FROM secrets_work WHERE id = 1`, nil, &due); err != nil || !due {
		return err
	}
	statements := []string{`VACUUM FULL resources`, `VACUUM FULL versions`}
	if s.dialect == sqliteDialect {
		statements = []string{`VACUUM`}
	}
	for _, q := range statements {
		if _, err := s.writer.ExecContext(ctx, q); err != nil {
			return s.dialect.failed(err, "remove secrets in clear from the files of database %s", s.where)
		}
	}
	if s.dialect == sqliteDialect {
		var busy, pages, moved int
		if err := s.writer.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &moved); err != nil {
			return s.dialect.failed(err, "empty %s-wal", s.where)
		}
		if busy != 0 {
			return fmt.Errorf("empty %s-wal, which held secrets in clear: another process reads the database, end it and start again", s.where)
		}
	}
	if _, err := s.writer.ExecContext(ctx, `UPDATE secrets_work SET scrub = (1 = 0) WHERE id = 1`); err != nil {
		return s.dialect.failed(err, "note that database %s was cleaned", s.where)
	}
	return nil
}

// SecretKeys are the keys that rows are encrypted with, and how many rows each.
func (r Reader) SecretKeys(ctx context.Context) (map[secret.KeyID]int64, error) {
	found := map[secret.KeyID]int64{}
	err := r.each(ctx, "keys of secrets", `SELECT secrets_key, COUNT(*) FROM resources WHERE secrets_key <> 0 GROUP BY secrets_key
		UNION ALL SELECT secrets_key, COUNT(*) FROM versions WHERE secrets_key <> 0 GROUP BY secrets_key`, nil, func(scan func(...any) error) error {
		var key, n int64
		if err := scan(&key, &n); err != nil {
			return err
		}
		found[secret.KeyID(key)] += n
		return nil
	})
	return found, err
}

// checkKeys refuses a keyset that lacks a key of the database.
func (s *Store) checkKeys(ctx context.Context) error {
	if s.secrets == nil {
		return nil
	}
	found, err := s.SecretKeys(ctx)
	if err != nil {
		return err
	}
	var missing []string
	for id := range found {
		if !slices.Contains(s.secrets.Keys(), id) {
			missing = append(missing, id.String())
		}
	}
	return missingKeys("database "+s.where, missing, s.secrets)
}

func missingKeys(where string, missing []string, of Secrets) error {
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("secrets in %s are encrypted with key %s, and %s has no such key: give the keyset that they were encrypted with",
		where, strings.Join(missing, ", "), of)
}

// Reencrypted is what Reencrypt did.
type Reencrypted struct {
	// Rows is how many it encrypted anew, Revision the one that it made; 0 for none.
	Rows     int
	Revision int64
	// Failed are the resources that it could not decrypt: they stay under their key.
	Failed []error
}

// Reencrypt encrypts anew, in place, what is under keys that were added before the primary one. Rows under a later key are
// left: a replica that has read the file of the step before must not undo what another one does. Once nothing is left it makes
// one revision: replicas and services have the old bodies in memory, and read all anew.
func (s *Store) Reencrypt(ctx context.Context, now time.Time) (done Reencrypted, err error) {
	all, primary := s.secrets.Keys(), s.secrets.Primary()
	old := all[:max(0, slices.Index(all, primary))]
	var due bool
	if _, err := s.row(ctx, "work on secrets", `SELECT announce FROM secrets_work WHERE id = 1`, nil, &due); err != nil {
		return done, err
	}
	used, err := s.SecretKeys(ctx)
	if err != nil {
		return done, err
	}
	if !due && !slices.ContainsFunc(old, func(id secret.KeyID) bool { return used[id] > 0 }) {
		return done, nil
	}
	for _, table := range encrypted {
		for at, more := (place{}), len(old) > 0; more; {
			var failed []error
			if at, more, failed, err = s.reencryptSome(ctx, table, old, at, &done.Rows); err != nil {
				return done, err
			}
			done.Failed = append(done.Failed, failed...)
		}
	}
	done.Revision, err = s.announceKeys(ctx, now, primary)
	return done, err
}

func (s *Store) reencryptSome(ctx context.Context, table string, old []secret.KeyID, after place, n *int) (at place, more bool, failed []error, err error) {
	tx, err := s.Begin(ctx)
	if err != nil {
		return after, false, nil, err
	}
	defer tx.Rollback()
	w := rewriting{tx.Reader, tx.tx, s.secrets}
	at, changed, read, failed, err := w.some(ctx, table, old, after)
	if err != nil || changed == 0 {
		return at, err == nil && read == rewriteBatch, failed, err
	}
	if err := tx.exec(ctx, step{`UPDATE secrets_work SET announce = (1 = 1) WHERE id = 1`, nil}, tx.head.revision); err != nil {
		return at, false, nil, err
	}
	*n += changed
	return at, read == rewriteBatch, failed, tx.Commit()
}

// SecretsKind is how a change of keys stands among the changes.
const SecretsKind = "secrets"

// announceKeys makes the revision, where bodies were changed since the last one.
func (s *Store) announceKeys(ctx context.Context, now time.Time, primary secret.KeyID) (int64, error) {
	tx, err := s.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	var due bool
	if _, err := tx.row(ctx, "work on secrets", `SELECT announce FROM secrets_work WHERE id = 1`, nil, &due); err != nil || !due {
		return 0, err
	}
	made := tx.Last()
	made.Revision++
	if err := tx.Record(ctx, Entry{Revisions: made, At: now, Action: "reencrypt", Kind: SecretsKind, Name: "key " + primary.String()}); err != nil {
		return 0, err
	}
	if err := tx.exec(ctx, step{`UPDATE secrets_work SET announce = (1 = 0) WHERE id = 1`, nil}, made.Revision); err != nil {
		return 0, err
	}
	return made.Revision, tx.Commit()
}

// reencrypted reports whether bodies were changed in place after one revision and up to another.
func (r Reader) reencrypted(ctx context.Context, after, upTo int64) (bool, error) {
	var one int
	return r.row(ctx, "changes of keys", `SELECT 1 FROM revisions WHERE revision > $1 AND revision <= $2 AND kind = '`+SecretsKind+`' LIMIT 1`,
		[]any{after, upTo}, &one)
}

// OldKeys opens a database only to see which of some keys rows are encrypted with.
func OldKeys(ctx context.Context, c Config, of []secret.KeyID) (rows map[secret.KeyID]int64, err error) {
	s, err := connect(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	found, err := s.SecretKeys(ctx)
	if err != nil {
		return nil, err
	}
	rows = map[secret.KeyID]int64{}
	for _, id := range of {
		if found[id] > 0 {
			rows[id] = found[id]
		}
	}
	return rows, nil
}
