package config

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

// historyService serves configv1.HistoryService.
type historyService struct {
	configv1.UnimplementedHistoryServiceServer
	service *service
}

func (h *historyService) GetHistory(ctx context.Context, _ *configv1.GetHistoryRequest) (*configv1.History, error) {
	return h.service.shownHistory(ctx)
}

func (s *service) shownHistory(ctx context.Context) (*configv1.History, error) {
	if err := s.sync(ctx); err != nil {
		return nil, err
	}
	unknown, err := s.unknown(ctx)
	if err != nil {
		return nil, err
	}
	head, _ := s.notifier.read()
	return &configv1.History{Newest: &configv1.Position{History: head.GetHistory(), Revision: head.GetRevision()}, Unknown: unknown}, nil
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
	return h.service.shownHistory(ctx)
}

// acceptRestore makes a revision above everything that was lost, of a history of its own, with the configuration as it
// stands here.
func (s *service) acceptRestore(ctx context.Context, req *configv1.AcceptRestoreRequest) error {
	tx, err := s.store.Begin(ctx)
	if err != nil {
		return err
	}
	// After a commit this does nothing.
	defer tx.Rollback()
	now, err := tx.Head(ctx)
	if err != nil {
		return err
	}
	made := store.Revisions{Revision: tx.Last().Revision}
	var lost []*configv1.Position
	for _, p := range req.GetLost() {
		if !configclient.Continues(now, p) {
			lost = append(lost, p)
			made.Revision = max(made.Revision, p.GetRevision())
		}
	}
	if len(lost) == 0 {
		return fault.New(fault.Conflict, "NOTHING_LOST", "all of these revisions are known here")
	}
	made.Revision++
	made.Apply = made.Revision
	// What was lost may be of the history that this process writes.
	tx.BeginHistory()
	e := store.Entry{Revisions: made, At: s.clock(), Caller: rpc.Caller(ctx), Action: "accept_restore", Kind: "history", Name: cmp.Or(req.GetWho(), "unknown")}
	if err := tx.Record(ctx, e); err != nil {
		return err
	}
	for _, p := range lost {
		if err := tx.Lose(ctx, p, made.Revision, req.GetWho(), req.GetWhy()); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.announce(ctx)
	s.metrics.changed("history", e.Action)
	s.log.Warn("restore accepted", zap.Int64("revision", made.Revision), zap.Int("histories", len(lost)),
		zap.String("who", req.GetWho()), zap.String("why", req.GetWhy()), zap.String("caller", e.Caller))
	return nil
}
