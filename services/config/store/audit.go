package store

import (
	"context"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// ChangesAfter are the changes above a revision, in their order, at most limit.
func (r Reader) ChangesAfter(ctx context.Context, revision int64, limit int) ([]Change, error) {
	return r.changes(ctx, `revision > $1 ORDER BY revision LIMIT $2`, revision, limit)
}

// Accepted is what an operator gave up with a revision.
type Accepted struct {
	Who, Why string
	Lost     []*configv1.Position
}

// Accepted is what was given up with a revision; nothing of most.
func (r Reader) Accepted(ctx context.Context, revision int64) (a Accepted, err error) {
	err = r.each(ctx, "lost revisions", `SELECT history, revision, accepted_by, why FROM lost_revisions WHERE stands_in = $1 ORDER BY history, revision`,
		[]any{revision}, func(scan func(...any) error) error {
			var history, revision int64
			if err := scan(&history, &revision, &a.Who, &a.Why); err != nil {
				return err
			}
			a.Lost = append(a.Lost, &configv1.Position{History: uint64(history), Revision: revision})
			return nil
		})
	return a, err
}

// Audited is the revision up to which the topic audit is written.
func (r Reader) Audited(ctx context.Context) (revision int64, err error) {
	_, err = r.row(ctx, "audit position", `SELECT revision FROM audit_position WHERE id = 1`, nil, &revision)
	return revision, err
}

// HoldAudit has one process write the topic audit until a time: not ok where another one does. The clocks of processes may
// differ, or one may be late: then two write, and their records have the same ids.
func (s *Store) HoldAudit(ctx context.Context, holder string, now, until time.Time) (ok bool, err error) {
	result, err := s.writer.ExecContext(ctx, `INSERT INTO audit_position (id, revision, holder, held_until) VALUES (1, 0, $1, $2)
		ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
		WHERE audit_position.holder = excluded.holder OR audit_position.held_until <= $3`, holder, until.UnixMilli(), now.UnixMilli())
	if err != nil {
		return false, s.dialect.failed(err, "hold audit position")
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// MoveAudit moves the position on to a change, where it is what the holder has read, and holds it further. Not ok: another
// process writes, or the database was set back and does not have that change any more.
func (s *Store) MoveAudit(ctx context.Context, holder string, from int64, to Change, until time.Time) (ok bool, err error) {
	result, err := s.writer.ExecContext(ctx, `UPDATE audit_position SET revision = $1, held_until = $2 WHERE id = 1 AND revision = $3 AND holder = $4
		AND EXISTS (SELECT 1 FROM revisions WHERE revision = $1 AND history = $5)`,
		to.Revision, until.UnixMilli(), from, holder, int64(to.History))
	if err != nil {
		return false, s.dialect.failed(err, "move audit position to revision %d", to.Revision)
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// ReleaseAudit lets another process write.
func (s *Store) ReleaseAudit(ctx context.Context, holder string) error {
	if _, err := s.writer.ExecContext(ctx, `UPDATE audit_position SET held_until = 0 WHERE id = 1 AND holder = $1`, holder); err != nil {
		return s.dialect.failed(err, "release audit position")
	}
	return nil
}
