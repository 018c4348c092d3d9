package config

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"

	"go.uber.org/zap"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// historyService serves configv1.HistoryService.
type historyService struct {
	configv1.UnimplementedHistoryServiceServer
	service *service
}

func (h *historyService) GetHistory(context.Context, *configv1.GetHistoryRequest) (*configv1.History, error) {
	return h.service.shownHistory(), nil
}

func (s *service) shownHistory() *configv1.History {
	head, _ := s.notifier.read()
	return &configv1.History{
		Newest:  &configv1.Position{History: head.GetHistory(), Revision: head.GetRevision()},
		Unknown: s.unknown.list(head),
	}
}

const (
	// lostMost and revisionMost bound what may be accepted: a log can be written by every client that may write Kafka.
	lostMost     = unknownMost
	revisionMost = 1 << 48
	wordsMost    = 1000
)

func (h *historyService) AcceptRestore(ctx context.Context, req *configv1.AcceptRestoreRequest) (*configv1.History, error) {
	var f fault.Violations
	switch n := len(req.GetLost()); {
	case n == 0:
		f.Add("lost", "is required: what GetHistory shows")
	case n > lostMost:
		f.Add("lost", "must be at most %d positions, not %d", lostMost, n)
	}
	for i, p := range req.GetLost() {
		if p.GetHistory() == 0 || p.GetRevision() < 1 || p.GetRevision() > revisionMost {
			f.Add(fmt.Sprintf("lost[%d]", i), "must be a history and a revision from 1 to %d", int64(revisionMost))
			break
		}
	}
	for field, words := range map[string]string{"who": req.GetWho(), "why": req.GetWhy()} {
		if strings.TrimSpace(words) == "" || len(words) > wordsMost {
			f.Add(field, "must be 1 to %d bytes", wordsMost)
		}
	}
	if err := f.Err(reason.RequestInvalid); err != nil {
		return nil, err
	}
	if err := h.service.acceptRestore(ctx, req); err != nil {
		return nil, err
	}
	return h.service.shownHistory(), nil
}

// acceptRestore makes a revision above everything that was lost, of a history of its own, with the configuration as it
// stands here.
func (s *service) acceptRestore(ctx context.Context, req *configv1.AcceptRestoreRequest) error {
	tx, err := s.store.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin to accept a restore: %w", err)
	}
	// After a commit this does nothing.
	defer tx.Rollback() //nolint:errcheck // what is given up leaves nothing to report
	now, err := head(ctx, tx)
	if err != nil {
		return err
	}
	last, err := newestRevisions(ctx, tx)
	if err != nil {
		return err
	}
	made := revisions{revision: last.revision}
	var lost []*configv1.Position
	for _, p := range req.GetLost() {
		if !configclient.Continues(now, p) {
			lost = append(lost, p)
			made.revision = max(made.revision, p.GetRevision())
		}
	}
	if len(lost) == 0 {
		return fault.New(fault.Conflict, "NOTHING_LOST", "all of these revisions are known here")
	}
	made.revision++
	made.apply = made.revision
	// This run may have made revisions already, and a history has no gaps.
	history := newHistory()
	e := entry{revisions: made, at: s.clock(), caller: rpc.Caller(ctx), action: "accept_restore", kind: "history", name: cmp.Or(req.GetWho(), "unknown"), history: history}
	if err := record(ctx, tx, e); err != nil {
		return err
	}
	for _, p := range lost {
		if err := lose(ctx, tx, p, made.revision, req.GetWho(), req.GetWhy()); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit revision %d: %w", made.revision, err)
	}
	s.history.Store(history)
	s.announce(ctx)
	s.metrics.changed(made, "history", e.action)
	s.log.Warn("restore accepted", zap.Int64("revision", made.revision), zap.Int("histories", len(lost)),
		zap.String("who", req.GetWho()), zap.String("why", req.GetWhy()), zap.String("caller", e.caller))
	return nil
}
