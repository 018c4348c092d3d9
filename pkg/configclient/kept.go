package configclient

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// A service that sends keeps the newest revision in the store, encrypted, before it works by it, and starts from there while the
// configuration service is away. So does one that is cut off learn what other replicas work by: the highest revision counts.

const (
	// keepTimeout is how long a revision waits for the store: it is in force then, and kept later.
	keepTimeout = 2 * time.Second
	// recallEvery is how often the store is asked while the configuration service is away.
	recallEvery = 250 * time.Millisecond
)

// IncidentStoreRefused is of a store whose content another wrote.
const IncidentStoreRefused = "CONFIG_STORE_REFUSED"

// encryptStore has revisions encrypted in the store.
func (s *Source) encryptStore() (err error) {
	if s.store == nil || s.key == "" {
		s.store, s.form.address = nil, nil
		s.log.Warn("the configuration is not kept: without config nothing is known at a start; that needs Redis and config.api_key_file")
		return nil
	}
	s.space += ":encrypted"
	if s.encryption, err = newEncryption(s.key, "tollgate configuration of "+s.space); err != nil {
		return err
	}
	s.form.address = s.encryption.address
	return nil
}

// saveKept stores the newest revision, and returns when that is done or takes too long.
func (s *Source) saveKept(ctx context.Context, found *Snapshot) {
	if s.encryption == nil {
		return
	}
	s.mu.Lock()
	newer := s.used == nil || found.Revision > s.used.Revision
	if newer {
		s.used, s.unsaved = found, true
	}
	s.mu.Unlock()
	if !newer {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	s.keepUsed(ctx)
}

// keepUsed has the revision that is worked by in the store.
func (s *Source) keepUsed(ctx context.Context) {
	s.mu.Lock()
	used := s.used
	s.mu.Unlock()
	if used == nil {
		return
	}
	there, err := s.hold(ctx, state.Revision{History: used.History, Number: used.Revision})
	if err == nil && !there {
		err = s.put(ctx, used)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && ctx.Err() == nil && !s.keepFailed {
		s.log.Warn("configuration not kept in the store, trying again", zap.Int64("revision", used.Revision), zap.Error(err))
	}
	s.keepFailed = err != nil
	if s.used == used {
		s.unsaved = err != nil
	}
	if err == nil {
		s.storeErr = nil // what was refused is behind this one
	}
}

// keepKept runs until ctx ends.
func (s *Source) keepKept(ctx context.Context) {
	tick := time.NewTicker(recallEvery)
	defer tick.Stop()
	var swept time.Time
	for ctx.Err() == nil {
		s.recallKept(ctx)
		s.mu.Lock()
		unsaved := s.unsaved
		s.mu.Unlock()
		due := time.Since(swept) >= keepEvery
		if unsaved || due {
			s.keepUsed(ctx)
		}
		if due {
			swept = time.Now()
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("revisions in the store not swept, trying again", zap.Error(err))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// recallKept takes the newest revision of the store while the configuration service does not answer, or is not followed.
func (s *Source) recallKept(ctx context.Context) {
	s.mu.Lock()
	cutOff, known := s.newest == nil || s.watchErr != nil || s.refused != nil, s.newest.GetRevision()
	s.mu.Unlock()
	if !cutOff {
		return
	}
	asking, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	r, err := s.store.NewestRevision(asking, s.space)
	var found *Snapshot
	if err == nil && r.Number > known {
		found, err = s.stored(ctx, r)
	}
	if err != nil && ctx.Err() == nil && !s.storeFailed {
		s.log.Warn("newest revision not read from the store, trying again", zap.Error(err))
	}
	s.storeFailed = err != nil
	if found == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest.GetRevision() >= found.Revision {
		return
	}
	s.newest = &configv1.WatchResponse{
		Revision: found.Revision, History: found.History, ApplyRevision: found.ApplyRevision, ApplyHistory: found.History,
	}
	s.used = found
	s.see(r)
	close(s.changed)
	s.changed = make(chan struct{})
}

// refuseStore notes why the store is not followed, nil where it is.
func (s *Source) refuseStore(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storeErr = err
}

// storeRefused is the incident of a store that is refused.
func (s *Source) storeRefused() []*daemon.Incident {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storeErr == nil {
		return nil
	}
	return []*daemon.Incident{{Code: IncidentStoreRefused, Resource: s.space, Detail: s.storeErr.Error()}}
}

// Refresh reads what the configuration service has now; it is the same snapshot where that did not change. With an error it is
// what is worked by, from the store where this process has read none: nil while there is none.
func (s *Source) Refresh(ctx context.Context) (*Snapshot, error) {
	found, err := s.fetch(ctx, state.Revision{})
	s.mu.Lock()
	used := s.used
	switch {
	case err == nil && s.refused != nil:
		err = s.refused
	case err == nil && used != nil && found.Revision < used.Revision:
		err = fmt.Errorf("the configuration service has revision %d, and %d is known", found.Revision, used.Revision)
	case err == nil && s.encryption == nil:
		s.used = found
	}
	s.mu.Unlock()
	if err != nil {
		return used, err
	}
	s.saveKept(ctx, found)
	return found, nil
}
