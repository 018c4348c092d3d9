package configclient

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// known are the revisions of the configuration's histories that a Source has seen, and whether the service's head
// continues them. The Source's mu guards it.
type known struct {
	// seen is the highest revision of each history that this installation uses.
	seen map[uint64]int64
	// last is the head received last, followed or not.
	last *configv1.WatchResponse
	// refused is why the last head is not followed; nil where it is.
	refused error
	// seenUnsaved: the store does not have the newest of seen.
	seenUnsaved bool
	// again ends the open watch, so that the next one sends the seen revisions.
	again context.CancelFunc
}

// positions are what a watch request sends.
func (k *known) positions() []*configv1.Position {
	out := make([]*configv1.Position, 0, len(k.seen))
	for _, h := range slices.Sorted(maps.Keys(k.seen)) {
		out = append(out, &configv1.Position{History: h, Revision: k.seen[h]})
	}
	return out
}

// diverging is the first of the positions that the service's head does not continue; nil where it continues all.
func diverging(head *configv1.WatchResponse, positions []*configv1.Position) *configv1.Position {
	for _, p := range positions {
		if !Continues(head, p) {
			return p
		}
	}
	return nil
}

// Continues reports whether a head continues a position: the history contains it, or an operator accepted its loss.
func Continues(head *configv1.WatchResponse, p *configv1.Position) bool {
	within := func(e *configv1.Position) bool {
		return e.GetHistory() == p.GetHistory() && p.GetRevision() <= e.GetRevision()
	}
	return within(&configv1.Position{History: head.GetHistory(), Revision: head.GetRevision()}) || slices.ContainsFunc(head.GetEnds(), within)
}

// applyHead takes a head of the service, the answer to a watch that sent positions. It reports whether the head is
// followed.
func (s *Source) applyHead(head *configv1.WatchResponse, sentPositions []*configv1.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.watchErr != nil || s.refused != nil
	s.watchErr, s.last = nil, head
	if p := diverging(head, sentPositions); p != nil {
		s.refuse(fmt.Errorf("the configuration service is at revision %d of history %s, which does not go on from revision %d of history %s that is known here: "+
			"its database was set back to a backup, or begun anew. Work goes on by what is known; `tollgate config accept-restore` shows what was lost, and lets it be followed",
			head.GetRevision(), historyName(head.GetHistory()), p.GetRevision(), historyName(p.GetHistory())))
		return false
	}
	if diverging(head, s.positions()) != nil {
		// Another replica was faster, and a log here has its revision. The next watch sends it.
		s.again()
		return false
	}
	if s.refused != nil {
		s.log.Info("configuration followed again", zap.Int64("revision", head.GetRevision()), zap.String("history", historyName(head.GetHistory())))
	}
	s.refuse(nil)
	if s.newest != nil && head.GetRevision() == s.newest.GetRevision() && head.GetHistory() == s.newest.GetHistory() && !again {
		return true
	}
	s.newest = head
	if head.GetRevision() > 0 {
		s.see(state.Revision{History: head.GetHistory(), Number: head.GetRevision()})
	}
	s.metrics.received(head)
	close(s.changed)
	s.changed = make(chan struct{})
	return true
}

func (s *Source) refuse(err error) {
	if err != nil && (s.refused == nil || s.refused.Error() != err.Error()) {
		s.log.Error("configuration not followed", zap.Error(err))
	}
	s.refused = err
	s.metrics.refused(err != nil)
}

func (s *Source) see(r state.Revision) {
	if s.seen[r.History] < r.Number {
		s.seen[r.History], s.seenUnsaved = r.Number, true
	}
}

// note takes a revision that a log of this process uses.
func (s *Source) note(r state.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Number <= s.seen[r.History] {
		return
	}
	s.see(r)
	if s.last != nil && diverging(s.last, s.positions()) != nil {
		s.again()
	}
}

// learn reads the revisions that services sharing the store have seen.
func (s *Source) learn(ctx context.Context) error {
	if s.store == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	all, err := s.store.SeenRevisions(ctx)
	if err != nil {
		return fmt.Errorf("read the seen revisions from the store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range all {
		s.see(r)
	}
	s.seenUnsaved = false
	return nil
}

// save writes the seen revisions, and retries while that fails.
func (s *Source) save(ctx context.Context) {
	s.mu.Lock()
	seen, seenUnsaved := maps.Clone(s.seen), s.seenUnsaved && s.store != nil
	s.seenUnsaved = false
	s.mu.Unlock()
	if !seenUnsaved {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for h, n := range seen {
		if err := s.store.SeeRevision(ctx, state.Revision{History: h, Number: n}); err != nil {
			s.log.Warn("revision seen not saved", zap.Int64("revision", n), zap.Error(err))
			s.mu.Lock()
			s.seenUnsaved = true
			s.mu.Unlock()
			return
		}
	}
}
