package configclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const (
	// watchTimeout is how long a watch may be without a message before it counts as lost; the service sends a message every 10 s.
	watchTimeout = 25 * time.Second
	shortestWait = 100 * time.Millisecond
	longestWait  = 5 * time.Second
)

// follow watches, and reconnects, until ctx ends.
func (s *Source) follow(ctx context.Context) {
	learned := false
	reconnect(ctx, func() (bool, error) {
		if !learned {
			// The seen revisions come first: they decide which configuration is followed.
			err := s.learn(ctx)
			if err != nil && s.encryption == nil {
				return false, err
			}
			learned = err == nil // who only keeps the newest goes on without the store
		}
		return s.watch(ctx)
	}, s.disconnected)
}

// reconnect watches until ctx ends. watch runs one stream to its end and reports whether it received anything; lost gets
// each error but errAgain.
func reconnect(ctx context.Context, watch func() (received bool, err error), lost func(error)) {
	wait := shortestWait
	for {
		received, err := watch()
		if ctx.Err() != nil {
			return
		}
		if received {
			wait = shortestWait
		}
		if errors.Is(err, errAgain) {
			continue
		}
		lost(err)
		// The jitter of 50 to 100 % spreads the replicas of a fleet.
		timer := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		wait = min(2*wait, longestWait)
	}
}

var (
	errWatchTimeout = errors.New("the configuration service sent nothing for too long")
	errAgain        = errors.New("a revision was seen that the watch did not send")
)

// watch runs one stream from its first message to its end.
func (s *Source) watch(ctx context.Context) (received bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timeout := time.AfterFunc(watchTimeout, func() { cancel(errWatchTimeout) })
	defer timeout.Stop()
	s.mu.Lock()
	sentPositions := s.positions()
	s.again = func() { cancel(errAgain) }
	s.mu.Unlock()
	stream, err := s.client.Watch(ctx, &configv1.WatchRequest{Known: sentPositions})
	if err != nil && !errors.Is(context.Cause(ctx), errAgain) {
		return false, fmt.Errorf("watch configuration: %w", err)
	}
	if err != nil {
		return false, errAgain
	}
	for {
		head, err := stream.Recv()
		switch {
		case errors.Is(context.Cause(ctx), errWatchTimeout):
			return received, errWatchTimeout
		case errors.Is(context.Cause(ctx), errAgain):
			return received, errAgain
		case errors.Is(err, io.EOF):
			return received, errors.New("the configuration service ended the watch")
		case err != nil:
			return received, fmt.Errorf("watch configuration: %w", err)
		}
		timeout.Reset(watchTimeout)
		if !received {
			received = true
			s.metrics.connected.Set(1)
			s.log.Info("configuration connected", zap.Int64("revision", head.GetRevision()), zap.Int64("apply_revision", head.GetApplyRevision()),
				zap.String("history", historyName(head.GetHistory())))
		}
		if s.applyHead(head, sentPositions) {
			s.save(ctx)
		}
	}
}

func (s *Source) disconnected(err error) {
	s.metrics.connected.Set(0)
	s.mu.Lock()
	before := s.watchErr
	s.watchErr = err
	s.mu.Unlock()
	if before == nil || before.Error() != err.Error() {
		s.log.Warn("configuration not followed, trying again", zap.Error(err))
	}
}
