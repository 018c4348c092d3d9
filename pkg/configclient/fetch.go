package configclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Where a revision was read from: values of a label.
const (
	fromStore   = "store"
	fromService = "service"
)

// load reads a revision for a service that counts or plans: from the store, which has it from the same history or not
// at all, otherwise from the configuration service. The error is of kind fault.NotFound where both answered and neither
// has it.
func (s *Source) load(ctx context.Context, r state.Revision) (*Snapshot, error) {
	if r.Number == 0 {
		return Decode(&configv1.Snapshot{}), nil
	}
	// What differs from the last one is as little to read as the store's parts; what a log names is there most likely.
	var sent *Snapshot
	var err error
	if s.base() != nil && r == s.newestApplied() {
		if sent, err = s.fetch(ctx, r); err == nil && sent.standsIn == 0 {
			return sent, nil
		}
	}
	found, storeErr := s.stored(ctx, r)
	if found != nil {
		return found, nil
	}
	if sent == nil && err == nil {
		sent, err = s.fetch(ctx, r)
	}
	if err != nil && storeErr != nil {
		// The store may have it although the service does not.
		return nil, fmt.Errorf("%w (and %v)", storeErr, err) //nolint:errorlint // of another kind
	}
	return sent, err
}

// took takes a snapshot that was read.
func (s *Source) took(found *Snapshot, from string, begin time.Time) {
	s.mu.Lock()
	if s.served = true; found.Revision >= s.read {
		s.read, s.missing = found.Revision, found.unreadable
	}
	s.remember(found)
	s.mu.Unlock()
	duration := time.Since(begin)
	s.metrics.loaded(from, duration)
	fields := []zap.Field{
		zap.Int64("revision", found.Revision), zap.String("history", historyName(found.History)),
		zap.String("from", from), zap.Duration("duration", duration), zap.Int("tenants", len(found.sorted)),
		zap.Int("classes_of_service", len(found.classes)), zap.Int("notifications", len(found.notifications.all)),
	}
	for _, k := range kinds {
		fields = append(fields, zap.Int(string(lists[k.list].Name()), found.targetsOf(k.Kind)))
	}
	s.log.Info("configuration read", fields...)
	if found.standsIn != 0 {
		s.log.Warn("revision was lost, another one replaces it", zap.Int64("revision", found.Revision),
			zap.String("history", historyName(found.History)), zap.Int64("stands_in", found.standsIn))
	}
}

func historyName(h uint64) string { return fmt.Sprintf("%016x", h) }

// base is the newest snapshot that the service sent: what the next one is asked as a difference from. nil before the first.
func (s *Source) base() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// fetch reads a revision from the configuration service, in parts; the newest it has where the number is 0.
func (s *Source) fetch(ctx context.Context, r state.Revision) (*Snapshot, error) {
	begin := time.Now()
	base := s.base()
	found, err := s.receive(ctx, r, base)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return nil, fmt.Errorf("read revision %s: %w: %w", r, ErrNotReached, err)
	case err != nil:
		return nil, fmt.Errorf("read revision %s: %w", r, err)
	case r.Number != 0 && found.Revision != r.Number || r.History != 0 && found.History != r.History:
		return nil, fmt.Errorf("read revision %s: the configuration service answered %d of history %s", r, found.Revision, historyName(found.History))
	case base != nil && found.Revision == base.Revision && found.History == base.History:
		return base, nil
	}
	s.took(found, fromService, begin)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent == nil || found.Revision >= s.sent.Revision || found.History != s.sent.History {
		s.sent = found
	}
	return found, nil
}

var errSlow = errors.New("the configuration service does not answer")

func (s *Source) receive(ctx context.Context, r state.Revision, base *Snapshot) (*Snapshot, error) {
	s.mu.Lock()
	patience := fetchTimeout
	if s.watchErr != nil {
		patience = disconnectedTimeout
	}
	s.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slow := time.AfterFunc(patience, func() { cancel(errSlow) })
	defer slow.Stop()
	request := &configv1.SnapshotRequest{Revision: r.Number, History: r.History, Lists: s.needs.Lists, Planned: s.needs.Planned}
	if base != nil {
		request.Since = &configv1.Position{History: base.History, Revision: base.Revision}
	}
	parts, err := s.client.Snapshot(ctx, request)
	var found *Snapshot
	if err == nil {
		found, err = s.form.gather(parts, base, func() { slow.Reset(patience) })
	}
	if errors.Is(context.Cause(ctx), errSlow) {
		err = errSlow
	}
	return found, err
}
