package store

import (
	"context"
	"time"
)

// pruneBatch bounds how long other changes wait for one round.
const pruneBatch = 500

// Prune removes the bodies of versions that were replaced before a time and are not among the newest of their resource, so
// many of them kept. It returns how many it removed: fewer than were asked for, only where none is left.
func (s *Store) Prune(ctx context.Context, before time.Time, kept int) (n int64, err error) {
	for {
		done, err := s.pruneSome(ctx, before, kept)
		n += done
		if err != nil || done < pruneBatch {
			return n, err
		}
	}
}

func (s *Store) pruneSome(ctx context.Context, before time.Time, kept int) (int64, error) {
	tx, err := s.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	// Nobody can have read a version since the revision that replaced it was the newest.
	var until int64
	ok, err := tx.row(ctx, "revision", `SELECT revision FROM revisions WHERE changed_at < $1 ORDER BY revision DESC LIMIT 1`, []any{before.UnixMilli()}, &until)
	if err != nil || !ok {
		return 0, err
	}
	result, err := tx.tx.ExecContext(ctx, `UPDATE versions SET body = NULL, secrets_key = 0 WHERE (kind, name, revision) IN (
			SELECT v.kind, v.name, v.revision FROM versions v WHERE v.until <= $1 AND v.body IS NOT NULL
				AND (SELECT COUNT(*) FROM versions l WHERE l.kind = v.kind AND l.name = v.name AND l.revision > v.revision) >= $2
			ORDER BY v.until LIMIT $3)`, until, kept-1, pruneBatch)
	if err != nil {
		return 0, s.dialect.failed(err, "prune versions")
	}
	done, err := result.RowsAffected()
	if err != nil {
		return 0, s.dialect.failed(err, "prune versions")
	}
	return done, tx.Commit()
}
