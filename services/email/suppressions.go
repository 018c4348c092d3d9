package email

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel/email"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// suppressions are the addresses that get nothing, as the configuration service has them, and those found here that it does
// not have yet.
type suppressions struct {
	followed followed
	store    suppressionStore
	log      *zap.Logger

	mu sync.Mutex
	// found are names that followed does not include yet.
	found map[string]bool
	// reports are those of them that wait to be reported.
	reports chan *configv1.Suppression
}

// followed is the list of the configuration service; configclient.Suppressions is one.
type followed interface {
	Ready() <-chan struct{}
	Has(name string) bool
	Includes(revision int64) bool
	Changed() <-chan struct{}
}

// suppressionStore is the part of configv1.SuppressionServiceClient that is needed here.
type suppressionStore interface {
	UpdateSuppression(context.Context, *configv1.UpdateSuppressionRequest, ...grpc.CallOption) (*configv1.Suppression, error)
}

const (
	// reportAgain is between two tries to report an address.
	reportAgain = 5 * time.Second
	// reportTimeout bounds one call, and how long its change is waited for.
	reportTimeout = 10 * time.Second
	// maxReports is how many addresses wait to be reported; what is more is found again with the next message.
	maxReports = 10_000
	// maxReason is the most of a server's answer that is kept, in bytes.
	maxReason = 1000
)

func newSuppressions(list followed, store suppressionStore, log *zap.Logger) *suppressions {
	return &suppressions{followed: list, store: store, log: log, found: map[string]bool{}, reports: make(chan *configv1.Suppression, maxReports)}
}

func nameOf(tenant string, a email.Address) string {
	return "tenants/" + tenant + "/suppressions/" + a.SuppressionID()
}

// has reports whether an address of a tenant is suppressed; known is false until the list was read whole once.
func (s *suppressions) has(tenant string, a email.Address) (suppressed, known bool) {
	select {
	case <-s.followed.Ready():
	default:
		return false, false
	}
	name := nameOf(tenant, a)
	s.mu.Lock()
	found := s.found[name]
	s.mu.Unlock()
	return found || s.followed.Has(name), true
}

// add suppresses an address that does not exist, at once here and then everywhere.
func (s *suppressions) add(tenant string, a email.Address, why string) {
	name := nameOf(tenant, a)
	if s.followed.Has(name) {
		return
	}
	if len(why) > maxReason {
		why = strings.ToValidUTF8(why[:maxReason], "")
	}
	report := &configv1.Suppression{Name: name, Reason: why, Source: email.Channel.Name, Time: timestamppb.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found[name] {
		return
	}
	select {
	case s.reports <- report:
		s.found[name] = true
	default:
	}
}

// report reports each address found to the configuration service, until ctx ends. What is not reported by then is found again
// with the next message to it.
func (s *suppressions) report(ctx context.Context) {
	for {
		select {
		case found := <-s.reports:
			s.reportOne(ctx, found)
			s.mu.Lock()
			delete(s.found, found.GetName())
			s.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// reportOne returns once the configuration service has the address and the list includes it, or refuses it.
func (s *suppressions) reportOne(ctx context.Context, found *configv1.Suppression) {
	for {
		call, cancel := context.WithTimeout(ctx, reportTimeout)
		stored, err := s.store.UpdateSuppression(call, &configv1.UpdateSuppressionRequest{Suppression: found, AllowMissing: true})
		if err == nil {
			s.await(call, stored.GetMetadata().GetRevision())
		}
		cancel()
		switch status.Code(err) {
		case codes.OK:
			return
		case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.PermissionDenied:
			// No later try changes that; the name is an address, which no log shows.
			s.log.Warn("suppression refused", zap.String("code", status.Code(err).String()))
			return
		}
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("suppression not reported", zap.String("code", status.Code(err).String()))
		select {
		case <-time.After(reportAgain):
		case <-ctx.Done():
			return
		}
	}
}

// await returns once the list includes a revision. From then on it alone decides, so that a deletion counts at once.
func (s *suppressions) await(ctx context.Context, revision int64) {
	for {
		changed := s.followed.Changed()
		if s.followed.Includes(revision) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
