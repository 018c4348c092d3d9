package configclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/table"
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
	// What differs from the last one is less to read than all of it from the store; what a log names is there most likely.
	var sent *Snapshot
	var err error
	if s.base() != nil && r == s.newestApplied() {
		if sent, err = s.fetch(ctx, r); err == nil && sent.raw.GetStandsIn() == 0 {
			return sent, nil
		}
	}
	begin := time.Now()
	message, storeErr := s.stored(ctx, r)
	if message != nil {
		return s.decoded(message, nil, fromStore, begin), nil
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

func (s *Source) decoded(m *configv1.Snapshot, before *Snapshot, from string, begin time.Time) *Snapshot {
	found := decode(m, before)
	s.mu.Lock()
	if s.served = true; found.Revision >= s.read {
		s.read, s.missing = found.Revision, found.unreadable
	}
	s.mu.Unlock()
	took := time.Since(begin)
	s.metrics.loaded(from, took)
	fields := []zap.Field{
		zap.Int64("revision", m.GetRevision()), zap.String("history", historyName(m.GetHistory())),
		zap.String("from", from), zap.Duration("duration", took), zap.Int("tenants", len(m.GetTenants())),
		zap.Int("classes_of_service", len(m.GetClassesOfService())), zap.Int("notifications", len(m.GetNotifications())),
	}
	for _, k := range table.Kinds() {
		fields = append(fields, zap.Int(string(lists[k.New().ProtoReflect().Descriptor().FullName()].Name()), len(found.Targets(k))))
	}
	s.log.Info("configuration read", fields...)
	if m.GetStandsIn() != 0 {
		s.log.Warn("revision was lost, another one replaces it", zap.Int64("revision", m.GetRevision()),
			zap.String("history", historyName(m.GetHistory())), zap.Int64("stands_in", m.GetStandsIn()))
	}
	return found
}

func historyName(h uint64) string { return fmt.Sprintf("%016x", h) }

// storedFormat begins each snapshot in the store. A binary that finds another format reads the revision from the
// configuration service.
const storedFormat = 2

// stored is nil where the store has no such revision, or one that this binary can't read.
func (s *Source) stored(ctx context.Context, r state.Revision) (*configv1.Snapshot, error) {
	if s.store == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	body, err := s.store.GetRevision(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("read revision %s from the store: %w", r, err)
	}
	if len(body) == 0 || body[0] != storedFormat {
		return nil, nil
	}
	m := &configv1.Snapshot{}
	if err := proto.Unmarshal(body[1:], m); err != nil || m.GetRevision() != r.Number || m.GetHistory() != r.History {
		s.log.Warn("the store holds another content under this revision", zap.Stringer("revision", r), zap.Error(err))
		return nil, nil
	}
	return m, nil
}

// fetch reads a revision from the configuration service, in parts.
func (s *Source) fetch(ctx context.Context, r state.Revision) (*Snapshot, error) {
	begin := time.Now()
	base := s.base()
	m, err := s.receive(ctx, r, base)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return nil, fmt.Errorf("read revision %s: %w: %w", r, ErrNotReached, err)
	case err != nil:
		return nil, fmt.Errorf("read revision %s: %w", r, err)
	case m.GetRevision() != r.Number || r.History != 0 && m.GetHistory() != r.History:
		return nil, fmt.Errorf("read revision %s: the configuration service answered %d of history %s", r, m.GetRevision(), historyName(m.GetHistory()))
	}
	found := s.decoded(m, base, fromService, begin)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent == nil || found.Revision >= s.sent.Revision || found.History != s.sent.History {
		s.sent = found
	}
	return found, nil
}

var errSlow = errors.New("the configuration service does not answer")

func (s *Source) receive(ctx context.Context, r state.Revision, base *Snapshot) (*configv1.Snapshot, error) {
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
	request := &configv1.SnapshotRequest{Revision: r.Number, History: r.History}
	if base != nil {
		request.Since = &configv1.Position{History: base.History, Revision: base.Revision}
	}
	parts, err := s.client.Snapshot(ctx, request)
	var all *configv1.Snapshot
	if err == nil {
		all, err = collect(lean{parts}, base.Message(), func() { slow.Reset(patience) })
	}
	if errors.Is(context.Cause(ctx), errSlow) {
		err = errSlow
	}
	return all, err
}

// Collect joins the parts of a whole snapshot; each, where not nil, is called after each part.
func Collect(parts grpc.ServerStreamingClient[configv1.SnapshotResponse], each func()) (*configv1.Snapshot, error) {
	return collect(parts, nil, each)
}
