package email

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/delivery/loop"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// suppressions are the addresses that get nothing, as the configuration service has them, and those found here that it does
// not have yet.
type suppressions struct {
	watch  configv1.ConfigWatchServiceClient
	store  configv1.SuppressionServiceClient
	health loop.Health
	log    *zap.Logger

	mu sync.Mutex
	// all are the names of resources; nil until they were read whole once. found are those of this process.
	all, found map[string]bool
	// found waits to be reported.
	reports chan *configv1.Suppression
}

const (
	// suppressionsHealth names the problem of the list in health.
	suppressionsHealth = "suppressions"
	// watchAgain is between two tries to read the list, reportAgain between two to report an address.
	watchAgain  = time.Second
	reportAgain = 5 * time.Second
	// reportTimeout bounds one call.
	reportTimeout = 10 * time.Second
	// maxReports is how many addresses wait to be reported; what is more is found again with the next message.
	maxReports = 10_000
	// maxReason is the most of a server's answer that is kept, in bytes.
	maxReason = 1000
	// silence is how long the stream may be silent: it sends something every 10 s.
	silence = 30 * time.Second
)

var errSuppressions = errors.New("the suppressed addresses are not read yet: nothing is sent")

func newSuppressions(watch configv1.ConfigWatchServiceClient, store configv1.SuppressionServiceClient, health loop.Health, log *zap.Logger) *suppressions {
	return &suppressions{watch: watch, store: store, health: health, log: log, found: map[string]bool{}, reports: make(chan *configv1.Suppression, maxReports)}
}

func nameOf(tenant string, a email.Address) string {
	return "tenants/" + tenant + "/suppressions/" + a.SuppressionID()
}

// has reports whether an address of a tenant is suppressed; known is false until the list was read whole once.
func (s *suppressions) has(tenant string, a email.Address) (suppressed, known bool) {
	name := nameOf(tenant, a)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[name] || s.found[name], s.all != nil
}

// add suppresses an address that does not exist, at once here and then everywhere.
func (s *suppressions) add(tenant string, a email.Address, why string) {
	name := nameOf(tenant, a)
	if len(why) > maxReason {
		why = why[:maxReason]
	}
	report := &configv1.Suppression{Name: name, Reason: why, Source: email.Channel.Name, Time: timestamppb.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[name] || s.found[name] {
		return
	}
	select {
	case s.reports <- report:
		s.found[name] = true
	default:
	}
}

// follow reads the list, and what changes of it, until ctx ends.
func (s *suppressions) follow(ctx context.Context) {
	s.health.Set(suppressionsHealth, errSuppressions)
	var after *configv1.Position
	for ctx.Err() == nil {
		err := s.stream(ctx, &after)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		known := s.all != nil
		s.mu.Unlock()
		// A list that was read is good enough to go on with.
		if !known {
			s.health.Set(suppressionsHealth, fmt.Errorf("%w: %w", errSuppressions, err))
		}
		s.log.Warn("suppressions not followed", zap.Error(err))
		select {
		case <-time.After(watchAgain):
		case <-ctx.Done():
		}
	}
}

// stream reads one stream until it ends, or is silent.
func (s *suppressions) stream(ctx context.Context, after **configv1.Position) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	in, err := s.watch.WatchSuppressions(ctx, &configv1.WatchSuppressionsRequest{After: *after})
	if err != nil {
		return fmt.Errorf("watch suppressions: %w", err)
	}
	// What is read anew counts once it is whole.
	var whole map[string]bool
	for {
		part, err := in.Recv()
		if err != nil {
			return fmt.Errorf("watch suppressions: %w", err)
		}
		watchdog.Reset(silence)
		if part.GetReset_() {
			whole = map[string]bool{}
		}
		s.take(part, whole)
		if whole == nil {
			*after = part.GetPosition()
		} else if part.GetComplete() {
			s.mu.Lock()
			s.all = whole
			s.mu.Unlock()
			whole, *after = nil, part.GetPosition()
			s.health.Set(suppressionsHealth, nil)
		}
	}
}

// take applies a part to the list that is read anew, or else to the one in force.
func (s *suppressions) take(part *configv1.WatchSuppressionsResponse, whole map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := whole
	if to == nil {
		to = s.all
	}
	if to == nil {
		to = map[string]bool{}
		s.all = to
	}
	for _, name := range part.GetAdded() {
		to[name] = true
		delete(s.found, name)
	}
	for _, name := range part.GetRemoved() {
		delete(to, name)
		delete(s.found, name)
	}
}

// report reports each address found to the configuration service, until ctx ends. What is not reported by then is found again
// with the next message to it.
func (s *suppressions) report(ctx context.Context) {
	for {
		select {
		case found := <-s.reports:
			s.reportOne(ctx, found)
		case <-ctx.Done():
			return
		}
	}
}

func (s *suppressions) reportOne(ctx context.Context, found *configv1.Suppression) {
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, reportTimeout)
		_, err := s.store.UpdateSuppression(call, &configv1.UpdateSuppressionRequest{Suppression: found, AllowMissing: true})
		cancel()
		switch status.Code(err) {
		case codes.OK:
			return
		case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.PermissionDenied:
			// No later try changes that; the name is an address, which no log shows.
			s.log.Warn("suppression refused", zap.String("code", status.Code(err).String()))
			s.mu.Lock()
			delete(s.found, found.GetName())
			s.mu.Unlock()
			return
		}
		s.log.Warn("suppression not reported", zap.String("code", status.Code(err).String()))
		select {
		case <-time.After(reportAgain):
		case <-ctx.Done():
		}
	}
}
