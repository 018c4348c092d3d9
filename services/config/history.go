package config

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// endsSent bounds what a watch sends of earlier histories: a service that last followed the configuration that many
// restarts ago does not follow before an operator accepts it.
const endsSent = 256

// newHistory draws one; 0 is none.
func newHistory() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return max(binary.LittleEndian.Uint64(b[:]), 1)
}

// head is what a watch sends: the newest revisions, and the ends of the histories that they continue.
func head(ctx context.Context, q queries) (*configv1.WatchResponse, error) {
	st, err := followedRevisions(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &configv1.WatchResponse{Revision: st.revision, ApplyRevision: st.apply}
	if out.History, err = historyOf(ctx, q, st.revision); err != nil {
		return nil, err
	}
	if out.ApplyHistory, err = historyOf(ctx, q, st.apply); err != nil {
		return nil, err
	}
	rows, err := q.QueryContext(ctx, `SELECT history, last FROM (
			SELECT history, (SELECT MAX(revision) FROM revisions
				WHERE revision < (SELECT MIN(first) FROM histories later WHERE later.first > h.first)) AS last
			FROM histories h
		) WHERE last IS NOT NULL
		UNION ALL SELECT history, revision FROM lost_revisions
		ORDER BY last DESC LIMIT $1`, endsSent)
	if err != nil {
		return nil, fmt.Errorf("read histories: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var history, last int64
		if err := rows.Scan(&history, &last); err != nil {
			return nil, fmt.Errorf("read histories: %w", err)
		}
		out.Ends = append(out.Ends, &configv1.Position{History: uint64(history), Revision: last})
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read histories: %w", err)
	}
	return out, nil
}

// historyOf is the history of a revision that there is; 0 of none.
func historyOf(ctx context.Context, q queries, revision int64) (uint64, error) {
	var history int64
	err := q.QueryRowContext(ctx, `SELECT history FROM histories WHERE first <= $1 ORDER BY first DESC LIMIT 1`, revision).Scan(&history)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read history of revision %d: %w", revision, err)
	}
	return uint64(history), nil
}

// begin makes sure that a revision being written is of this run's history.
func begin(ctx context.Context, tx *sql.Tx, history uint64, revision int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO histories (first, history) VALUES ($1, $2) ON CONFLICT (history) DO NOTHING`, revision, int64(history))
	if err != nil {
		return fmt.Errorf("begin history: %w", err)
	}
	return nil
}

// located is a revision that was asked for, and where its content is.
type located struct {
	*configv1.Position
	// at is the revision whose content it is; another one where that replaces it.
	at    revisions
	found bool
}

// locate finds a revision, 0 for the newest, of a history, 0 for whichever has it.
func locate(ctx context.Context, q queries, p *configv1.Position) (located, error) {
	out := located{Position: p}
	if p.GetRevision() == 0 {
		st, err := followedRevisions(ctx, q)
		if err != nil {
			return out, err
		}
		history, err := historyOf(ctx, q, st.revision)
		return located{Position: &configv1.Position{History: history, Revision: st.revision}, at: st, found: true}, err
	}
	st, ok, err := revisionsAt(ctx, q, p.GetRevision())
	if err != nil {
		return out, err
	}
	if ok {
		history, err := historyOf(ctx, q, st.revision)
		if err != nil {
			return out, err
		}
		if p.GetHistory() == 0 || p.GetHistory() == history {
			return located{Position: &configv1.Position{History: history, Revision: st.revision}, at: st, found: true}, nil
		}
	}
	var standsIn int64
	err = q.QueryRowContext(ctx, `SELECT stands_in FROM lost_revisions WHERE history = $1 AND revision >= $2 ORDER BY revision LIMIT 1`,
		int64(p.GetHistory()), p.GetRevision()).Scan(&standsIn)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return out, nil
	case err != nil:
		return out, fmt.Errorf("read lost revisions: %w", err)
	}
	out.at, out.found, err = revisionsAt(ctx, q, standsIn)
	return out, err
}

// lose notes that revisions of a history, up to one, are given up.
func lose(ctx context.Context, tx *sql.Tx, p *configv1.Position, standsIn int64, who, why string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO lost_revisions (history, revision, stands_in, accepted_by, why) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (history, revision) DO NOTHING`, int64(p.GetHistory()), p.GetRevision(), standsIn, who, why)
	if err != nil {
		return fmt.Errorf("note lost revisions: %w", err)
	}
	return nil
}
