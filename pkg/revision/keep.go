package revision

import (
	"bytes"
	"context"
	"fmt"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// keepEvery is how often the store is asked whether it still has what was put there: it may have been emptied, while
// everybody goes on from memory and asks it for nothing.
const keepEvery = 30 * time.Second

// kept is what is meant to lie in the store.
type kept struct {
	// highest revision that some log is at, 0 for none.
	highest int64
	// seen is when it last lay there, zero when that is not known.
	seen time.Time
	// before are lower ones, which may go.
	before []int64
}

// want says that a revision is meant to lie in the store.
func (s *Source) want(revision int64) {
	if s.store == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision <= s.kept.highest {
		return
	}
	if s.kept.highest > 0 {
		s.kept.before = append(s.kept.before, s.kept.highest)
	}
	s.kept.highest, s.kept.seen = revision, time.Time{}
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

// keep looks after the highest revision, until ctx ends.
func (s *Source) keep(ctx context.Context) {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wanted:
		case <-ticker.C:
		}
		s.mu.Lock()
		revision := s.kept.highest
		s.mu.Unlock()
		if revision == 0 {
			continue
		}
		if err := s.ensure(ctx, revision); err != nil && ctx.Err() == nil {
			s.log.Warn("revision may not be in the store, trying again", zap.Int64("revision", revision), zap.Error(err))
		}
	}
}

// Prepare puts a revision into the store, so that whoever opens a partition at it can read it while the configuration
// service is away, and lets the one before go in time. Called before a record names the revision.
func (s *Source) Prepare(ctx context.Context, revision int64) error {
	if s.store == nil || revision == 0 {
		return nil
	}
	s.want(revision)
	s.mu.Lock()
	fresh := revision == s.kept.highest && !s.kept.seen.IsZero() && time.Since(s.kept.seen) < keepEvery
	s.mu.Unlock()
	if fresh {
		return nil
	}
	return s.ensure(ctx, revision)
}

// ensure returns once the revision lies in the store. What lies there already is replaced only by what the service told,
// and only at the first time: replicas of two binaries may encode differently.
func (s *Source) ensure(ctx context.Context, revision int64) error {
	found, err := s.at(ctx, reading{revision, false})
	if err != nil {
		return err
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(Stripped(found.raw))
	if err != nil {
		return fmt.Errorf("encode revision %d: %w", revision, err)
	}
	s.mu.Lock()
	first := revision != s.kept.highest || s.kept.seen.IsZero()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	there, err := s.store.GetRevision(ctx, revision)
	if err != nil {
		return fmt.Errorf("look for revision %d: %w", revision, err)
	}
	put := there == nil || first && found.whole && !bytes.Equal(there, body)
	if put {
		if !first {
			s.log.Warn("revision was gone from the store, put there again", zap.Int64("revision", revision))
		}
		if err := s.store.PutRevision(ctx, revision, body); err != nil {
			return fmt.Errorf("keep revision %d: %w", revision, err)
		}
	}
	s.mu.Lock()
	var retire []int64
	switch {
	case revision == s.kept.highest:
		s.kept.seen = time.Now()
		retire, s.kept.before = s.kept.before, nil
	case revision < s.kept.highest && put:
		retire = []int64{revision} // late: a higher one was prepared meanwhile
	}
	s.mu.Unlock()
	for _, old := range retire {
		if err := s.store.RetireRevision(ctx, old); err != nil {
			// It stays a while longer than it need.
			s.log.Warn("old revision not retired", zap.Int64("revision", old), zap.Error(err))
		}
	}
	return nil
}

// Stripped is the form in which a snapshot lies in the store, where others may read: of an endpoint it has what planning
// reads, its name, profile, word on personal data and whether it is a draft. Its URL, secrets, headers and all else are
// read from the configuration service when something is sent. Messages of m are shared.
func Stripped(m *configv1.Snapshot) *configv1.Snapshot {
	out := &configv1.Snapshot{
		Revision: m.GetRevision(), ApplyRevision: m.GetApplyRevision(),
		Tenants: m.GetTenants(), ClassesOfService: m.GetClassesOfService(), Notifications: m.GetNotifications(),
		Endpoints: make([]*configv1.Endpoint, len(m.GetEndpoints())),
	}
	for i, e := range m.GetEndpoints() {
		out.Endpoints[i] = &configv1.Endpoint{Name: e.GetName(), Profile: e.GetProfile(), PersonalData: e.GetPersonalData()}
		if e.GetStatus() == configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT {
			out.Endpoints[i].Status = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT
		}
	}
	return out
}
