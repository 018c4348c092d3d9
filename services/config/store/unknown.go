package store

import (
	"context"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// UnknownRevision is the highest revision of a history that services know and this database does not have.
type UnknownRevision struct {
	*configv1.Position
	// InForce: a service works by it, and not only a log names it.
	InForce bool
	// Peer reported it last.
	Peer string
	At   time.Time
}

// NoteUnknown takes one, and keeps those of the newest histories, at most a number of them. first reports whether nothing
// was known of its history.
func (s *Store) NoteUnknown(ctx context.Context, u UnknownRevision, most int) (first bool, err error) {
	known, err := s.row(ctx, "unknown revisions", `SELECT 1 FROM unknown_revisions WHERE history = $1`, []any{int64(u.GetHistory())}, new(int))
	if err != nil {
		return false, err
	}
	_, err = s.writer.ExecContext(ctx, `INSERT INTO unknown_revisions (history, revision, in_force, peer, reported_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (history) DO UPDATE SET peer = excluded.peer, reported_at = excluded.reported_at,
			in_force = unknown_revisions.in_force OR excluded.in_force,
			revision = CASE WHEN excluded.revision > unknown_revisions.revision THEN excluded.revision ELSE unknown_revisions.revision END`,
		int64(u.GetHistory()), u.GetRevision(), u.InForce, u.Peer, u.At.UnixMilli())
	if err == nil && !known {
		_, err = s.writer.ExecContext(ctx, `DELETE FROM unknown_revisions WHERE history NOT IN
			(SELECT history FROM unknown_revisions ORDER BY reported_at DESC, history LIMIT $1)`, most)
	}
	if err != nil {
		return !known, s.dialect.failed(err, "note unknown revision %d", u.GetRevision())
	}
	return !known, nil
}

// Unknown are those that were noted, the one reported last at the end.
func (r Reader) Unknown(ctx context.Context) (all []UnknownRevision, err error) {
	err = r.each(ctx, "unknown revisions", `SELECT history, revision, in_force, peer, reported_at FROM unknown_revisions ORDER BY reported_at, history`, nil,
		func(scan func(...any) error) error {
			u := UnknownRevision{Position: &configv1.Position{}}
			var history, at int64
			if err := scan(&history, &u.Revision, &u.InForce, &u.Peer, &at); err != nil {
				return err
			}
			u.History, u.At = uint64(history), time.UnixMilli(at)
			all = append(all, u)
			return nil
		})
	return all, err
}

// ForgetUnknown drops what was noted of a history.
func (s *Store) ForgetUnknown(ctx context.Context, history uint64) error {
	if _, err := s.writer.ExecContext(ctx, `DELETE FROM unknown_revisions WHERE history = $1`, int64(history)); err != nil {
		return s.dialect.failed(err, "forget unknown revisions")
	}
	return nil
}
