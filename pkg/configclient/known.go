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

// known is what a Source knows of the configuration's histories, and whether what it hears goes on from it. The Source's
// mu holds it.
type known struct {
	// seen is the highest revision of each history that anything here is worked by.
	seen map[uint64]int64
	// last is the word heard last, followed or not.
	last *configv1.WatchResponse
	// refused is why what was heard last is not followed; nil where it is.
	refused error
	// unsaved says that the store has not got the newest of seen.
	unsaved bool
	// again ends the watch that is open, so that the next one says what is known by now.
	again context.CancelFunc
}

// positions are what a watch says.
func (k *known) positions() []*configv1.Position {
	out := make([]*configv1.Position, 0, len(k.seen))
	for _, h := range slices.Sorted(maps.Keys(k.seen)) {
		out = append(out, &configv1.Position{History: h, Revision: k.seen[h]})
	}
	return out
}

// strange is the first of some positions that the configuration service's word does not go on from; nil where it goes on
// from all.
func strange(news *configv1.WatchResponse, positions []*configv1.Position) *configv1.Position {
	for _, p := range positions {
		if !GoesOn(news, p) {
			return p
		}
	}
	return nil
}

// GoesOn says whether what a watch says goes on from a position: has it, or an operator gave it up.
func GoesOn(news *configv1.WatchResponse, p *configv1.Position) bool {
	within := func(e *configv1.Position) bool {
		return e.GetHistory() == p.GetHistory() && p.GetRevision() <= e.GetRevision()
	}
	return within(&configv1.Position{History: news.GetHistory(), Revision: news.GetRevision()}) || slices.ContainsFunc(news.GetEnds(), within)
}

// hear takes the service's word, as an answer to a watch that said what was known. It says whether the word is followed.
func (s *Source) hear(news *configv1.WatchResponse, said []*configv1.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.silent != nil || s.refused != nil
	s.silent, s.last = nil, news
	if p := strange(news, said); p != nil {
		s.refuse(fmt.Errorf("the configuration service is at revision %d of history %s, which does not go on from revision %d of history %s that is known here: "+
			"its database was set back to a backup, or begun anew. Work goes on by what is known; `tollgate config accept-restore` shows what was lost, and lets it be followed",
			news.GetRevision(), historyName(news.GetHistory()), p.GetRevision(), historyName(p.GetHistory())))
		return false
	}
	if strange(news, s.positions()) != nil {
		// Another replica was faster, and its revision stands in a log here. The next watch says that it is known.
		s.again()
		return false
	}
	if s.refused != nil {
		s.log.Info("configuration followed again", zap.Int64("revision", news.GetRevision()), zap.String("history", historyName(news.GetHistory())))
	}
	s.refuse(nil)
	if s.newest != nil && news.GetRevision() == s.newest.GetRevision() && news.GetHistory() == s.newest.GetHistory() && !again {
		return true
	}
	s.newest = news
	if news.GetRevision() > 0 {
		s.see(state.Revision{History: news.GetHistory(), Number: news.GetRevision()})
	}
	s.metrics.heard(news)
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
		s.seen[r.History], s.unsaved = r.Number, true
	}
}

// note takes a revision that a log here is worked by.
func (s *Source) note(r state.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Number <= s.seen[r.History] {
		return
	}
	s.see(r)
	if s.last != nil && strange(s.last, s.positions()) != nil {
		s.again()
	}
}

// learn reads what the services that share the store have seen.
func (s *Source) learn(ctx context.Context) error {
	if s.store == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	all, err := s.store.SeenRevisions(ctx)
	if err != nil {
		return fmt.Errorf("read from the store what is known of the configuration: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range all {
		s.see(r)
	}
	s.unsaved = false
	return nil
}

// save writes what is known, once more each time it could not be.
func (s *Source) save(ctx context.Context) {
	s.mu.Lock()
	seen, unsaved := maps.Clone(s.seen), s.unsaved && s.store != nil
	s.unsaved = false
	s.mu.Unlock()
	if !unsaved {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for h, n := range seen {
		if err := s.store.SeeRevision(ctx, state.Revision{History: h, Number: n}); err != nil {
			s.log.Warn("revision seen not saved", zap.Int64("revision", n), zap.Error(err))
			s.mu.Lock()
			s.unsaved = true
			s.mu.Unlock()
			return
		}
	}
}
