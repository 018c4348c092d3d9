package store

import (
	"context"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// endsSent bounds how many other histories a head has: a service that last followed the configuration that many restarts
// ago does not follow before an operator accepts it.
const endsSent = 256

// head is the row that every change locks and moves, with the histories of its revisions.
type head struct {
	// revision is the newest of all, made by history. applied and followed are those that services follow.
	revision, apply, followed              int64
	history, applyHistory, followedHistory int64
}

const headQuery = `SELECT h.revision, h.apply_revision, h.followed_revision, COALESCE(n.history, 0), COALESCE(a.history, 0), COALESCE(f.history, 0)
	FROM head h LEFT JOIN revisions n ON n.revision = h.revision LEFT JOIN revisions a ON a.revision = h.apply_revision
	LEFT JOIN revisions f ON f.revision = h.followed_revision WHERE h.id = 1`

func (r Reader) head(ctx context.Context) (h head, err error) {
	_, err = r.row(ctx, "head", headQuery, nil, &h.revision, &h.apply, &h.followed, &h.history, &h.applyHistory, &h.followedHistory)
	return h, err
}

// Head is what a watch sends: the newest revisions that services follow, and where the histories ended, lost ones included.
func (r Reader) Head(ctx context.Context) (*configv1.WatchResponse, error) {
	h, err := r.head(ctx)
	if err != nil {
		return nil, err
	}
	return r.message(ctx, h)
}

func (r Reader) message(ctx context.Context, h head) (*configv1.WatchResponse, error) {
	out := &configv1.WatchResponse{
		Revision: h.followed, ApplyRevision: h.apply, History: uint64(h.followedHistory), ApplyHistory: uint64(h.applyHistory),
	}
	err := r.each(ctx, "histories", `SELECT history, last FROM histories WHERE history <> $1 UNION ALL SELECT history, revision FROM lost_revisions
		ORDER BY last DESC LIMIT $2`, []any{h.followedHistory, endsSent}, func(scan func(...any) error) error {
		var history, last int64
		if err := scan(&history, &last); err != nil {
			return err
		}
		out.Ends = append(out.Ends, &configv1.Position{History: uint64(history), Revision: last})
		return nil
	})
	return out, err
}

// Located is a revision that was asked for, and where its content is.
type Located struct {
	*configv1.Position
	// At is the revision whose content it is; another one where that replaces it.
	At    Revisions
	Found bool
}

// revision is one of a number, and its history; not ok where there is none.
func (r Reader) revision(ctx context.Context, number int64) (at Revisions, history uint64, ok bool, err error) {
	var of int64
	ok, err = r.row(ctx, "revision", `SELECT revision, apply_revision, history FROM revisions WHERE revision = $1`, []any{number}, &at.Revision, &at.Apply, &of)
	return at, uint64(of), ok, err
}

// Locate finds a revision, 0 for the newest that services follow, of a history, 0 for whichever has it.
func (r Reader) Locate(ctx context.Context, p *configv1.Position) (Located, error) {
	out := Located{Position: p}
	if p.GetRevision() == 0 {
		h, err := r.head(ctx)
		return h.located(), err
	}
	at, history, ok, err := r.revision(ctx, p.GetRevision())
	if err != nil {
		return out, err
	}
	if ok && (p.GetHistory() == 0 || p.GetHistory() == history) {
		return Located{Position: &configv1.Position{History: history, Revision: at.Revision}, At: at, Found: true}, nil
	}
	var standsIn int64
	ok, err = r.row(ctx, "lost revisions", `SELECT stands_in FROM lost_revisions WHERE history = $1 AND revision >= $2 ORDER BY revision LIMIT 1`,
		[]any{int64(p.GetHistory()), p.GetRevision()}, &standsIn)
	if !ok {
		return out, err
	}
	out.At, _, out.Found, err = r.revision(ctx, standsIn)
	return out, err
}

func (h head) located() Located {
	return Located{
		Position: &configv1.Position{History: uint64(h.followedHistory), Revision: h.followed},
		At:       Revisions{Revision: h.followed, Apply: h.apply}, Found: true,
	}
}
